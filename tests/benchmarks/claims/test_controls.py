"""The controls of KTS against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.claims import _controls
from kinetic_jax import kts, kts_gain, sample


def driven(t, x, cond=None):
    """Its path is sin(3t), whatever x."""
    return jnp.full_like(x, 3.0) * jnp.cos(3 * t)


@pytest.mark.parametrize("strengths", [(0.0, 0.0), (0.0, 0.05), (0.3, 0.0)])
def test_a_matched_clock_walks_the_same_path(strengths):
    """x(1) = ∫ η f(s) dt = F(s(1)), which is F(1) from s = 1 on."""

    def eta(t):
        return kts_gain(t, *strengths)

    nodes = np.linspace(0, 1, 20_001)
    s1 = np.trapezoid(np.asarray(eta(nodes), np.float64), nodes)
    field = _controls.clock_matched(eta)(driven)
    x1 = sample(field, jnp.zeros((1, 2)), num_steps=4000).x1
    np.testing.assert_allclose(x1, np.sin(3 * min(s1, 1.0)), atol=3e-3)
    # And one that is told the wrong time does not.
    lied = sample(kts(*strengths)(driven), jnp.zeros((1, 2)), num_steps=4000).x1
    if any(strengths):
        assert np.abs(np.asarray(lied) - np.sin(3 * min(s1, 1.0))).max() > 0.01


def test_ssc_is_a_linear_launch_at_b_1():
    x0 = jnp.ones((2, 3))

    def field(t, x, cond=None):
        return jnp.cos(t) * x

    almost = kts(alpha0=0.3, tau_split=1 - 1e-6)
    ours, theirs = (
        sample(f(field), x0, num_steps=50).x1 for f in (_controls.ssc(0.3, 1.0), almost)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    t = jnp.linspace(0, 1, 5)
    got = jax.vmap(lambda t: _controls._ssc_gain(jnp.asarray(0.5), jnp.asarray(2.0), t))(t)
    np.testing.assert_allclose(got, 1 + 0.5 * (1 - np.linspace(0, 1, 5)) ** 2, rtol=1e-6)


def test_constant_gain_has_the_same_integral():
    steps, setting = 50, (0.1, 0.02, 0.6)

    def still(t, x, cond=None):
        return jnp.ones_like(x)

    ends = [sample(transform(still), jnp.zeros((1, 1)), num_steps=steps).x1
            for transform in (_controls.constant_like(*setting, steps), kts(*setting))]  # fmt: skip
    np.testing.assert_allclose(*ends, rtol=1e-6)


def test_time_shift():
    grid = _controls.time_shifted(4, 3.0)
    t = np.array([0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(grid, t / (t + 3 * (1 - t)))
    np.testing.assert_allclose(_controls.time_shifted(7, 1.0), np.arange(8) / 7)
    # The other way: shifted by s and then by 1/s it is where it was.
    again = grid / (grid + (1 - grid) / 3.0)
    np.testing.assert_allclose(again, t)


def test_noise_on_samples():
    images = np.zeros((50, 8, 8, 1), np.float32)
    noisy = _controls.with_noise(images, 0.3)
    assert noisy.dtype == np.float32
    assert noisy.std() == pytest.approx(0.3, rel=0.05)
    np.testing.assert_array_equal(noisy, _controls.with_noise(images, 0.3))
