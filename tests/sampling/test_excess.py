"""The straightness excess is measured, not left over from two large numbers."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import GaussianField, energy_init, energy_result, energy_update, sample
from kinetic_jax.sampling import sweep

FAR = 3000.0
SCALE = 0.5
FIELD = GaussianField(np.full(2, FAR, np.float32), SCALE)
X0 = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
STEPS = 100


def euler_excess(gain=lambda t: 1.0):
    """The excess of Euler steps, in float64."""
    x, velocities = np.asarray(X0, np.float64), []
    for t in np.arange(STEPS) / STEPS:
        rate = (t * SCALE**2 - (1 - t)) / (t**2 * SCALE**2 + (1 - t) ** 2)
        velocities.append(gain(t) * (FAR + rate * (x - t * FAR)))
        x = x + velocities[-1] / STEPS
    u = np.stack(velocities)
    return np.sum((u - u.mean(axis=0)) ** 2, axis=(0, 2)) / (2 * STEPS)


def flow_excess():
    """The excess of the exact flow: it does not know the mean."""
    energy = (1 + SCALE**2 - np.pi * SCALE / 2) * np.sum(np.square(X0), axis=1) / 2
    return energy - (SCALE - 1) ** 2 * np.sum(np.square(X0), axis=1) / 2


def test_euler_far_from_the_origin():
    excess = sample(FIELD, X0, num_steps=STEPS).energy.excess
    np.testing.assert_allclose(excess, euler_excess(), rtol=0, atol=1e-3)
    np.testing.assert_allclose(excess, euler_excess(), rtol=5e-3)


SOLVES = {
    "heun": {"solver": diffrax.Heun(), "num_steps": 100},
    "tsit5": {"solver": diffrax.Tsit5(), "num_steps": 30},
    "tsit5 by steps of its own": {"controller": diffrax.PIDController(rtol=1e-7, atol=1e-4)},
}


@pytest.mark.long
@pytest.mark.parametrize("name", SOLVES)
def test_the_exact_flow_far_from_the_origin(name):
    excess = sample(FIELD, X0, **SOLVES[name]).check().energy.excess
    np.testing.assert_allclose(excess, flow_excess(), rtol=2e-3, atol=1e-3)


def test_a_sweep_far_from_the_origin():
    """The gain bends no path: its speed changes, in proportion to the mean."""
    alphas = [0.0, 1e-4]
    run = sweep(FIELD, X0, alpha0=alphas, num_steps=STEPS)
    for alpha0, excess in zip(alphas, np.asarray(run.energy.excess)[:, 0, 0], strict=True):
        expected = euler_excess(lambda t, a=alpha0: 1 + a * max(0.0, 1 - t / 0.6))
        np.testing.assert_allclose(excess, expected, rtol=5e-3)


def test_a_loop_by_hand_far_from_the_origin():
    def step(carry, t):
        x, state = carry
        u = jax.vmap(FIELD, in_axes=(None, 0))(t, x)
        return (x + u / STEPS, energy_update(state, u, t, 1 / STEPS)), None

    @jax.jit
    def run(x0):
        times = jnp.arange(STEPS, dtype=jnp.float32) / STEPS
        (x1, state), _ = jax.lax.scan(step, (x0, energy_init(x0)), times)
        return energy_result(state, x1).excess

    np.testing.assert_allclose(run(X0), euler_excess(), rtol=5e-3)


IDENTITY = {
    "euler": {},
    "heun": {"solver": diffrax.Heun()},
    "tsit5, of negative weights": {"solver": diffrax.Tsit5()},
}


@pytest.mark.parametrize("name", IDENTITY)
def test_it_is_total_less_displacement(x64, reference, name):
    field = reference.wave(0, dtype=jnp.float64)
    x0 = np.random.default_rng(0).normal(size=(4, 3))
    times = np.array([0.1, 0.13, 0.4, 0.55, 0.8])
    energy = sample(field, x0, grid=times, **IDENTITY[name]).energy
    difference = np.asarray(energy.total) - np.asarray(energy.displacement)
    np.testing.assert_allclose(energy.excess, difference, rtol=1e-12)
    if name == "heun":
        swept = sweep(field, x0, beta0=[0.0, 0.01], grid=times, **IDENTITY[name]).energy
        excess = np.asarray(swept.excess)
        difference = np.asarray(swept.total) - np.asarray(swept.displacement)
        np.testing.assert_allclose(excess, difference, rtol=1e-12)
        np.testing.assert_allclose(excess[0, 0, 0], energy.excess, rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("solver", [diffrax.Midpoint(), diffrax.Tsit5()])
def test_large_steps_of_its_own(x64, solver, steps):
    """The first step is measured about its mean, however large it is."""
    field = GaussianField(np.array([1.0, -2.0]), 0.3)
    x0 = np.random.default_rng(0).normal(size=(3, 2))
    options = {"solver": solver, "controller": diffrax.ConstantStepSize(), "dt0": 1 / steps}
    energy = sample(field, x0, **options).energy
    difference = np.asarray(energy.total) - np.asarray(energy.displacement)
    np.testing.assert_allclose(energy.excess, difference, rtol=1e-9, atol=1e-13)


def test_a_loop_of_uneven_steps_and_stages(x64):
    """Two updates a step of different weights, and paths with a clock of their own."""
    rng = np.random.default_rng(0)
    velocities, steps = rng.normal(size=(6, 3, 2)), rng.uniform(0.1, 1.0, size=(6, 3))
    x0 = rng.normal(size=(3, 2))
    state, time, update = energy_init(x0), np.zeros(3), jax.jit(energy_update)
    for u, dt in zip(velocities, steps, strict=True):
        state, time = update(state, u, time, dt), time + dt
    x1 = x0 + np.sum(velocities * steps[:, :, None], axis=0)
    energy = jax.jit(energy_result)(state, x1)
    difference = np.asarray(energy.total) - np.asarray(energy.displacement)
    np.testing.assert_allclose(energy.excess, difference, rtol=1e-12)


STRAIGHT = {"euler": {}, "heun": {"solver": diffrax.Heun()}}


@pytest.mark.parametrize("name", STRAIGHT)
def test_a_straight_path_has_none_and_a_gradient(name):
    def excess(velocity):
        run = sample(lambda t, x, c=None: velocity + 0 * x, X0[:3], num_steps=7, **STRAIGHT[name])
        return jnp.sum(run.energy.excess), run.energy.excess

    slope, found = jax.jit(jax.grad(excess, has_aux=True))(np.array([FAR, -1.0], np.float32))
    assert np.all(np.asarray(found) >= 0)
    np.testing.assert_allclose(found, 0, atol=1e-6 * FAR)
    assert np.all(np.isfinite(slope))


@pytest.mark.long
def test_it_is_never_negative_without_negative_weights():
    """A thousand nearly straight paths, on which the difference is rounding."""
    x0 = 100 * np.random.default_rng(1).normal(size=(1000, 2)).astype(np.float32)

    def field(t, x, cond=None):
        return 50 + 1e-4 * jnp.sin(9 * t + x)

    for options in (
        {"num_steps": 10},
        {"solver": diffrax.Heun(), "num_steps": 5},
        {"solver": diffrax.Bosh3(), "controller": diffrax.ConstantStepSize(), "dt0": 0.2},
    ):
        assert np.all(np.asarray(sample(field, x0, **options).energy.excess) >= 0)
