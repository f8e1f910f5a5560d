"""Saved paths: on nodes, between nodes, under adaptive control; saving changes nothing else."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import EmpiricalField, sample
from kinetic_jax.sampling._plan import save_plan


def decay(t, x, cond=None):
    return -x


@pytest.mark.parametrize("grid", ["uniform", "cosine"])
def test_every_node(reference, normal, grid):
    field, x0 = reference.wave(0), normal(0, 3, 3)
    nodes = reference.grid(grid, 20)
    result = sample(field, x0, num_steps=20, grid=grid, save_at=True)
    expected = reference.solve(reference.wave_numpy(field), x0, nodes)
    assert result.path.shape == (3, 21, 3)
    np.testing.assert_allclose(result.path, expected.path, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.ts, nodes, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(np.asarray(result.path)[:, 0], x0)
    np.testing.assert_array_equal(np.asarray(result.path)[:, -1], result.x1)
    np.testing.assert_array_equal(result.num_evals, [20, 20, 20])


def test_times_on_nodes(reference, normal):
    field, x0 = reference.wave(0), normal(0, 3, 3)
    times = np.array([0.0, 0.3, 0.6, 0.6, 1.0])
    every = sample(field, x0, num_steps=10, save_at=True)
    some = sample(field, x0, num_steps=10, save_at=times)
    np.testing.assert_array_equal(some.path, np.asarray(every.path)[:, [0, 3, 6, 6, 10]])
    np.testing.assert_allclose(some.ts, times, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(some.num_evals, [10, 10, 10])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linspace_is_on_the_nodes(normal, dtype):
    """In float32 it misses the float64 nodes by rounding, which calls for no step of its own."""
    run = sample(decay, normal(0, 2, 3), num_steps=250, save_at=np.linspace(0, 1, 251, dtype=dtype))
    np.testing.assert_array_equal(run.num_evals, [250, 250])
    np.testing.assert_array_equal(np.asarray(run.path)[:, -1], run.x1)


def test_times_on_and_between_the_nodes_of_a_very_fine_grid():
    """Nodes 1e-6 apart are told from each other, and times half way from both."""
    nodes = np.array([0, 1e-6, 2e-6, 3e-6, 1])
    plan = save_plan(nodes[:4] + np.array([0, 1e-8, 5e-7, -1e-8]), nodes, np.float32)
    np.testing.assert_array_equal(plan.before, [0, 1, 2, 3])
    np.testing.assert_allclose(plan.times, [0, 1e-6, 2.5e-6, 3e-6], rtol=1e-6)
    assert plan.between


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun"])
def test_times_between_nodes_are_reached_by_one_shorter_step(reference, normal, method):
    solvers = {"euler": diffrax.Euler(), "midpoint": diffrax.Midpoint(), "heun": diffrax.Heun()}
    field, x0 = reference.wave(0), normal(0, 3, 3)
    times = np.array([0.0, 0.05, 0.34, 0.38, 0.5, 0.99, 1.0])
    velocity, nodes = reference.wave_numpy(field), reference.grid("uniform", 10)
    result = sample(field, x0, solver=solvers[method], num_steps=10, save_at=times)
    for i, time in enumerate(times):
        before = nodes[nodes < time - 1e-9]
        reached = x0 if time == 0 else reference.solve(velocity, x0, [*before, time], method).x1
        np.testing.assert_allclose(np.asarray(result.path)[:, i], reached, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.ts, times, rtol=0, atol=1e-7)
    stages = 1 if method == "euler" else 2
    np.testing.assert_array_equal(result.num_evals, np.full(3, (10 + times.size) * stages))


@pytest.mark.long
def test_the_end_beside_times_between_nodes(normal):
    """A step of no length, at the very end of a field that is 0/0 there: Heun looks there twice.

    It adds nothing to a derivative, least of all NaN.
    """
    field, options = EmpiricalField(normal(1, 5, 3)), {"solver": diffrax.Heun(), "num_steps": 10}
    x0 = normal(0, 4, 3)

    def half_way(x0, last):
        # Two nodes are kept, whatever the last time is: one program for both.
        run = sample(field, x0, save_at=np.array([0.5, 0.55, last]), **options)
        return jnp.sum(run.path[:, 0] ** 2), run

    slope, found = jax.grad(half_way, has_aux=True)(x0, 1.0)
    path = np.asarray(found.path)
    np.testing.assert_array_equal(path[:, -1], found.x1)
    every_node = np.asarray(sample(field, x0, save_at=True, **options).path)
    # Two programs, which the compiler may round apart in the last bit.
    np.testing.assert_allclose(path[:, 0], every_node[:, 5], rtol=1e-5, atol=1e-6)
    alone, _ = jax.grad(half_way, has_aux=True)(x0, 0.75)
    assert np.any(np.abs(alone) > 0.1)
    np.testing.assert_allclose(slope, alone, rtol=1e-4, atol=1e-6)


def test_a_stage_within_a_step_of_no_length(normal):
    field, times = EmpiricalField(normal(1, 5, 3)), np.array([0.5, 0.55, 1.0])
    run = sample(field, normal(0, 4, 3), solver=diffrax.Midpoint(), num_steps=10, save_at=times)
    np.testing.assert_array_equal(np.asarray(run.path)[:, -1], run.x1)


def test_saving_changes_nothing_else(x64, reference):
    """In float64: two programs, which the compiler may round apart in the last bit."""
    field = reference.wave(0, dtype=jnp.float64)
    x0 = np.random.default_rng(0).normal(size=(3, 3))
    plain = sample(field, x0, num_steps=10)
    assert plain.ts is None
    assert plain.path is None
    for save_at in (False, True, np.array([0.2, 0.5]), np.array([0.21, 0.57])):
        saved = sample(field, x0, num_steps=10, save_at=save_at)
        pairs = zip(
            jax.tree.leaves((saved.x1, saved.energy, saved.profile)),
            jax.tree.leaves((plain.x1, plain.energy, plain.profile)),
            strict=True,
        )
        for got, want in pairs:
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def test_times_within_a_narrower_interval(reference, normal):
    field, x0 = reference.wave(0), normal(0, 2, 3)
    result = sample(field, x0, num_steps=5, t0=0.25, t1=0.75, save_at=np.array([0.25, 0.3, 0.75]))
    velocity = reference.wave_numpy(field)
    np.testing.assert_array_equal(np.asarray(result.path)[:, 0], x0)
    partial = reference.solve(velocity, x0, np.array([0.25, 0.3])).x1
    np.testing.assert_allclose(np.asarray(result.path)[:, 1], partial, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.asarray(result.path)[:, 2], result.x1, rtol=1e-6, atol=1e-6)


@pytest.mark.long
def test_adaptive_times_are_diffraxs(x64, reference):
    """In float64, where the steps are the same to the last bits."""
    field = reference.wave(0, dtype=jnp.float64)
    x0 = np.random.default_rng(0).normal(size=(3, 3))
    times = np.array([0.0, 0.123, 0.6, 1.0])
    controller = diffrax.PIDController(rtol=1e-4, atol=1e-5)
    options = {"controller": controller, "dt0": 0.05, "max_steps": 64}
    result = sample(field, x0, save_at=times, **options)
    np.testing.assert_array_equal(result.ts, times)
    np.testing.assert_allclose(np.asarray(result.path)[:, -1], result.x1, rtol=1e-13)

    @jax.jit
    def plain_path(y0):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, x, args: field(t, x)),
            diffrax.Tsit5(),
            t0=0.0,
            t1=1.0,
            dt0=0.05,
            y0=y0,
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=controller,
            max_steps=64,
        ).ys

    for x, path in zip(x0, np.asarray(result.path), strict=True):
        np.testing.assert_allclose(path, plain_path(x), rtol=1e-11, atol=1e-11)
