"""The Gaussian field against the conditional expectation it is the closed form of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetic_jax import GaussianField

finite = st.floats(-4.0, 4.0, width=32)
scales = st.floats(0.0625, 4.0, width=32)


def conditional_expectation(t, x, mean, scale):
    """E[x1 − x0 | x_t = x] by the conditioning formula of joint Gaussians, in float64.

    z = (x0, x1) has mean m = (0, μ) and covariance C = diag(1, s²); x_t = a·z with a = (1 − t, t)
    and the velocity is b·z with b = (−1, 1), so E[b·z | a·z] = b·m + bᵀCa/(aᵀCa) (x − a·m).
    """
    t, x, mean, scale = (np.asarray(value, np.float64) for value in (t, x, mean, scale))
    a, b = np.array([1 - t, t]), np.array([-1.0, 1.0])
    result = np.empty(x.shape)
    for i, (mu, s) in enumerate(zip(mean, np.broadcast_to(scale, x.shape), strict=True)):
        m, covariance = np.array([0.0, mu]), np.diag([1.0, s**2])
        result[i] = b @ m + (b @ covariance @ a) / (a @ covariance @ a) * (x[i] - a @ m)
    return result


def expectation_by_quadrature(t, x, mean, scale):
    """The same by Bayes' rule, integrating over x1 (one dimension, t < 1)."""
    x1 = np.linspace(mean - 12 * scale, mean + 12 * scale, 40_001)
    x0 = (x - t * x1) / (1 - t)
    log_weight = -0.5 * ((x1 - mean) / scale) ** 2 - 0.5 * x0**2
    weight = np.exp(log_weight - log_weight.max())
    return np.sum(weight * (x1 - x0)) / np.sum(weight)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.0, 1.0, width=32),
    st.lists(finite, min_size=3, max_size=3),
    st.lists(finite, min_size=3, max_size=3),
    st.one_of(scales, st.lists(scales, min_size=3, max_size=3)),
)
def test_conditional_expectation(t, x, mean, scale):
    want = conditional_expectation(t, x, mean, scale)
    field = GaussianField(jnp.asarray(mean, jnp.float32), jnp.asarray(scale, jnp.float32))
    got = field(jnp.float32(t), jnp.asarray(x, jnp.float32))
    # The rate reaches 1/s near t = 1, and x − tμ is rounded before it is multiplied.
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 / np.min(scale))


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 0.875), st.floats(-2, 2), st.floats(-2, 2), st.floats(0.25, 2))
def test_posterior_by_quadrature(t, x, mean, scale):
    with jax.enable_x64(True):
        got = GaussianField(jnp.array([mean]), scale)(jnp.array(t), jnp.array([x]))
    np.testing.assert_allclose(
        got[0], expectation_by_quadrature(t, x, mean, scale), rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize("scale", [0.5, np.array([0.2, 1.0, 3.0])], ids=["scalar", "dimensions"])
def test_flow_map(x64, scale):
    # x1 = μ + s x0: the line x_t = t μ + sqrt(t² s² + (1 − t)²) x0 must solve the equation.
    mean, x0 = np.array([2.0, -1.0, 0.5]), np.array([0.3, -1.2, 2.0])
    field = GaussianField(jnp.asarray(mean), jnp.asarray(scale))
    for t in np.linspace(0.0, 1.0, 11):
        spread = np.sqrt(t**2 * np.square(scale) + (1 - t) ** 2)
        velocity = mean + (t * np.square(scale) - (1 - t)) / spread * x0
        got = field(jnp.array(t), jnp.asarray(t * mean + spread * x0))
        np.testing.assert_allclose(got, velocity, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(t * mean + spread * x0, mean + np.asarray(scale) * x0)


def test_end_points():
    mean, x = jnp.array([1.0, -3.0]), jnp.array([0.25, 2.0])
    field = GaussianField(mean, 0.5)
    np.testing.assert_array_equal(field(jnp.array(0.0), x), mean - x)
    np.testing.assert_array_equal(field(jnp.array(1.0), x), x)


def test_any_event_shape():
    mean = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    scale, x = 0.5 + mean / 10, np.cos(mean)
    flat = GaussianField(mean.ravel(), scale.ravel())(0.4, jax.device_put(x.ravel()))
    got = GaussianField(mean, scale)(0.4, jax.device_put(x))
    np.testing.assert_allclose(got, np.reshape(flat, mean.shape), rtol=1e-6)


@pytest.mark.parametrize(
    ("mean", "scale", "message"),
    [
        ([0.0, 1.0], 0.0, r"scale must be positive, got 0\.0"),
        ([0.0, 1.0], -2.0, r"scale must be positive, got -2\.0"),
        ([0.0, 1.0], [1.0, -1.0], "scale must be positive"),
        ([0.0, 1.0], np.nan, "scale must be finite, got nan"),
        ([0.0, np.inf], 1.0, "mean must be finite, got .*inf"),
        ([0.0, 1.0], [1.0, 1.0, 1.0], r"scale must be a scalar or have the mean's shape \(2,\)"),
        ([0.0, 1.0], [1.0], r"scale must be a scalar .* got \(1,\)"),
    ],
)
def test_errors(mean, scale, message):
    scale = scale if isinstance(scale, float) else np.asarray(scale)
    with pytest.raises(ValueError, match=message):
        GaussianField(np.asarray(mean), scale)


def test_traced_scale_is_differentiable():
    # Values are checked when concrete only: a traced scale passes, its shape is still checked.
    x, t = jnp.array([1.0, 2.0]), jnp.array(1.0)

    def field(scale):
        return jnp.sum(GaussianField(jnp.ones(2), scale)(t, x))

    # At t = 1 the rate is s²/s² = 1 whatever s is; at t = 0 it is −1.
    np.testing.assert_allclose(jax.jit(jax.grad(field))(2.0), 0.0, atol=1e-6)
    half = jax.jit(jax.grad(lambda s: GaussianField(jnp.zeros(()), s)(jnp.array(0.5), x[0])))
    # v = (s² − 1)/(s² + 1) · 2x at t = ½, so dv/ds = 8 s x/(s² + 1)².
    np.testing.assert_allclose(half(2.0), 8 * 2.0 / 25, rtol=1e-5)
    with pytest.raises(ValueError, match="scale must be a scalar"):
        jax.jit(lambda scale: GaussianField(jnp.ones(2), scale)(t, x))(jnp.ones(3))
