"""Schedules: their clock is inverted, their ends are held, and errors name the argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax.fields import (
    Schedule,
    cosine_schedule,
    ddpm_schedule,
    edm_schedule,
    linear_schedule,
    vp_schedule,
)

TIMES = np.linspace(0.1, 0.95, 18, dtype=np.float32)
BINS = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
SMOOTH = {
    "linear": linear_schedule(),
    "reversed": linear_schedule(reverse=True),
    "vp": vp_schedule(),
    "vp of other rates": vp_schedule(0.5, 9.0),
    "cosine": cosine_schedule(),
    "edm": edm_schedule(),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_reading_is_the_inverse_of_time(name):
    schedule = SMOOTH[name]
    reading = jax.jit(lambda s, t: s.reading(t))(schedule, TIMES)
    np.testing.assert_allclose(schedule.time(reading), TIMES, rtol=2e-5)
    inverse = Schedule(schedule.alpha, schedule.sigma, schedule.span).reading(TIMES)  # by bisection
    np.testing.assert_allclose(inverse, reading, rtol=2e-4, atol=2e-6)


def vp(r, beta_min=0.1, beta_max=20.0):
    """α = exp(−½ ∫ β) with β = β_min + (β_max − β_min) r, integrated by the trapezoidal rule."""
    nodes = np.linspace(0, 1, 20001)
    rates = beta_min + (beta_max - beta_min) * nodes * r[:, None]
    alpha = np.exp(-np.trapezoid(rates, nodes * r[:, None], axis=1) / 2)
    return alpha, np.sqrt(1 - alpha**2)


# alpha and sigma at r in NumPy's float64.
ORACLES = {
    "linear": lambda r: (r, 1 - r),
    "reversed": lambda r: (1 - r, r),
    "vp": vp,
    "vp of other rates": lambda r: vp(r, 0.5, 9.0),
    "cosine": lambda r: (np.cos(np.pi * r / 2), np.sin(np.pi * r / 2)),
    "edm": lambda r: (np.ones_like(r), r),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_alpha_and_sigma(name):
    schedule, r = SMOOTH[name], np.linspace(0.01, 0.99, 9)
    for scale, wanted in zip((schedule.alpha, schedule.sigma), ORACLES[name](r), strict=True):
        np.testing.assert_allclose(scale(jnp.asarray(r, jnp.float32)), wanted, rtol=2e-5)


def of_numbers(numbers, t):
    schedule = vp_schedule(*numbers)
    r = schedule.reading(t)
    return schedule.sigma(r), schedule.sigma(jnp.float32(0.3))


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_gradients_of_rates(t):
    """The slope of √0 is infinite, at t = 1: gradients are finite there and right elsewhere."""
    slopes = jax.jacrev(of_numbers)((jnp.float32(0.1), jnp.float32(20.0)), jnp.float32(t))
    assert np.isfinite(jax.tree.leaves(slopes)).all()
    # sigma at r = 0.3 is sqrt(1 − e^{−B}), with B = 0.255 beta_min + 0.045 beta_max.
    integral = 0.255 * 0.1 + 0.045 * 20
    slope = np.exp(-integral) / (2 * np.sqrt(1 - np.exp(-integral)))
    np.testing.assert_allclose(slopes[1], (0.255 * slope, 0.045 * slope), rtol=1e-4)


def test_ddpm_reads_the_nearest_bin():
    schedule = ddpm_schedule(BINS)
    alpha, sigma = np.sqrt(BINS), np.sqrt(1 - BINS)
    times = alpha / (alpha + sigma)
    t = np.random.default_rng(0).uniform(0, 1, 200).astype(np.float32)
    reading = np.asarray(schedule.reading(t))
    assert (reading == np.round(reading)).all()
    nearest = np.abs(times[None, :] - t[:, None]).min(axis=1)
    np.testing.assert_allclose(np.abs(times[reading.astype(int)] - t), nearest, atol=2e-4)
    exact = schedule.alpha(jnp.asarray(reading))
    np.testing.assert_allclose(exact, alpha[reading.astype(int)], rtol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "ends"),
    [(edm_schedule(), (80, 0.002)), (ddpm_schedule(BINS), (999, 0)), (vp_schedule(), (1, 0))],
    ids=["edm", "ddpm", "vp"],
)
def test_the_model_is_held_at_its_ends(schedule, ends):
    np.testing.assert_allclose(schedule.reading(np.array([0.0, 1.0], np.float32)), ends, atol=1e-6)


def test_other_numbers_do_not_compile_again(compilations):
    read = jax.jit(lambda schedule, t: schedule.reading(t))
    for make, *numbers in (
        (vp_schedule, (0.1, 20.0), (0.2, 15.0)),
        (cosine_schedule, (), ()),
        (edm_schedule, (0.002, 80.0), (0.01, 50.0)),
        (ddpm_schedule, (BINS,), (BINS**2,)),
    ):
        first, second = (make(*given) for given in numbers)
        read(first, TIMES)
        before = compilations()
        read(second, TIMES)
        assert compilations() == before, make.__name__


ERRORS = {
    "span of one": (lambda: Schedule(jnp.cos, jnp.sin, (1.0,)), "span must be r at noise and r at"),
    "equal ends": (lambda: Schedule(jnp.cos, jnp.sin, (1.0, 1.0)), "span must be two different"),
    "the wrong way": (lambda: Schedule(jnp.cos, jnp.sin, (0.0, 1.5)), "span must make alpha/"),
    "infinite": (lambda: Schedule(jnp.cos, jnp.sin, (0.0, np.inf)), "span must be finite"),
    "no function": (lambda: Schedule(1.0, jnp.sin, (1.5, 0.0)), "alpha must be callable as"),
    "clock": (lambda: linear_schedule(time_scale=0.0), "time_scale must be positive, got 0.0"),
    "rates": (lambda: vp_schedule(-1.0), "beta_min must be positive"),
    "levels": (lambda: edm_schedule(1.0, 0.5), "sigma_max must be above sigma_min, 1.0, got 0.5"),
    "rising": (lambda: ddpm_schedule(np.array([0.1, 0.5])), "alphas_cumprod must fall within"),
    "no number": (
        lambda: ddpm_schedule(np.array([0.9, 0.5, np.nan, 0.1])),
        "got 0.5, nan at position 1",
    ),
    "alpha, not its product": (
        lambda: ddpm_schedule(1 - np.linspace(1e-4, 0.02, 1000)),
        "alphas_cumprod must reach from t below 0.3 .*of betas take.* got t from 0.875 to 0.99",
    ),
    "a part of the path": (
        lambda: Schedule(jnp.cos, jnp.sin, (1.2, 0.4)),
        "span must make .* reach from below 0.2 .* goes from 0.28 to 0.703",
    ),
    "a wrong inverse": (
        lambda: Schedule(jnp.cos, jnp.sin, (np.pi / 2, 0.0), reading=lambda t: 1.5 * (1 - t)),
        "reading must be the inverse of t = ",
    ),
    "NumPy's functions": (
        lambda: Schedule(np.cos, jnp.sin, (np.pi / 2, 0.0)),
        "alpha must be a function of JAX numbers, as of jax.numpy, got TracerArrayConversionError",
    ),
    "a branch of Python": (
        lambda: Schedule(jnp.cos, lambda r: jnp.sin(r) if r > 0 else 0 * r, (np.pi / 2, 0.0)),
        "sigma must be a function of JAX numbers, .* got TracerBoolConversionError",
    ),
    "of another shape": (
        lambda: Schedule(lambda r: jnp.zeros(3), jnp.sin, (np.pi / 2, 0.0)),
        "alpha must return one number for one r",
    ),
    "of one bin": (lambda: ddpm_schedule(np.array([0.5])), "alphas_cumprod must be a vector"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name, own_messages):
    make, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_schedules_of_traced_numbers():
    """Values are not checked; the derivative is right: t = k r/(k r + 1 − r)."""

    def time(k):
        return Schedule(lambda r: k * r, lambda r: 1 - r, (0.0, 1.0)).time(0.3)

    np.testing.assert_allclose(jax.grad(time)(1.0), 0.3 * 0.7, rtol=1e-6)
