"""Adaptive control: each sample takes the very steps that Diffrax takes for it alone."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from kinetic_jax import GaussianField, kts, sample

SOLVERS = {"tsit5": diffrax.Tsit5(), "dopri5": diffrax.Dopri5(), "heun": diffrax.Heun()}
MAX_STEPS = 1024


@eqx.filter_jit
def plain_solve(field, solver, controller, dt0, x0):
    """The ODE of x alone: its end and how many steps it took."""
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x, args: field(t, x)),
        solver,
        t0=jnp.zeros((), x0.dtype),
        t1=jnp.ones((), x0.dtype),
        dt0=dt0,
        y0=x0,
        stepsize_controller=controller,
        max_steps=MAX_STEPS,
    )
    return solution.ys[-1], solution.stats["num_steps"]


class Relaxation(eqx.Module):
    """v = cos 3t − rate ||x||² x: stiff far out, gentle near the middle."""

    rate: jax.Array

    def __call__(self, t, x, cond=None):
        return -self.rate * x * jnp.sum(x**2) + jnp.cos(3 * t)


@pytest.mark.parametrize(
    ("name", "dt0"), [("tsit5", None), ("tsit5", 0.05), ("dopri5", 0.05), ("heun", None)]
)
def test_end_points_are_a_plain_solves(x64, reference, name, dt0):
    """In float64, where a step of another length would show: the energy never steers."""
    field = reference.wave(0, dtype=jnp.float64)
    x0 = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)))
    dt0 = None if dt0 is None else jnp.asarray(dt0)
    for tolerance in (1e-3, 1e-4, 1e-5 if name == "heun" else 1e-6):
        tol = jnp.asarray(tolerance)  # an array: one program for all tolerances
        controller = diffrax.PIDController(rtol=tol, atol=tol)
        options = {"solver": SOLVERS[name], "controller": controller, "dt0": dt0}
        result = sample(field, x0, max_steps=MAX_STEPS, **options).check()
        for i in range(4):
            x1, _ = plain_solve(field, SOLVERS[name], controller, dt0, x0[i])
            np.testing.assert_allclose(result.x1[i], x1, rtol=1e-11, atol=1e-11)


def test_end_points_are_a_plain_solves_in_float32(reference, normal):
    """With an error estimate well above rounding, so that the steps are the same here too."""
    field, x0 = reference.wave(0), normal(1, 4, 3)
    controller = diffrax.PIDController(rtol=1e-3, atol=1e-3)
    result = sample(field, x0, solver=diffrax.Heun(), controller=controller, max_steps=MAX_STEPS)
    for i in range(4):
        x1, steps = plain_solve(field, diffrax.Heun(), controller, None, jnp.asarray(x0[i]))
        np.testing.assert_allclose(result.x1[i], x1, rtol=5e-6, atol=5e-6)
        assert int(result.num_evals[i]) == 2 * int(steps)
    assert len(set(np.asarray(result.num_evals))) > 1


def test_a_kts_field_is_stepped_onto_its_tau(x64, reference):
    field = kts(0.5, 0.02, 0.37)(reference.wave(0, dtype=jnp.float64))
    x0 = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3)))
    inner = diffrax.PIDController(rtol=1e-5, atol=1e-5)
    result = sample(field, x0, controller=inner, dt0=0.1, max_steps=MAX_STEPS).check()
    clipped = diffrax.ClipStepSizeController(inner, step_ts=jnp.array([0.37]))
    for i in range(3):
        x1, _ = plain_solve(field, diffrax.Tsit5(), clipped, jnp.asarray(0.1), x0[i])
        np.testing.assert_allclose(result.x1[i], x1, rtol=1e-11, atol=1e-11)


def test_a_sample_does_not_see_its_batch_mates(x64):
    """Not even one that needs many times the steps."""
    field = Relaxation(jnp.asarray(1.0))
    gentle, stiff = jnp.array([[0.5, -0.2]]), jnp.array([[30.0, 20.0]])
    controller = diffrax.PIDController(rtol=1e-5, atol=1e-5)
    options = {"controller": controller, "max_steps": MAX_STEPS}
    alone = sample(field, gentle, **options)
    mixed = sample(field, jnp.concatenate([stiff, gentle, stiff]), **options)
    assert mixed.num_evals[0] > 2 * mixed.num_evals[1]
    assert mixed.num_evals[1] == alone.num_evals[0]
    np.testing.assert_allclose(mixed.x1[1], alone.x1[0], rtol=1e-13)
    for name in ("total", "launch", "landing", "displacement", "excess", "length"):
        left, right = getattr(mixed.energy, name)[1], getattr(alone.energy, name)[0]
        np.testing.assert_allclose(left, right, rtol=1e-12, err_msg=name)


def exact_launch(mean, scale, x0, tau):
    """½ ∫_0^τ ||v||² along the exact path x(t) = tμ + sqrt(t² s² + (1 − t)²) x0, by quadrature."""

    def power(t):
        spread = np.sqrt(t**2 * scale**2 + (1 - t) ** 2)
        velocity = mean + (t * scale**2 - (1 - t)) / spread * x0
        return velocity @ velocity / 2

    return quad(power, 0, tau, epsabs=1e-12)[0]


@pytest.mark.parametrize("tau", [0.2, 0.6, 0.95])
def test_launch_energy_of_a_field_without_tau(normal, tau):
    """No step ends on τ here: what had been spent by then is interpolated within the step."""
    mean, scale, x0 = np.array([1.0, -2.0, 0.5]), 0.4, normal(2, 4, 3)
    field = GaussianField(jnp.asarray(mean, jnp.float32), scale)
    controller = diffrax.PIDController(rtol=1e-5, atol=1e-5)
    result = sample(field, x0, controller=controller, tau_split=tau, max_steps=256).check()
    expected = np.array([exact_launch(mean, scale, x.astype(np.float64), tau) for x in x0])
    np.testing.assert_allclose(result.energy.launch, expected, rtol=1e-3)
    everything = np.array([exact_launch(mean, scale, x.astype(np.float64), 1.0) for x in x0])
    np.testing.assert_allclose(result.energy.landing, everything - expected, rtol=2e-3)
    np.testing.assert_allclose(
        result.energy.total, result.energy.launch + result.energy.landing, rtol=1e-6
    )
    # Where the energy is split is no business of the trajectory.
    elsewhere = sample(field, x0, controller=controller, tau_split=0.5, max_steps=256)
    np.testing.assert_array_equal(result.x1, elsewhere.x1)


class Drift(eqx.Module):
    velocity: jax.Array

    def __call__(self, t, x, cond=None):
        return self.velocity


@pytest.mark.parametrize(
    ("launch", "landing"), [("linear", "exponential"), ("constant", "constant")]
)
def test_launch_energy_of_a_kts_field(reference, launch, landing):
    """On a constant field E = ||v||²/2 ∫ η²: with a jump of the gain at τ, too."""
    alpha0, beta0, tau = 0.5, 0.03, 0.35
    field = kts(alpha0, beta0, tau, launch=launch, landing=landing)(Drift(jnp.array([3.0, 4.0])))
    controller = diffrax.PIDController(rtol=1e-5, atol=1e-6)
    energy = sample(field, jnp.zeros((1, 2)), controller=controller, max_steps=256).check().energy

    def square(t):
        return reference.eta(t, alpha0, beta0, tau, launch, landing) ** 2

    np.testing.assert_allclose(energy.launch, 12.5 * quad(square, 0, tau)[0], rtol=1e-4)
    np.testing.assert_allclose(energy.landing, 12.5 * quad(square, tau, 1)[0], rtol=1e-4)


@pytest.mark.parametrize("max_steps", [1, 2])
def test_fewer_steps_than_the_interpolation_would_like(max_steps):
    """A constant field is crossed in one step; the energy at τ is then τ's share of it."""
    result = sample(
        Drift(jnp.array([3.0, 4.0])),
        jnp.zeros((2, 2)),
        controller=diffrax.PIDController(rtol=1e-3, atol=1e-3),
        dt0=1.0,
        max_steps=max_steps,
    )
    np.testing.assert_array_equal(result.status, [0, 0])
    np.testing.assert_allclose(result.energy.launch, 7.5, rtol=1e-5)
    np.testing.assert_allclose(result.energy.landing, 5.0, rtol=1e-5)


def test_half_solver_gives_euler_an_error_estimate(normal):
    mean, x0 = np.array([1.0, -2.0]), normal(3, 3, 2)
    field = GaussianField(jnp.asarray(mean, jnp.float32), 0.5)
    solver = diffrax.HalfSolver(diffrax.Euler())
    controller = diffrax.PIDController(rtol=1e-5, atol=1e-5)
    result = sample(field, x0, solver=solver, controller=controller, max_steps=512).check()
    np.testing.assert_allclose(result.x1, mean + 0.5 * x0, atol=5e-3)
    expected = [exact_launch(mean, 0.5, x.astype(np.float64), 1.0) for x in x0]
    np.testing.assert_allclose(result.energy.total, expected, rtol=1e-2)  # a first-order method
    for i in range(3):
        x1, _ = plain_solve(field, solver, controller, None, jnp.asarray(x0[i]))
        np.testing.assert_allclose(result.x1[i], x1, rtol=1e-4, atol=1e-4)


def test_constant_steps_given_as_a_controller(reference, normal):
    field, x0 = reference.wave(0), normal(1, 3, 3)
    options = {"controller": diffrax.ConstantStepSize(), "dt0": 1 / 16, "max_steps": 16}
    result = sample(field, x0, solver=diffrax.Euler(), **options).check()
    expected = sample(field, x0, num_steps=16)
    np.testing.assert_allclose(result.x1, expected.x1, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(result.energy.total, expected.energy.total, rtol=1e-6)
    np.testing.assert_allclose(result.energy.length, expected.energy.length, rtol=1e-6)
    np.testing.assert_array_equal(result.num_evals, [16, 16, 16])
    assert result.profile is None
