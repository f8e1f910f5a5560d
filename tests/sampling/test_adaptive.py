"""Adaptive control: each sample takes the very steps that Diffrax takes for it alone."""

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from kinetic_jax import GaussianField, kts, sample

SOLVERS = {"tsit5": diffrax.Tsit5(), "heun": diffrax.Heun()}
MAX_STEPS = 1024


def pid(tolerance):
    """A controller of arrays: one program for all tolerances."""
    return diffrax.PIDController(rtol=np.float64(tolerance), atol=np.float64(tolerance))


@eqx.filter_jit
def plain_solve(field, solver, controller, dt0, x0):
    """The ODE of x alone: its end and how many steps it took."""
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x, args: field(t, x)),
        solver,
        t0=np.zeros((), x0.dtype),
        t1=np.ones((), x0.dtype),
        dt0=dt0,
        y0=x0,
        stepsize_controller=controller,
        max_steps=MAX_STEPS,
    )
    return solution.ys[-1], solution.stats["num_steps"]


class Relaxation(eqx.Module):
    """v = cos 3t − rate ||x||² x: stiff far out, gentle near the middle."""

    rate: np.float64

    def __call__(self, t, x, cond=None):
        return -self.rate * x * jnp.sum(x**2) + jnp.cos(3 * t)


@pytest.mark.long
@pytest.mark.parametrize(("name", "dt0"), [("tsit5", None), ("heun", 0.05)])
def test_end_points_are_a_plain_solves(x64, name, dt0):
    """In float64, where a step of another length would show: the energy never steers."""
    field, x0 = Relaxation(np.float64(1.0)), np.random.default_rng(1).normal(size=(4, 3))
    for tolerance in (1e-3, 1e-4, 1e-5 if name == "heun" else 1e-6):
        options = {"solver": SOLVERS[name], "controller": pid(tolerance), "dt0": dt0}
        result = sample(field, x0, max_steps=MAX_STEPS, **options).check()
        for x, end in zip(x0, np.asarray(result.x1), strict=True):
            x1, _ = plain_solve(field, SOLVERS[name], pid(tolerance), dt0, x)
            np.testing.assert_allclose(end, x1, rtol=1e-11, atol=1e-11)
        energy = result.energy
        difference = np.asarray(energy.total) - np.asarray(energy.displacement)
        np.testing.assert_allclose(energy.excess, difference, rtol=1e-9)


def test_a_sample_does_not_see_its_batch_mates(x64):
    """Not even ones that need many times the steps."""
    field, options = Relaxation(np.float64(1.0)), {"controller": pid(1e-5), "max_steps": MAX_STEPS}
    gentle, stiff = np.array([0.5, -0.2, 0.1]), np.array([30.0, 20.0, -10.0])
    alone = sample(field, np.stack([gentle] * 4), **options)
    mixed = sample(field, np.stack([stiff, gentle, stiff, stiff]), **options)
    num_evals = np.asarray(mixed.num_evals)
    assert num_evals[0] > 2 * num_evals[1]
    np.testing.assert_array_equal(alone.num_evals, num_evals[1])
    np.testing.assert_allclose(alone.x1, np.asarray(mixed.x1)[[1] * 4], rtol=1e-13)
    for name in ("total", "launch", "landing", "displacement", "excess", "length"):
        left, right = (np.asarray(getattr(run.energy, name)) for run in (mixed, alone))
        np.testing.assert_allclose(left[1], right[0], rtol=1e-12, err_msg=name)


@pytest.mark.long
def test_end_points_are_a_plain_solves_in_float32(reference, normal):
    """With an error estimate well above rounding, so that the steps are the same here too."""
    field, x0 = reference.wave(0), normal(1, 4, 3)
    controller = diffrax.PIDController(rtol=1e-3, atol=1e-3)
    result = sample(field, x0, solver=diffrax.Heun(), controller=controller, max_steps=MAX_STEPS)
    ends, num_evals = np.asarray(result.x1), np.asarray(result.num_evals)
    for i in range(4):
        x1, steps = plain_solve(field, diffrax.Heun(), controller, None, x0[i])
        np.testing.assert_allclose(ends[i], x1, rtol=5e-6, atol=5e-6)
        assert num_evals[i] == 2 * int(steps)
    assert len(set(num_evals)) > 1


@pytest.mark.long
def test_a_kts_field_is_stepped_onto_its_tau(x64, reference):
    field = kts(0.5, 0.02, 0.37)(reference.wave(0, dtype=jnp.float64))
    x0 = np.random.default_rng(1).normal(size=(3, 3))
    inner = diffrax.PIDController(rtol=1e-5, atol=1e-5)
    result = sample(field, x0, controller=inner, dt0=0.1, max_steps=MAX_STEPS).check()
    clipped = diffrax.ClipStepSizeController(inner, step_ts=np.array([0.37]))
    for x, end in zip(x0, np.asarray(result.x1), strict=True):
        x1, _ = plain_solve(field, diffrax.Tsit5(), clipped, 0.1, x)
        np.testing.assert_allclose(end, x1, rtol=1e-11, atol=1e-11)


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
    field = GaussianField(mean.astype(np.float32), scale)
    controller = diffrax.PIDController(rtol=1e-5, atol=1e-5)
    result = sample(field, x0, controller=controller, tau_split=tau, max_steps=256).check()
    np.testing.assert_allclose(result.x1, mean + scale * x0, rtol=1e-3, atol=1e-3)
    expected = np.array([exact_launch(mean, scale, x.astype(np.float64), tau) for x in x0])
    np.testing.assert_allclose(result.energy.launch, expected, rtol=1e-3)
    everything = np.array([exact_launch(mean, scale, x.astype(np.float64), 1.0) for x in x0])
    np.testing.assert_allclose(result.energy.landing, everything - expected, rtol=2e-3)
    launch, landing = np.asarray(result.energy.launch), np.asarray(result.energy.landing)
    np.testing.assert_allclose(result.energy.total, launch + landing, rtol=1e-6)
    # Where the energy is split is no business of the trajectory.
    elsewhere = sample(field, x0, controller=controller, tau_split=0.5, max_steps=256)
    np.testing.assert_array_equal(result.x1, elsewhere.x1)


SPEED = np.array([3.0, 4.0], np.float32)


class Drift(eqx.Module):
    velocity: np.ndarray

    def __call__(self, t, x, cond=None):
        return self.velocity


@pytest.mark.long
def test_launch_energy_of_a_kts_field(reference):
    """On a constant field E = ||v||²/2 ∫ η², with a jump of the gain at τ and a bend after."""
    launch, landing = "constant", "exponential"
    alpha0, beta0, tau = 0.5, 0.03, 0.35
    field = kts(alpha0, beta0, tau, launch=launch, landing=landing)(Drift(SPEED))
    controller = diffrax.PIDController(rtol=1e-5, atol=1e-6)
    x0 = np.zeros((1, 2), np.float32)
    energy = sample(field, x0, controller=controller, max_steps=256).check().energy

    def square(t):
        return reference.eta(t, alpha0, beta0, tau, launch, landing) ** 2

    np.testing.assert_allclose(energy.launch, 12.5 * quad(square, 0, tau)[0], rtol=1e-4)
    np.testing.assert_allclose(energy.landing, 12.5 * quad(square, tau, 1)[0], rtol=1e-4)


def test_fewer_steps_than_the_interpolation_would_like():
    """A constant field is crossed in one step; the energy at τ is then τ's share of it."""
    result = sample(
        Drift(SPEED),
        np.zeros((2, 2), np.float32),
        controller=diffrax.PIDController(rtol=1e-3, atol=1e-3),
        dt0=1.0,
        max_steps=1,
    )
    np.testing.assert_array_equal(result.status, [0, 0])
    np.testing.assert_allclose(result.energy.launch, 7.5, rtol=1e-5)
    np.testing.assert_allclose(result.energy.landing, 5.0, rtol=1e-5)


def test_half_solver_gives_euler_an_error_estimate(normal):
    mean, x0 = np.array([1.0, -2.0]), normal(3, 3, 2)
    field = GaussianField(mean.astype(np.float32), 0.5)
    solver = diffrax.HalfSolver(diffrax.Euler())
    controller = diffrax.PIDController(rtol=1e-5, atol=1e-5)
    result = sample(field, x0, solver=solver, controller=controller, max_steps=512).check()
    np.testing.assert_allclose(result.x1, mean + 0.5 * x0, atol=5e-3)
    expected = [exact_launch(mean, 0.5, x.astype(np.float64), 1.0) for x in x0]
    np.testing.assert_allclose(result.energy.total, expected, rtol=1e-2)  # a first-order method
    for x, end in zip(x0, np.asarray(result.x1), strict=True):
        x1, _ = plain_solve(field, solver, controller, None, x)
        np.testing.assert_allclose(end, x1, rtol=1e-4, atol=1e-4)


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
