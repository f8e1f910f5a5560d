"""The flow-matching loss: against NumPy, in closed form, and its gradient."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from kinetic_jax import GaussianField, cfm_loss

SIZE = 40_000


def still(t, x, cond=None):
    return jnp.zeros_like(x)


class Affine(eqx.Module):
    """v = A x + t b + the condition, if there is one: a field that NumPy can follow."""

    matrix: Any
    slope: Any

    def __call__(self, t, x, cond=None):
        velocity = self.matrix @ x + t * self.slope
        return velocity if cond is None else velocity + cond["sign"] * cond["shift"]


@functools.partial(jax.jit, static_argnums=(1, 2))
def drawn(key, shape, dtype):
    key_time, key_noise = jax.random.split(key)
    return jax.random.uniform(key_time, shape[:1], dtype), jax.random.normal(
        key_noise, shape, dtype
    )


def draws(key, x1):
    """The times and noise of a call, in float64."""
    dtype = np.dtype(np.float32) if x1.dtype == jnp.bfloat16 else x1.dtype
    t, x0 = drawn(key, x1.shape, dtype)
    return np.asarray(t, np.float64), np.asarray(x0, np.float64)


def affine_loss(field, key, x1, cond):
    t, x0 = draws(key, x1)
    x1 = np.asarray(x1, np.float64)
    matrix, slope = np.asarray(field.matrix, np.float64), np.asarray(field.slope, np.float64)
    losses = []
    for i in range(len(x1)):
        velocity = matrix @ ((1 - t[i]) * x0[i] + t[i] * x1[i]) + t[i] * slope
        if cond is not None:
            velocity = velocity + float(cond["sign"][i]) * np.asarray(cond["shift"][i], np.float64)
        losses.append(np.sum((velocity - (x1[i] - x0[i])) ** 2))
    return np.array(losses)


def affine(dtype=np.float32):
    rng = np.random.default_rng(0)
    return Affine(*(jax.device_put(rng.normal(size=s).astype(dtype)) for s in ((3, 3), 3)))


losses_of = jax.jit(cfm_loss)  # of fields that are pytrees: one program for a shape


@pytest.mark.parametrize("with_cond", [False, True], ids=["no cond", "cond"])
@pytest.mark.parametrize("seed", [0, 1])
def test_against_numpy(seed, with_cond):
    key, rng = jax.random.key(seed), np.random.default_rng(seed)
    x1 = (rng.normal(size=(7, 3)) + 2).astype(np.float32)
    cond = None
    if with_cond:
        shift = rng.normal(size=(7, 3)).astype(np.float32)
        cond = {"sign": np.array([1, -1, 1, -1, 1, -1, 1], np.float32), "shift": shift}
    got = losses_of(affine(), key, x1, cond)
    assert (got.shape, got.dtype) == ((7,), jnp.float32)
    np.testing.assert_allclose(got, affine_loss(affine(), key, x1, cond), rtol=2e-5)


def test_against_numpy_in_double_precision(x64):
    x1 = np.random.default_rng(0).normal(size=(7, 3))
    got = losses_of(affine(np.float64), jax.random.key(5), x1)
    assert got.dtype == jnp.float64
    want = affine_loss(affine(np.float64), jax.random.key(5), x1, None)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_bfloat16_samples_are_summed_in_float32():
    x1 = np.ones((3, 2000), jnp.bfloat16)
    got = jax.jit(functools.partial(cfm_loss, still))(jax.random.key(0), x1)
    assert got.dtype == jnp.float32
    _, x0 = draws(jax.random.key(0), x1)
    want = np.sum((1 - x0) ** 2, axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-5)  # a sum in bfloat16 would stall at 512


def test_batches_of_images():
    x1 = np.ones((4, 3, 2, 1), np.float32)
    _, x0 = draws(jax.random.key(0), x1)
    got = jax.jit(functools.partial(cfm_loss, still))(jax.random.key(0), x1)
    np.testing.assert_allclose(got, np.sum((1 - x0) ** 2, axis=(1, 2, 3)), rtol=1e-5)


def within_standard_errors(values, expected, number=4.0):
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values) - expected) < number * error, (np.mean(values), expected, error)


def test_zero_field():
    # E||x1 − x0||² = ||x1||² + d for noise of unit variance.
    x1 = np.tile(np.array([1.0, -2.0, 0.5], np.float32), (SIZE, 1))
    losses = np.asarray(jax.jit(functools.partial(cfm_loss, still))(jax.random.key(0), x1))
    within_standard_errors(losses, 1 + 4 + 0.25 + 3)
    # A noncentral χ² of 3 degrees of freedom: variance 2 (d + 2 ||x1||²).
    assert np.var(losses) == pytest.approx(2 * (3 + 2 * 5.25), rel=0.05)


def test_time_is_uniform():
    # For v = t b and data at 0: E||t b + x0||² = ||b||²/3 + d.
    def clock(t, x, cond=None):
        return 3.0 * t * jnp.ones_like(x)

    x1 = np.zeros((SIZE, 2), np.float32)
    losses = np.asarray(jax.jit(functools.partial(cfm_loss, clock))(jax.random.key(2), x1))
    within_standard_errors(losses, 2 * 9 / 3 + 2)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_minimum_of_gaussian_data(scale):
    """The exact field's loss is the variance that no field can explain."""
    mean = np.array([1.0, -0.5, 2.0], np.float32)
    x1 = np.random.default_rng(9).normal(mean, scale, (SIZE, 3)).astype(np.float32)
    losses = np.asarray(losses_of(GaussianField(mean, scale), jax.random.key(1), x1))
    variance = quad(lambda t: scale**2 / (t**2 * scale**2 + (1 - t) ** 2), 0, 1)[0]
    assert variance == pytest.approx(np.pi * scale / 2)
    within_standard_errors(losses, 3 * variance)


def test_perturbed_minimum():
    """v* + c costs exactly ||c||² more: the residual of the minimum is orthogonal to any field."""
    mean, shift = np.array([1.0, -0.5], np.float32), np.array([0.3, -0.1], np.float32)
    exact = GaussianField(mean, 0.5)

    @jax.jit
    def both(exact, x1):
        def moved(t, x, cond=None):
            return exact(t, x) + shift

        return [cfm_loss(field, jax.random.key(3), x1) for field in (moved, exact)]

    x1 = np.random.default_rng(9).normal(mean, 0.5, (SIZE, 2)).astype(np.float32)
    rise = np.subtract(*map(np.asarray, both(exact, x1)))
    within_standard_errors(rise, 0.1)
    assert np.mean(rise) > 0.05


def test_gradient(x64):
    x1 = np.random.default_rng(0).normal(size=(5, 2))
    point = {"mean": np.array([1.0, -0.5]), "scale": np.array([0.5, 1.5])}

    def loss(mean, scale):
        return jnp.mean(cfm_loss(GaussianField(mean, scale), jax.random.key(0), x1))

    value, gradient = jax.jit(loss), jax.jit(jax.grad(loss, (0, 1)))(*point.values())
    h = 1e-5
    for name, slope in zip(point, gradient, strict=True):
        for i in range(2):
            up, down = (
                float(value(**point | {name: point[name] + sign * h * np.eye(2)[i]}))
                for sign in (1, -1)
            )
            assert float(slope[i]) == pytest.approx((up - down) / (2 * h), rel=1e-7, abs=1e-8)


def test_key_decides():
    x1 = np.ones((7, 3), np.float32)
    keys = [jax.random.key(seed) for seed in (0, 0, 1)]
    first, again, other = (np.asarray(losses_of(affine(), key, x1)) for key in keys)
    np.testing.assert_array_equal(first, again)
    assert np.all(np.abs(first - other) > 0)
    assert len(set(first.tolist())) == 7  # every sample has its own draw


def test_a_condition_of_one_row_is_every_samples():
    def field(t, x, cond):
        return cond * x

    x1 = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    # Not compiled whole: two programs may round differently.
    each = cfm_loss(field, jax.random.key(0), x1, np.full(4, 2, np.float32))
    one = cfm_loss(field, jax.random.key(0), x1, np.full(1, 2, np.float32))
    np.testing.assert_array_equal(one, each)
