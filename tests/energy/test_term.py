"""`energy_term` in a user's own Diffrax solve: same totals as `sample`, nothing steered."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest

from kinetic_jax import GaussianField, energy_state, energy_term, path_norm, sample

MEAN = np.array([1.0, -2.0])
X0 = np.random.default_rng(0).normal(size=(3, 2))


def gaussian(dtype=np.float32):
    return GaussianField(MEAN.astype(dtype), np.asarray(0.5, dtype))


def exact_energy(x0, scale=0.5):
    """E of the Gaussian flow with μ = MEAN, in closed form."""
    quadratic = (1 + scale**2 - np.pi * scale / 2) * np.sum(x0**2, axis=-1) / 2
    return MEAN @ MEAN / 2 + (scale - 1) * x0 @ MEAN + quadratic


def solve(field, x0, **options):
    return diffrax.diffeqsolve(energy_term(field), t0=0.0, t1=1.0, y0=energy_state(x0), **options)


def test_fixed_steps():
    """For other solvers, of one sample, see tests/sampling/test_explicit_solvers.py."""
    field, x0, solver = gaussian(), X0.astype(np.float32), diffrax.Heun()
    run = jax.jit(jax.vmap(lambda x: solve(field, x, solver=solver, dt0=0.1).ys))
    ys, expected = jax.tree.map(np.asarray, run(x0)), sample(field, x0, solver=solver, num_steps=10)
    np.testing.assert_allclose(ys.x[:, -1], expected.x1, rtol=1e-5)
    np.testing.assert_allclose(ys.energy[:, -1], expected.energy.total, rtol=1e-5)
    np.testing.assert_allclose(ys.length[:, -1], expected.energy.length, rtol=1e-5)


@pytest.mark.long
def test_adaptive_steps_with_a_norm_that_sees_x_alone(x64):
    """The steps of the ODE of x alone, and with them the energy `sample` finds."""
    field, x0 = gaussian(np.float64), X0
    blind = diffrax.PIDController(rtol=1e-6, atol=1e-6, norm=path_norm(optimistix.rms_norm))
    plain = diffrax.PIDController(rtol=1e-6, atol=1e-6)
    options = {"solver": diffrax.Tsit5(), "dt0": 0.05, "max_steps": 128}

    @jax.jit
    def both(x):
        augmented = solve(field, x, stepsize_controller=blind, **options)
        alone = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: field(t, y)),
            t0=0.0,
            t1=1.0,
            y0=x,
            stepsize_controller=plain,
            **options,
        )
        return augmented.ys, augmented.stats["num_steps"], alone.ys, alone.stats["num_steps"]

    expected = jax.tree.map(np.asarray, sample(field, x0, controller=plain, **options))
    for i in range(3):
        ys, steps, x1, steps_alone = jax.tree.map(np.asarray, both(x0[i]))
        assert int(steps) == int(steps_alone)
        np.testing.assert_allclose(ys.x[-1], x1[-1], rtol=1e-12)
        np.testing.assert_allclose(ys.x[-1], expected.x1[i], rtol=1e-12)
        np.testing.assert_allclose(ys.energy[-1], expected.energy.total[i], rtol=1e-12)
        np.testing.assert_allclose(ys.length[-1], expected.energy.length[i], rtol=1e-12)
        np.testing.assert_allclose(ys.energy[-1], exact_energy(X0[i]), rtol=1e-5)


def test_the_norm_is_the_given_one_of_x():
    def norms(x):
        state = energy_state(x)
        spent = type(state)(state.x, jnp.float32(1e6), jnp.float32(1e6))
        return [path_norm(norm)(spent) for norm in (optimistix.max_norm, optimistix.rms_norm)]

    found = jax.jit(norms)(np.array([3.0, 4.0], np.float32))
    np.testing.assert_allclose(found, [4.0, np.sqrt(12.5)], rtol=1e-6)


def test_the_users_own_save_times(x64):
    """The energy spent by t, against quadrature of ½||v||² along the exact path."""
    field, x0 = gaussian(np.float64), X0[0]
    times = np.array([0.0, 0.25, 0.6, 1.0])
    saveat = diffrax.SaveAt(ts=times)
    run = jax.jit(lambda x: solve(field, x, solver=diffrax.Dopri5(), dt0=0.01, saveat=saveat).ys)
    ys = run(x0)
    fine = np.linspace(0, 1, 20001)
    spread = np.sqrt(fine**2 / 4 + (1 - fine) ** 2)
    velocity = MEAN + ((fine / 4 - (1 - fine)) / spread)[:, None] * x0
    power = np.sum(velocity**2, axis=1) / 2
    spent = np.concatenate([[0.0], np.cumsum((power[1:] + power[:-1]) / 2 * np.diff(fine))])
    speed = np.sqrt(2 * power)
    length = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(fine))])
    np.testing.assert_allclose(ys.energy, np.interp(times, fine, spent), rtol=1e-6)
    np.testing.assert_allclose(ys.length, np.interp(times, fine, length), rtol=1e-6)
    path = times[:, None] * MEAN + np.interp(times, fine, spread)[:, None] * x0
    np.testing.assert_allclose(ys.x, path, rtol=1e-6)


@pytest.mark.long
def test_the_users_own_adjoint(x64):
    """dE/dx0 = (s − 1) μ + (1 + s² − πs/2) x0, and dE/dμ = μ + (s − 1) x0."""
    x0, field, scale = X0[0], gaussian(np.float64), 0.5

    @jax.jit
    @jax.grad
    def slopes(arguments):
        mean, x = arguments
        moved = eqx.tree_at(lambda field: field.mean, field, mean)
        options = {"solver": diffrax.Tsit5(), "dt0": 0.02, "adjoint": diffrax.BacksolveAdjoint()}
        return solve(moved, x, **options).ys.energy[-1]

    in_mean, in_x0 = slopes((field.mean, x0))
    exact = (scale - 1) * MEAN + (1 + scale**2 - np.pi * scale / 2) * X0[0]
    np.testing.assert_allclose(in_x0, exact, rtol=1e-5)
    np.testing.assert_allclose(in_mean, MEAN + (scale - 1) * X0[0], rtol=1e-5)


def test_the_condition_reaches_the_field():
    def field(t, x, cond):
        return cond["push"] * jnp.ones_like(x)

    def rates(push):
        term = energy_term(field, {"push": push})
        return term.vf(jnp.float32(0.0), energy_state(jnp.zeros(4)), None)

    rate = jax.jit(rates)(np.float32(3.0))
    np.testing.assert_allclose(rate.x, 3.0)
    np.testing.assert_allclose(rate.energy, 18.0)
    np.testing.assert_allclose(rate.length, 6.0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_rates_are_summed_in_float32(dtype):
    """4,097 ones: neither half-precision format has that number."""
    term = energy_term(lambda t, x, cond=None: jnp.ones_like(x))
    rates = jax.jit(lambda x: term.vf(jnp.float32(0.0), energy_state(x), None))
    rate = rates(np.zeros(4097, dtype))
    assert rate.energy.dtype == jnp.float32
    assert rate.x.dtype == dtype
    np.testing.assert_array_equal(rate.energy, 4097 / 2)


@pytest.mark.parametrize("value", [None, "x", 1j, [1.0, 2.0], np.ones(2, np.complex64)])
def test_arguments_of_another_kind_are_named(own_messages, value):
    with pytest.raises(ValueError, match=r"^x0 must "):
        energy_state(value)
    with pytest.raises(ValueError, match=r"^norm must be "):
        path_norm(value)


def test_the_fields_output_is_checked():
    term = energy_term(lambda t, x, cond=None: x[None])
    message = (
        r"the field's output must have the shape \(2,\) and dtype float32 of x, got shape \(1,"
    )
    with pytest.raises(ValueError, match=message):
        term.vf(jnp.float32(0.0), energy_state(jnp.zeros(2)), None)
