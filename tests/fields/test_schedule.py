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
    found = Schedule(schedule.alpha, schedule.sigma, schedule.span).reading(TIMES)  # by bisection
    np.testing.assert_allclose(found, reading, rtol=2e-4, atol=2e-6)


def test_variance_is_preserved():
    for schedule in (vp_schedule(), cosine_schedule()):
        r = schedule.reading(TIMES)
        square = np.asarray(schedule.alpha(r)) ** 2 + np.asarray(schedule.sigma(r)) ** 2
        np.testing.assert_allclose(square, 1, rtol=1e-5)


def test_vp_is_the_integral_of_beta():
    """α = exp(−½ ∫ β) with β = 0.1 + 19.9 r, in NumPy."""
    r = np.linspace(0.01, 1, 9)
    nodes = np.linspace(0, 1, 20001)
    integral = [np.trapezoid(0.1 + 19.9 * nodes * end, nodes * end) for end in r]
    np.testing.assert_allclose(
        vp_schedule().alpha(jnp.asarray(r, jnp.float32)), np.exp(-np.array(integral) / 2), rtol=1e-5
    )


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
    "of one bin": (lambda: ddpm_schedule(np.array([0.5])), "alphas_cumprod must be a vector"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name, own_messages):
    make, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        make()
