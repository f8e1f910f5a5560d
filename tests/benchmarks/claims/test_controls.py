"""The controls of KTS against their closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.claims import _controls
from kinetic_jax import kts, sample


def test_constant_gain_has_the_same_integral():
    steps, setting = 50, (0.1, 0.02, 0.6)

    def still(t, x, cond=None):
        return jnp.ones_like(x)

    ends = [sample(transform(still), jnp.zeros((1, 1)), num_steps=steps).x1
            for transform in (_controls.constant_like(*setting, steps), kts(*setting))]  # fmt: skip
    np.testing.assert_allclose(*ends, rtol=1e-6)


def test_noise_on_samples():
    images = np.zeros((50, 8, 8, 1), np.float32)
    noisy = _controls.with_noise(images, 0.3)
    assert noisy.dtype == np.float32
    assert noisy.std() == pytest.approx(0.3, rel=0.05)
    np.testing.assert_array_equal(noisy, _controls.with_noise(images, 0.3))
