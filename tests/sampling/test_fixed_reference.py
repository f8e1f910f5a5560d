"""Fixed grids against an independent float64 loop: every result, every shape of the gain."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import kts, sample

ENERGIES = ("total", "launch", "landing", "displacement", "length")
ALPHA0, BETA0 = 0.4, 0.03
# Each shape twice: a launch knows nothing of the landing.
SHAPES = [
    ("linear", "linear"),
    ("linear", "constant"),
    ("constant", "exponential"),
    ("constant", "constant"),
    ("exponential", "exponential"),
    ("exponential", "linear"),
]


def assert_same(result, expected):
    """Everything `sample` returns against the loop's account of it, at float32's own accuracy."""
    np.testing.assert_allclose(result.x1, expected.x1, rtol=2e-5, atol=2e-5)
    for name in ENERGIES:
        np.testing.assert_allclose(
            getattr(result.energy, name), getattr(expected, name), rtol=2e-5, err_msg=name
        )
    # A difference of two: it inherits the absolute error of the total.
    scale = expected.total.max()
    np.testing.assert_allclose(result.energy.excess, expected.excess, rtol=2e-5, atol=2e-5 * scale)
    profile = result.profile
    np.testing.assert_allclose(profile.speed2, expected.speed2, rtol=1e-4, atol=1e-6)
    # Neighbouring velocities are near copies: what is left of their difference is absolute.
    np.testing.assert_allclose(profile.bend2, expected.bend2, rtol=2e-3, atol=1e-7)
    assert np.all(np.asarray(profile.bend2)[:, 0] == 0)


@pytest.mark.parametrize(("launch", "landing"), SHAPES)
def test_euler_under_kts_is_the_authors_loop(reference, normal, launch, landing):
    field, x0 = reference.wave(0), normal(1, 4, 3)
    base = reference.wave_numpy(field)
    shaped = kts(ALPHA0, BETA0, launch=launch, landing=landing)(field)

    def velocity(t, x):
        return reference.eta(t, ALPHA0, BETA0, 0.6, launch, landing) * base(t, x)

    for grid in ("uniform", "cosine"):
        nodes = reference.grid(grid, 100)
        result = sample(shaped, x0, grid=grid)
        assert_same(result, reference.solve(velocity, x0, nodes))
        np.testing.assert_allclose(result.profile.ts, nodes[:-1], rtol=0, atol=1e-7)
        np.testing.assert_array_equal(result.num_evals, np.full(4, 100))


@pytest.mark.parametrize("grid", ["uniform", "cosine"])
@pytest.mark.parametrize("method", ["midpoint", "heun"])
def test_two_stages_act_on_the_shaped_velocity(reference, normal, method, grid):
    """Heun on ηv: each stage has the gain of its own time, unlike the authors' mean of gains."""
    solver = {"midpoint": diffrax.Midpoint(), "heun": diffrax.Heun()}[method]
    field, x0 = reference.wave(2), normal(3, 3, 3)
    base = reference.wave_numpy(field)

    def velocity(t, x):
        return reference.eta(t, ALPHA0, BETA0, 0.6, "linear", "exponential") * base(t, x)

    # 32 coarse steps: the authors' Heun would be far outside the tolerance.
    expected = reference.solve(velocity, x0, reference.grid(grid, 32), method)
    result = sample(kts(ALPHA0, BETA0)(field), x0, solver=solver, num_steps=32, grid=grid)
    assert_same(result, expected)


def test_an_array_of_times_is_the_grid(reference, normal):
    field, x0 = reference.wave(4), normal(5, 3, 3)
    nodes = np.array([0.1, 0.13, 0.4, 0.55, 0.8])
    expected = reference.solve(reference.wave_numpy(field), x0, nodes)
    for grid in (nodes, jnp.asarray(nodes, np.float32)):
        result = sample(field, x0, grid=grid, t0=0.1, t1=0.8)
        assert_same(result, expected)
        np.testing.assert_array_equal(result.num_evals, [4, 4, 4])
    implied = sample(field, x0, grid=list(nodes))  # a grid says where it begins and ends
    np.testing.assert_array_equal(implied.x1, result.x1)
    np.testing.assert_array_equal(implied.energy.excess, result.energy.excess)


@pytest.mark.parametrize("grid", ["uniform", "cosine"])
def test_named_grids_span_any_interval(reference, normal, grid):
    field, x0 = reference.wave(6), normal(7, 3, 3)
    nodes = 0.25 + 0.5 * reference.grid(grid, 20)
    expected = reference.solve(reference.wave_numpy(field), x0, nodes)
    assert_same(sample(field, x0, num_steps=20, grid=grid, t0=0.25, t1=0.75), expected)


def test_hundred_euler_steps_are_the_default(reference, normal):
    field, x0 = reference.wave(8), normal(9, 2, 3)
    default = sample(field, x0)
    spelled = sample(field, x0, solver=diffrax.Euler(), num_steps=100, grid="uniform")
    np.testing.assert_array_equal(default.x1, spelled.x1)
    np.testing.assert_array_equal(default.energy.total, spelled.energy.total)
    np.testing.assert_array_equal(default.num_evals, [100, 100])
    np.testing.assert_array_equal(default.status, [0, 0])
