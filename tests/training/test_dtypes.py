"""Complex and half-precision weights and data in `fit` and `cfm_loss`."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kinetic_jax import cfm_loss, fit

KEY = jax.random.key(0)


class Constant(eqx.Module):
    """v = w, whose best value is the mean of x1."""

    w: jax.Array

    def __call__(self, t, x, cond=None):
        return self.w * jnp.ones_like(x)


class ComplexConstant(eqx.Module):
    """v = (Re w, Im w), so that the loss is |w − target|² with the target in the complex plane."""

    w: jax.Array

    def __call__(self, t, x, cond=None):
        return jnp.stack([self.w.real, self.w.imag])


@pytest.mark.parametrize(
    "optimizer", [optax.sgd(optax.linear_schedule(0.2, 0.0, 400)), optax.adam(0.05)]
)
def test_complex_weights(optimizer):
    data = np.tile(np.array([1.0, 2.0], np.float32), (4, 1))
    start = ComplexConstant(jax.device_put(np.complex64(-1j)))
    result = fit(start, data, key=KEY, num_steps=400, optimizer=optimizer, batch_size=64)
    assert result.field.w.dtype == jnp.complex64
    assert abs(complex(result.field.w) - (1 + 2j)) < 0.1
    assert abs(complex(result.ema_field.w) - (1 + 2j)) < 0.1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_weights_and_their_average(dtype):
    """Steps and decays below the spacing of half precision add up: to the mean of x1 − x0, 3."""
    data = np.full((8, 2), 3, np.float32)

    class Half(Constant):
        def __call__(self, t, x, cond=None):
            assert self.w.dtype == dtype  # the field computes in its own dtype
            return (self.w * jnp.ones(2, dtype)).astype(x.dtype)

    settings = {"key": KEY, "batch_size": 256, "num_steps": 800}
    start = Half(jax.device_put(np.zeros((), dtype)))
    result = fit(start, data, optimizer=optax.sgd(0.01), **settings)
    for field in (result.field, result.ema_field):
        assert field.w.dtype == dtype
        assert float(field.w) == pytest.approx(3.0, abs=0.03)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_draws_for_half_precision_data(dtype):
    """The times and noise of float32 data, rounded only where the field reads x."""
    wide = np.zeros((20_000, 1), np.float32)

    def still(t, x, cond=None):
        return jnp.zeros_like(x)

    # Not compiled whole: two programs may round differently.
    noise = np.sqrt(cfm_loss(still, KEY, wide))
    np.testing.assert_array_equal(np.sqrt(cfm_loss(still, KEY, wide.astype(dtype))), noise)
    assert 3.0 < noise.max() < 6.0

    def field(t, x, cond=None):
        assert (t.dtype, x.dtype) == (jnp.float32, dtype)
        is_finer_than_half = t * 4096 % 1 > 0
        return jnp.where(is_finer_than_half, jnp.full_like(x, 100), jnp.zeros_like(x))

    losses = jax.jit(functools.partial(cfm_loss, field, KEY))(wide.astype(dtype))
    assert np.mean(np.asarray(losses) > 1000) > 0.99
