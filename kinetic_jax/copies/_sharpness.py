"""Copies by the shape of the log density around them, from derivatives of the velocity.

On the linear path the score is `s(t, x) = ∇ ln p_t(x) = (t v(t, x) − x) / (1 − t)`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import float_scalar, require_finite, whole_number
from kinetic_jax._norms import squared_norm
from kinetic_jax.copies._scoring import Draw, Model, mean_over_draws, renoised, scores
from kinetic_jax.fields import VelocityField
from kinetic_jax.fields._divergence import velocity_and_divergence


def flipd(
    field: VelocityField,
    x1: PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    key: PRNGKeyArray,
    t: Float[ArrayLike, ""] = 0.9,
    probes: int = 8,
) -> Float[Array, " batch"]:
    """FLIPD, the local dimension of a model's samples, negated: few dimensions, so a copy.

    `−(t d + t (1 − t) div v(t, t x1) + ||t x1 − t v(t, t x1)||²)`, d the numbers of a sample. The
    dimension around a copy is near 0. The divergence is Hutchinson's estimate.

    Args:
        field: the model.
        x1: the samples, shape (batch, *event), or a pytree of such arrays.
        cond: their conditions.
        key: of the probes, which all samples share.
        t: the time at which the density is looked at, in (0, 1): the later, the smaller are the
            neighbourhoods. Traced.
        probes: of Hutchinson's estimate; each takes about 1.5 evaluations.

    Returns:
        A score for each sample, shape (batch,), in dimensions; NaN for samples that are not finite.

    Raises:
        ValueError: if samples or conditions do not fit the field, `t` is outside of (0, 1),
            `probes` below 1, or `key` is no random key.

    Example:
        The exact flow of a Gaussian with standard deviation 1 in one direction, 0.01 in the other:

        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField
        >>> from kinetic_jax.copies import flipd
        >>> field = GaussianField(jnp.zeros(2), jnp.array([1.0, 0.01]))
        >>> -flipd(field, jnp.zeros((1, 2)), key=jax.random.key(0)).round(2)
        Array([1.], dtype=float32)

    References:
        Kamkari et al., A geometric view of data complexity: efficient local intrinsic dimension
        estimation with diffusion models, arXiv 2406.03537; Ross et al., A geometric framework for
        understanding memorization in generative models, arXiv 2411.00113.
    """
    count = whole_number("probes", probes, 1)
    return scores(_flipd, (field,), x1, cond, t, key=key, draws=count)


def _flipd(models: tuple[Model, ...], x: Array, draw: Draw) -> Array:
    t, point = draw.t, draw.t * x
    velocity, divergence = _divergence(models[0], t, point, draw)
    left = squared_norm(point - t * velocity)
    return -(t * x.size + t * (1 - t) * divergence + left)


def curvature(
    field: VelocityField,
    x1: PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    key: PRNGKeyArray,
    t: Float[ArrayLike, ""] = 0.8,
    draws: int = 4,
) -> Float[Array, " batch"]:
    """The curvature of the log density around a sample, `−div s = −tr ∇² ln p_t`.

    The mean over re-noised samples `t x1 + (1 − t) ε` of `(d − t div v) / (1 − t)`: a copy lies on
    a peak. A probe of Hutchinson's estimate is drawn with each ε.

    Args:
        field: the model.
        x1: the samples, shape (batch, *event), or a pytree of such arrays.
        cond: their conditions.
        key: of noise and probes, which all samples share.
        t: the time, in (0, 1). Traced.
        draws: of noise and probe; each takes about 2.5 evaluations.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: as `flipd`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField
        >>> from kinetic_jax.copies import curvature
        >>> model = EmpiricalField(jnp.array([[2.0, 0.0], [-2.0, 0.0]]))
        >>> samples = jnp.array([[2.0, 0.0], [0.2, 1.5]])
        >>> curvature(model, samples, key=jax.random.key(0), t=0.6).argmax()
        Array(0, dtype=int32)

    References:
        Kim and Lee, Localizing memorized regions in diffusion models via coordinate-wise curvature
        differences, arXiv 2605.26756 (here the sum over coordinates).
    """
    count = whole_number("draws", draws, 1)
    return scores(_curvature, (field,), x1, cond, t, key=key, draws=count)


def curvature_difference(
    field: VelocityField,
    earlier: VelocityField,
    x1: PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    key: PRNGKeyArray,
    t: Float[ArrayLike, ""] = 0.8,
    draws: int = 4,
) -> Float[Array, " batch"]:
    """The `curvature` less that of an earlier checkpoint: what came by memorising.

    Args:
        field: the model whose samples these are.
        earlier: the same model from before it began to copy.
        x1: the samples, shape (batch, *event), or a pytree of such arrays.
        cond: their conditions.
        key: of noise and probes, which all samples and both models share.
        t: the time, in (0, 1). Traced.
        draws: of noise and probe; each takes about 2.5 evaluations of either model.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: as `flipd`; or if samples do not fit the earlier model.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, GaussianField
        >>> from kinetic_jax.copies import curvature_difference
        >>> model = EmpiricalField(jnp.array([[2.0, 0.0], [-2.0, 0.0]]))
        >>> earlier = GaussianField(jnp.zeros(2), 2.0)
        >>> samples = jnp.array([[2.0, 0.0], [0.2, 1.5]])
        >>> curvature_difference(model, earlier, samples, key=jax.random.key(0), t=0.6).argmax()
        Array(0, dtype=int32)

    References:
        Kim and Lee, arXiv 2605.26756, equation 2 (here the sum over coordinates).
    """
    count = whole_number("draws", draws, 1)
    return scores(_curvature, (field, earlier), x1, cond, t, key=key, draws=count)


def _curvature(models: tuple[Model, ...], x: Array, draw: Draw) -> Array:
    def of_key(key: PRNGKeyArray) -> Array:
        at, probe = jax.random.split(key)
        point = renoised(draw.t, x, at)
        own, *others = (
            (x.size - draw.t * _divergence(model, draw.t, point, Draw(draw.t, probe[None]))[1])
            / (1 - draw.t)
            for model in models
        )
        return own - sum(others)

    return mean_over_draws(of_key, draw)


def p_laplace(
    field: VelocityField,
    x1: PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    key: PRNGKeyArray,
    t: Float[ArrayLike, ""] = 0.9,
    p: float = 2.0,
    probes: int = 8,
) -> Float[Array, " batch"]:
    """The p-Laplacian of the log density at a sample, negated: a copy lies on a peak.

    `−div(||s||^(p − 2) s)` at the point t x1. p = 2 is the Laplacian; p = 1, the curvature of level
    sets, does not depend on how large the score is. The divergence is Hutchinson's estimate; the
    authors take the flux through a small sphere.

    Args:
        field: the model.
        x1: the samples, shape (batch, *event), or a pytree of such arrays.
        cond: their conditions.
        key: of the probes, which all samples share.
        t: the time, in (0, 1). Traced.
        p: the exponent. Traced.
        probes: of Hutchinson's estimate; each takes about 1.5 evaluations.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: as `flipd`, or if `p` is not finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField
        >>> from kinetic_jax.copies import p_laplace
        >>> field = GaussianField(jnp.zeros(2), 1.0)  # s = −x / (t² + (1 − t)²)
        >>> p_laplace(field, jnp.ones((1, 2)), key=jax.random.key(0), t=0.5)
        Array([4.], dtype=float32)

    References:
        Brokman et al., Identifying memorization of diffusion models through p-Laplace analysis,
        arXiv 2505.08246.
    """
    require_finite("p", p)
    power, count = float_scalar(p, "p"), whole_number("probes", probes, 1)
    return scores(_p_laplace, (field,), x1, cond, t, key=key, draws=count, power=power)


def _p_laplace(models: tuple[Model, ...], x: Array, draw: Draw) -> Array:
    t, p = draw.t, draw.power
    assert p is not None, "given by the function"

    def flow(point: Array) -> Array:
        score = (t * models[0](t, point) - point) / (1 - t)
        square = squared_norm(score)
        size = jnp.maximum(square, jnp.finfo(square.dtype).tiny)
        return (size ** ((p.astype(size.dtype) - 2) / 2)).astype(score.dtype) * score

    return -velocity_and_divergence(flow, t * x, probes_of(draw, x))[1]


def _divergence(model: Model, t: Array, x: Array, draw: Draw) -> tuple[Array, Array]:
    """The velocity and Hutchinson's estimate of its divergence, with a probe for each key."""
    return velocity_and_divergence(lambda at: model(t, at), x, probes_of(draw, x))


def probes_of(draw: Draw, x: Array) -> Float[Array, "probes *event"]:
    """A probe of independent entries ±1 for each key."""
    return jax.vmap(lambda key: jax.random.rademacher(key, x.shape, x.dtype))(draw.keys)
