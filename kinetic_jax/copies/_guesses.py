"""Copies by re-noising: noise is added to a finished sample, and removed at once.

A model that has memorised a sample guesses it back from much noise; an earlier checkpoint, or the
same model for a sample of its own, does not.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import whole_number
from kinetic_jax._norms import squared_norm
from kinetic_jax.copies._scoring import (
    Draw,
    Model,
    guess,
    mean_over_draws,
    renoised,
    scores,
)
from kinetic_jax.fields import VelocityField

_SAME = 1e-4  # of a sample's size, below which its guess is the sample but for rounding


def snap(
    field: VelocityField,
    earlier: VelocityField,
    x1: PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    key: PRNGKeyArray,
    t: Float[ArrayLike, ""] = 0.65,
    draws: int = 8,
) -> Float[Array, " batch"]:
    """The gain of a model over an earlier checkpoint in guessing its re-noised samples.

    `ln(mean ||D'(x_t) − x1||² / mean ||D(x_t) − x1||²)` over draws of the noise ε in
    `x_t = t x1 + (1 − t) ε`, with D(x) = x + (1 − t) v(t, x), and D' the same of the earlier model:
    about 0 where the two know as much of a sample, and large where only the later one does, which
    is so for a copy. Neither labels nor training data are needed.

    Args:
        field: the model whose samples these are; gains around it are left out.
        earlier: the same model from before it began to copy, or one trained on other data.
        x1: the samples, shape (batch, *event), or a pytree of such arrays.
        cond: their conditions.
        key: of the noise, which all samples share.
        t: the time to which samples are re-noised, in (0, 1). Traced.
        draws: of the noise; each takes one evaluation of either model.

    Returns:
        A score for each sample, shape (batch,), in nats; NaN for samples that are not finite.

    Raises:
        ValueError: if samples or conditions do not fit one of the fields, `t` is outside of (0, 1),
            `draws` below 1, or `key` is no random key.

    Example:
        A model of two points, and an earlier one that knows only their variance:

        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, GaussianField
        >>> from kinetic_jax.copies import snap
        >>> points = jnp.array([[2.0, 0.0], [-2.0, 0.0]])
        >>> model, earlier = EmpiricalField(points), GaussianField(jnp.zeros(2), 2.0)
        >>> samples = jnp.array([[2.0, 0.0], [0.5, 1.5]])  # a copy, and another sample
        >>> snap(model, earlier, samples, key=jax.random.key(0)).argmax()
        Array(0, dtype=int32)
    """
    count = whole_number("draws", draws, 1)
    return scores(_snap, (field, earlier), x1, cond, t, key=key, draws=count)


def _snap(models: tuple[Model, ...], x: Array, draw: Draw) -> Array:
    def errors(key: PRNGKeyArray) -> tuple[Array, ...]:
        noisy = renoised(draw.t, x, key)
        return tuple(squared_norm(guess(model, draw.t, noisy) - x) for model in models)

    own, others = mean_over_draws(errors, draw)
    return _log(others, x) - _log(own, x)


def reconstruction(
    field: VelocityField,
    x1: PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    key: PRNGKeyArray,
    t: Float[ArrayLike, " times"] | tuple[float, ...] = (0.5, 0.65, 0.8),
    draws: int = 4,
) -> Float[Array, " batch"]:
    """A model's skill in guessing its re-noised samples, `−mean ln(||D(x_t) − x1||²)` over times.

    As in `snap`, without another model: so it is high for simple samples as well.

    Args:
        field: the model.
        x1: the samples, shape (batch, *event), or a pytree of such arrays.
        cond: their conditions.
        key: of the noise, which all samples share.
        t: the times, shape (times,), each in (0, 1). Traced.
        draws: of the noise at each time, of which the errors are averaged.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: as `snap`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField
        >>> from kinetic_jax.copies import reconstruction
        >>> model = EmpiricalField(jnp.array([[2.0, 0.0], [-2.0, 0.0]]))
        >>> samples = jnp.array([[2.0, 0.0], [0.5, 1.5]])
        >>> reconstruction(model, samples, key=jax.random.key(0)).argmax()
        Array(0, dtype=int32)

    References:
        Carlini et al., Extracting training data from diffusion models, arXiv 2301.13188, section
        5.2: the loss of a sample as evidence that it was trained on.
    """
    count = whole_number("draws", draws, 1)
    return scores(_reconstruction, (field,), x1, cond, t, key=key, draws=count, axes=1)


def _reconstruction(models: tuple[Model, ...], x: Array, draw: Draw) -> Array:
    def at(t: Array) -> Array:
        def error(key: PRNGKeyArray) -> Array:
            return squared_norm(guess(models[0], t, renoised(t, x, key)) - x)

        return -_log(mean_over_draws(error, draw), x)

    return jnp.mean(jax.lax.map(at, draw.t))


def spread(
    field: VelocityField,
    x1: PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    key: PRNGKeyArray,
    t: Float[ArrayLike, ""] = 0.8,
    draws: int = 8,
) -> Float[Array, " batch"]:
    """The likeness of the guesses from several re-noisings of a sample.

    `−ln(Σ_i ||D(x_t^i) − D̄||² / (n − 1))` over n draws of the noise, D̄ their mean. The sharper the
    model's posterior around a sample, the less its guesses depend on the noise.

    Args:
        field: the model.
        x1: the samples, shape (batch, *event), or a pytree of such arrays.
        cond: their conditions.
        key: of the noise, which all samples share.
        t: the time to which samples are re-noised, in (0, 1). Traced.
        draws: n, at least 2.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: as `snap`, or for fewer than two draws.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField
        >>> from kinetic_jax.copies import spread
        >>> model = EmpiricalField(jnp.array([[2.0, 0.0], [-2.0, 0.0]]))
        >>> samples = jnp.array([[2.0, 0.0], [0.2, 1.5]])
        >>> spread(model, samples, key=jax.random.key(0), t=0.6).argmax()
        Array(0, dtype=int32)
    """
    count = whole_number("draws", draws, 2)
    return scores(_spread, (field,), x1, cond, t, key=key, draws=count)


def _spread(models: tuple[Model, ...], x: Array, draw: Draw) -> Array:
    def guessed(key: PRNGKeyArray) -> Array:
        return guess(models[0], draw.t, renoised(draw.t, x, key))

    assert draw.keys is not None, "given by the function"
    first, n = guessed(draw.keys[0]), draw.keys.shape[0]

    def moments(key: PRNGKeyArray) -> tuple[Array, Array]:
        # From the first guess: of guesses that are alike nothing cancels.
        off = guessed(key) - first
        return off, squared_norm(off)

    off, square = mean_over_draws(moments, draw._replace(keys=draw.keys[1:]))
    among_all = (n - 1) / n
    return -_log(square - among_all * squared_norm(off), x)


def self_consistency(
    field: VelocityField,
    x1: PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    key: PRNGKeyArray,
    t: Float[ArrayLike, ""] = 0.8,
    draws: int = 4,
) -> Float[Array, " batch"]:
    """The stability of a guess that is re-noised by the same noise and guessed once more.

    `−ln(mean ||D(t y + (1 − t) ε) − y||²)` with `y = D(t x1 + (1 − t) ε)`, over draws of ε.

    Args:
        field: the model.
        x1: the samples, shape (batch, *event), or a pytree of such arrays.
        cond: their conditions.
        key: of the noise, which all samples share.
        t: the time to which samples are re-noised, in (0, 1). Traced.
        draws: of the noise; each takes two evaluations.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: as `snap`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField
        >>> from kinetic_jax.copies import self_consistency
        >>> model = EmpiricalField(jnp.array([[2.0, 0.0], [-2.0, 0.0]]))
        >>> samples = jnp.array([[2.0, 0.0], [0.2, 1.5]])
        >>> self_consistency(model, samples, key=jax.random.key(0), t=0.6).argmax()
        Array(0, dtype=int32)
    """
    count = whole_number("draws", draws, 1)
    return scores(_self_consistency, (field,), x1, cond, t, key=key, draws=count)


def _self_consistency(models: tuple[Model, ...], x: Array, draw: Draw) -> Array:
    def moved(key: PRNGKeyArray) -> Array:
        first = guess(models[0], draw.t, renoised(draw.t, x, key))
        second = guess(models[0], draw.t, renoised(draw.t, first, key))
        return squared_norm(second - first)

    return -_log(mean_over_draws(moved, draw), x)


def _log(square: Array, x: Array) -> Array:
    """The logarithm of a mean square, at least that of rounding in guesses of x."""
    least = _SAME**2 * squared_norm(x)
    return jnp.log(jnp.maximum(square, jnp.maximum(least, jnp.finfo(square.dtype).tiny)))
