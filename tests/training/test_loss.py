"""The flow-matching loss: against NumPy, in closed form, and its gradient."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from kinetic_jax import GaussianField, cfm_loss


class Affine(eqx.Module):
    """v = A x + t b + the condition, if there is one: a field that NumPy can follow."""

    matrix: Any
    slope: Any

    def __call__(self, t, x, cond=None):
        velocity = self.matrix @ x + t * self.slope
        return velocity if cond is None else velocity + cond["sign"] * cond["shift"]


def draws(key, x1):
    """The times and noise of a call, in float64."""
    key_time, key_noise = jax.random.split(key)
    dtype = jnp.float32 if x1.dtype == jnp.bfloat16 else x1.dtype
    t = jax.random.uniform(key_time, x1.shape[:1], dtype)
    x0 = jax.random.normal(key_noise, x1.shape, dtype)
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


def affine(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return Affine(
        jnp.asarray(rng.normal(size=(3, 3)), dtype), jnp.asarray(rng.normal(size=3), dtype)
    )


@pytest.mark.parametrize("with_cond", [False, True], ids=["no cond", "cond"])
@pytest.mark.parametrize("seed", [0, 1])
def test_against_numpy(seed, with_cond):
    key, rng = jax.random.key(seed), np.random.default_rng(seed)
    x1 = jnp.asarray(rng.normal(size=(7, 3)) + 2, jnp.float32)
    cond = None
    if with_cond:
        shift = jnp.asarray(rng.normal(size=(7, 3)), jnp.float32)
        cond = {"sign": jnp.asarray([1, -1, 1, -1, 1, -1, 1], jnp.float32), "shift": shift}
    got = cfm_loss(affine(), key, x1, cond)
    assert (got.shape, got.dtype) == ((7,), jnp.float32)
    np.testing.assert_allclose(got, affine_loss(affine(), key, x1, cond), rtol=2e-5)


def test_against_numpy_in_double_precision(x64):
    x1 = jnp.asarray(np.random.default_rng(0).normal(size=(7, 3)))
    got = cfm_loss(affine(jnp.float64), jax.random.key(5), x1)
    assert got.dtype == jnp.float64
    want = affine_loss(affine(jnp.float64), jax.random.key(5), x1, None)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_bfloat16_samples_are_summed_in_float32():
    def still(t, x, cond=None):
        return jnp.zeros_like(x)

    x1 = jnp.ones((3, 2000), jnp.bfloat16)
    got = cfm_loss(still, jax.random.key(0), x1)
    assert got.dtype == jnp.float32
    _, x0 = draws(jax.random.key(0), x1)
    want = np.sum((1 - x0) ** 2, axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-5)  # a sum in bfloat16 would stall at 512


def test_batches_of_images():
    def still(t, x, cond=None):
        return jnp.zeros_like(x)

    x1 = jnp.ones((4, 3, 2, 1))
    _, x0 = draws(jax.random.key(0), x1)
    got = cfm_loss(still, jax.random.key(0), x1)
    np.testing.assert_allclose(got, np.sum((1 - x0) ** 2, axis=(1, 2, 3)), rtol=1e-5)


def within_standard_errors(values, expected, number=4.0):
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values) - expected) < number * error, (np.mean(values), expected, error)


def test_zero_field():
    # E||x1 − x0||² = ||x1||² + d for noise of unit variance.
    def still(t, x, cond=None):
        return jnp.zeros_like(x)

    x1 = jnp.asarray([1.0, -2.0, 0.5])
    losses = np.asarray(cfm_loss(still, jax.random.key(0), jnp.tile(x1, (40_000, 1))))
    within_standard_errors(losses, 1 + 4 + 0.25 + 3)
    # A noncentral χ² of 3 degrees of freedom: variance 2 (d + 2 ||x1||²).
    assert np.var(losses) == pytest.approx(2 * (3 + 2 * 5.25), rel=0.05)


def test_time_is_uniform():
    # For v = t b and data at 0: E||t b + x0||² = ||b||²/3 + d.
    def clock(t, x, cond=None):
        return 3.0 * t * jnp.ones_like(x)

    losses = np.asarray(cfm_loss(clock, jax.random.key(2), jnp.zeros((40_000, 2))))
    within_standard_errors(losses, 2 * 9 / 3 + 2)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_minimum_of_gaussian_data(scale):
    """The exact field's loss is the variance that no field can explain."""
    mean, size = jnp.asarray([1.0, -0.5, 2.0]), 40_000
    x1 = mean[None, :] + scale * jax.random.normal(jax.random.key(9), (size, 3))
    losses = np.asarray(cfm_loss(GaussianField(mean, scale), jax.random.key(1), x1))
    variance = quad(lambda t: scale**2 / (t**2 * scale**2 + (1 - t) ** 2), 0, 1)[0]
    assert variance == pytest.approx(np.pi * scale / 2)
    within_standard_errors(losses, 3 * variance)


def test_perturbed_minimum():
    """v* + c costs exactly ||c||² more: the residual of the minimum is orthogonal to any field."""
    mean, shift = jnp.asarray([1.0, -0.5]), jnp.asarray([0.3, -0.1])
    exact = GaussianField(mean, 0.5)

    def moved(t, x, cond=None):
        return exact(t, x) + shift

    x1 = mean[None, :] + 0.5 * jax.random.normal(jax.random.key(9), (40_000, 2))
    key = jax.random.key(3)
    rise = np.asarray(cfm_loss(moved, key, x1)) - np.asarray(cfm_loss(exact, key, x1))
    within_standard_errors(rise, 0.1)
    assert np.mean(rise) > 0.05


def test_gradient(x64):
    x1 = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)))
    field = GaussianField(jnp.asarray([1.0, -0.5]), jnp.asarray([0.5, 1.5]))

    def loss(field):
        return jnp.mean(cfm_loss(field, jax.random.key(0), x1))

    gradient = eqx.filter_grad(loss)(field)
    h = 1e-5
    for name in ("mean", "scale"):
        for i in range(2):
            ends = []
            for sign in (1, -1):
                step = getattr(field, name).at[i].add(sign * h)
                ends.append(float(loss(eqx.tree_at(lambda f: getattr(f, name), field, step))))  # noqa: B023
            assert float(getattr(gradient, name)[i]) == pytest.approx(
                (ends[0] - ends[1]) / (2 * h), rel=1e-7, abs=1e-8
            )


def test_key_decides():
    x1 = jnp.ones((4, 3))
    first, again, other = (cfm_loss(affine(), jax.random.key(s), x1) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.all(np.abs(first - other) > 0)
    assert len(set(np.asarray(first).tolist())) == 4  # every sample has its own draw


def test_a_condition_of_one_row_is_every_samples():
    def field(t, x, cond):
        return cond * x

    x1, key = (
        jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)), jnp.float32),
        jax.random.key(0),
    )
    each = cfm_loss(field, key, x1, jnp.full(4, 2.0))
    np.testing.assert_array_equal(cfm_loss(field, key, x1, jnp.array([2.0])), each)
