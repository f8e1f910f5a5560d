"""Batches: samples are independent, conditions are pytrees, events have any shape."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import GaussianField, from_vector_field, sample
from kinetic_jax.sampling import sweep

EVENTS = [(), (3,), (2, 3), (2, 2, 3)]


class Conditioned(eqx.Module):
    """v = push · class direction + scale · x, from a nested condition."""

    directions: jax.Array

    def __call__(self, t, x, cond):
        return self.directions[cond["label"]] * cond["push"]["force"] + cond["push"]["scale"] * x


def conditions(size):
    rng = np.random.default_rng(0)
    return {
        "label": rng.integers(0, 3, size),
        "push": {
            "force": rng.normal(size=(size, 2)).astype(np.float32),
            "scale": jnp.asarray(rng.normal(size=size), jnp.float32),
        },
    }


@pytest.mark.parametrize("solver", [diffrax.Euler(), diffrax.Tsit5()], ids=["euler", "tsit5"])
def test_a_sample_is_the_same_alone(reference, normal, solver):
    field, x0 = reference.wave(0), normal(1, 5, 3)
    batch = sample(field, x0, solver=solver, num_steps=10, save_at=True)
    for rows in (np.array([2]), np.array([3, 0, 3, 1, 2])):
        some = sample(field, x0[rows], solver=solver, num_steps=10, save_at=True)
        pairs = zip(jax.tree.leaves(some), jax.tree.leaves(batch), strict=True)
        for left, right in pairs:
            if right.shape[0] == 5:
                right = right[rows]
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"controller": diffrax.ConstantStepSize(), "dt0": 0.5}])
def test_a_condition_of_one_row_is_that_of_all(options):
    """Leaf by leaf; in a `sweep` as well."""

    def field(t, x, cond):
        return cond["push"] * jnp.ones_like(x) + cond["own"]

    x0, cond = jnp.zeros((3, 2)), {"push": np.array([2.0], np.float32), "own": jnp.arange(3.0)}
    x1 = sample(field, x0, cond, **(options or {"num_steps": 2})).x1
    np.testing.assert_allclose(x1, np.array([[2, 2], [3, 3], [4, 4]]), rtol=1e-6)
    if not options:
        np.testing.assert_allclose(sweep(field, x0, cond, num_steps=2).x1[0, 0, 0], x1, rtol=1e-6)


def test_one_bad_start_spoils_no_other(reference, normal):
    field, x0 = reference.wave(0), normal(1, 5, 3)
    clean = sample(field, x0, num_steps=10)
    spoiled = x0.copy()
    spoiled[2] = np.nan
    result = sample(field, spoiled, num_steps=10)
    others = np.array([0, 1, 3, 4])
    np.testing.assert_array_equal(result.status, [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(result.x1[others], clean.x1[others])
    np.testing.assert_array_equal(result.energy.total[others], clean.energy.total[others])


@pytest.mark.parametrize(
    "options",
    [{"num_steps": 40}, {"controller": diffrax.PIDController(rtol=1e-5, atol=1e-6)}],
    ids=["fixed", "adaptive"],
)
def test_every_sample_follows_its_own_condition(options):
    """x' = f + s x: (x0 + f/s) e^s − f/s, with f and s of that very row."""
    directions = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]], np.float32)
    cond, x0 = conditions(6), np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
    result = sample(Conditioned(jnp.asarray(directions)), x0, cond, **options)
    force = directions[cond["label"]] * cond["push"]["force"]
    s = np.asarray(cond["push"]["scale"], np.float64)[:, None]
    growth = (1 + s / 40) ** 40 if "num_steps" in options else np.exp(s)
    np.testing.assert_allclose(result.x1, (x0 + force / s) * growth - force / s, atol=2e-4)


@pytest.mark.parametrize("event", EVENTS)
def test_events_of_any_rank(normal, event):
    """The energy is that of the flattened sample; the shape is kept."""
    x0, mean = normal(0, 4, *event), normal(1, *event)
    result = sample(GaussianField(jnp.asarray(mean), 0.5), x0, num_steps=20, save_at=True)
    flat = sample(
        GaussianField(jnp.asarray(mean).reshape(-1), 0.5), x0.reshape(4, -1), num_steps=20
    )
    assert result.x1.shape == (4, *event)
    assert result.path.shape == (4, 21, *event)
    np.testing.assert_allclose(result.x1.reshape(4, -1), flat.x1, rtol=1e-6, atol=1e-6)
    for name in ("total", "launch", "landing", "displacement", "length"):
        energy = getattr(result.energy, name)
        assert energy.shape == (4,)
        np.testing.assert_allclose(energy, getattr(flat.energy, name), rtol=1e-5)
    np.testing.assert_allclose(result.profile.bend2, flat.profile.bend2, rtol=1e-3, atol=1e-6)


def test_adaptive_events_of_any_rank(normal):
    event = (2, 3)
    x0, mean = normal(0, 2, *event), normal(1, *event)
    controller = diffrax.PIDController(rtol=1e-5, atol=1e-6)
    result = sample(GaussianField(jnp.asarray(mean), 0.5), x0, controller=controller, max_steps=64)
    np.testing.assert_allclose(result.x1, mean + 0.5 * x0, atol=1e-3)
    assert result.energy.total.shape == (2,)


def test_an_empty_condition_is_none(reference, normal):
    seen = []

    def field(t, x, cond="missing"):
        seen.append(cond)
        return x

    sample(field, normal(0, 2, 3), num_steps=1)
    assert set(map(repr, seen)) == {"None"}


def test_the_same_numbers_under_an_outer_jit(reference, normal):
    field, x0 = reference.wave(0), normal(1, 4, 3)
    outer = jax.jit(lambda field, x0: sample(field, x0, num_steps=20))(field, jnp.asarray(x0))
    inner = sample(field, x0, num_steps=20)
    for left, right in zip(jax.tree.leaves(outer), jax.tree.leaves(inner), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def test_a_traced_grid(reference, normal):
    """A learned grid: its values are not checked, its gradient exists."""
    field, x0 = reference.wave(0), jnp.asarray(normal(1, 2, 3))

    def energy(middle):
        nodes = jnp.stack([jnp.float32(0.0), middle, jnp.float32(1.0)])
        return jnp.sum(sample(field, x0, grid=nodes).energy.total)

    middle = jnp.float32(0.4)
    nodes = np.array([0.0, 0.4, 1.0])
    expected = reference.solve(reference.wave_numpy(field), x0, nodes).total.sum()
    np.testing.assert_allclose(jax.jit(energy)(middle), expected, rtol=1e-5)
    step = 1e-4
    ends = [
        reference.solve(
            reference.wave_numpy(field), x0, np.array([0.0, 0.4 + sign * step, 1.0])
        ).total.sum()
        for sign in (-1, 1)
    ]
    np.testing.assert_allclose(jax.grad(energy)(middle), np.diff(ends)[0] / (2 * step), rtol=1e-3)


def test_a_diffrax_vector_field(normal):
    x0 = normal(0, 3, 2)
    field = from_vector_field(lambda t, y, args: -args * y, jnp.float32(2.0))
    result = sample(field, x0, num_steps=10)
    np.testing.assert_allclose(result.x1, x0 * 0.8**10, rtol=1e-5)
