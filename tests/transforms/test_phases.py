"""One rule for the two phases: t ≥ τ is landing, up to the rounding of t."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kinetic_jax.transforms._phases import DEFAULT_TAU_SPLIT, is_landing


def landing(t, tau, dtype=np.float32):
    return bool(is_landing(jnp.asarray(t, dtype), jnp.asarray(tau, dtype)))


@given(st.floats(0, 1, width=32), st.floats(0.015625, 0.984375, width=32))
def test_away_from_tau_it_is_plain_comparison(t, tau):
    assume(abs(t - tau) > 1e-5)
    assert landing(t, tau) == (t >= tau)


@given(st.floats(0.015625, 0.984375, width=32))
def test_tau_itself_and_its_neighbours_are_landing(tau):
    tau = np.float32(tau)
    assert landing(tau, tau)
    assert landing(np.nextafter(tau, np.float32(1)), tau)
    assert landing(np.nextafter(tau, np.float32(0)), tau)


@pytest.mark.parametrize("steps", [100, 250, 500])
@pytest.mark.parametrize("tau", [0.2, 0.4, 0.6, 0.8])
def test_a_float32_grid_switches_at_the_step_it_should(steps, tau):
    first = round(steps * tau)
    grids = {
        "cast": (np.arange(steps + 1) / steps).astype(np.float32),
        "linspace": np.linspace(0, 1, steps + 1, dtype=np.float32),
        "multiplied": np.arange(steps + 1, dtype=np.float32) * np.float32(1 / steps),
        "jnp": jnp.linspace(0, 1, steps + 1, dtype=jnp.float32),
    }
    for name, grid in grids.items():
        got = is_landing(jnp.asarray(grid), jnp.asarray(tau, jnp.float32))
        np.testing.assert_array_equal(got, np.arange(steps + 1) >= first, err_msg=name)


def test_times_summed_up_in_a_loop():
    t, times = np.float32(0), []
    for _ in range(100):
        times.append(t)
        t = np.float32(t + np.float32(0.01))
    assert times[60] < np.float32(0.6)  # what makes a plain comparison wrong
    got = is_landing(jnp.asarray(times), jnp.asarray(0.6, jnp.float32))
    np.testing.assert_array_equal(got, np.arange(100) >= 60)


def test_double_precision_is_told_apart_finely(x64):
    assert landing(0.6 - 1e-15, 0.6, np.float64)
    assert not landing(0.6 - 1e-13, 0.6, np.float64)
    assert not landing(0.6 - 1e-5, 0.6, np.float32)


def test_the_default():
    assert DEFAULT_TAU_SPLIT == 0.6


def test_a_coarse_clock_does_not_land_early():
    """Sixteen roundings of bfloat16 would be 0.06 at τ = 0.6: real launch, no rounding."""
    assert not landing(0.55, 0.6, jnp.bfloat16)
    assert landing(0.6, 0.6, jnp.bfloat16)


def test_a_float32_tau_under_a_float64_clock(x64):
    """Float32 keeps 0.6 as 0.60000002: step 60 of 100 is still the first of the landing."""
    assert is_landing(jnp.asarray(0.6, jnp.float64), jnp.asarray(0.6, jnp.float32))
    assert not is_landing(jnp.asarray(0.5999, jnp.float64), jnp.asarray(0.6, jnp.float32))
