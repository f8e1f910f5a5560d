"""Copies by guidance: how the velocity under a condition differs from that under none."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import (
    as_arrays,
    float_array,
    float_scalar,
    real_array,
    require,
    require_finite,
)
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._norms import norm_from_squared, squared_norm
from kinetic_jax.copies._scoring import Draw, Model, scores
from kinetic_jax.fields import Field, VelocityField, as_field

# Times on the linear path of the first (981) and the last but two (41) of the 50 steps of Stable
# Diffusion.
FIRST, LATE = 0.07, 0.83


def guidance_norm(
    field: VelocityField,
    x0: PyTree[ArrayLike],
    cond: PyTree[Any],
    *,
    null_cond: PyTree[Any] | None = None,
    t: Float[ArrayLike, ""] = FIRST,
) -> Float[Array, " batch"]:
    """The change of the velocity by the condition, `||v(t, x, c) − v(t, x, none)||`.

    At the noise from which a sample came, and the time of a first step, so before anything is
    sampled. Large for a condition under which the model knows one sample by heart.

    Args:
        field: a model with conditions.
        x0: the noise of the samples, or their points at time t, shape (batch, *event), or a pytree.
        cond: their conditions.
        null_cond: the condition of ONE sample that means "none"; by default the field's own.
        t: the time, in (0, 1). Traced.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: if samples or conditions do not fit the field, it declares no `null_cond` and
            none is given, or `t` is outside of (0, 1).

    Example:
        A model whose class 1 is one point:

        >>> import jax.numpy as jnp
        >>> from kinetic_jax.copies import guidance_norm
        >>> points = jnp.array([[0.0, 0.0], [3.0, 4.0]])
        >>> model = lambda t, x, cond: (points[cond] - x) / (1 - t)
        >>> noise = jnp.zeros((2, 2))
        >>> guidance_norm(model, noise, jnp.array([0, 1]), null_cond=0, t=0.5)
        Array([ 0., 10.], dtype=float32)

    References:
        Wen et al., Detecting, explaining, and mitigating memorization in diffusion models, arXiv
        2407.21720, in velocities.
    """
    return _guided(_norm, field, x0, cond, null_cond, t)


def guidance_cosine(
    field: VelocityField,
    x0: PyTree[ArrayLike],
    cond: PyTree[Any],
    *,
    null_cond: PyTree[Any] | None = None,
    t: Float[ArrayLike, ""] = LATE,
) -> Float[Array, " batch"]:
    """The cosine between the guidance and the score under no condition, `s(t, x)`, late.

    It looks at the noise of a sample, at a time near data, where the log density is steep in some
    directions and not in others. Its authors take the cosine of the channels at each pixel, and the
    mean of these.

    Args:
        field: a model with conditions.
        x0: the noise of the samples, or their points at time t, shape (batch, *event), or a pytree.
        cond: their conditions.
        null_cond: the condition of ONE sample that means "none"; by default the field's own.
        t: the time, in (0, 1). Traced.

    Returns:
        A score for each sample, in [−1, 1], shape (batch,); NaN for samples that are not finite,
            0 where the condition changes nothing.

    Raises:
        ValueError: as `guidance_norm`.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.copies import guidance_cosine
        >>> model = lambda t, x, cond: cond * x
        >>> guidance_cosine(model, jnp.ones((1, 2)), jnp.array([1.0]), null_cond=0.0, t=0.5)
        Array([-1.], dtype=float32)

    References:
        Asthana and Belagiannis, Detecting and mitigating memorization in diffusion models through
        anisotropy of the log-probability, arXiv 2601.20642.
    """
    return _guided(_cosine, field, x0, cond, null_cond, t)


def anisotropy(
    field: VelocityField,
    x0: PyTree[ArrayLike],
    cond: PyTree[Any],
    *,
    null_cond: PyTree[Any] | None = None,
    t: Float[ArrayLike, "2"] | tuple[float, float] = (FIRST, LATE),
    weight: Float[ArrayLike, ""] = 2.0,
) -> Float[Array, " batch"]:
    """The pair of anisotropy: the size of the guidance early, and its direction late.

    `||ε_c − ε_n|| + weight · cosine`, with the difference of the guesses of the noise at the first
    time, `ε_c − ε_n = −t (v_c − v_n)`, and `guidance_cosine` at the second one.

    Args:
        field: a model with conditions.
        x0: the noise of the samples, shape (batch, *event), or a pytree of such arrays.
        cond: their conditions.
        null_cond: the condition of ONE sample that means "none"; by default the field's own.
        t: both times, each in (0, 1). Traced.
        weight: of the cosine; 2 is its authors' for Stable Diffusion 1, and 0.1 for 2. Traced.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: as `guidance_norm`, or if `t` is not two times.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.copies import anisotropy
        >>> model = lambda t, x, cond: cond * x
        >>> x0, cond = jnp.array([[3.0, 4.0]]), jnp.array([1.0])
        >>> anisotropy(model, x0, cond, null_cond=0.0, t=(0.2, 0.5))  # 0.2 · 5 − 2
        Array([-1.], dtype=float32)

    References:
        Asthana and Belagiannis, arXiv 2601.20642, and its code.
    """
    pair = float_array(real_array("t", t) if isinstance(t, tuple) else t, "t")
    require(pair.shape == (2,), "t", f"shape {pair.shape}", "be two times")
    factor = float_scalar(weight, "weight")
    require_finite("weight", factor)
    return _guided(_anisotropy, field, x0, cond, null_cond, pair, axes=1, power=factor)


def guided_sharpness(
    field: VelocityField,
    x0: PyTree[ArrayLike],
    cond: PyTree[Any],
    *,
    null_cond: PyTree[Any] | None = None,
    t: Float[ArrayLike, ""] = FIRST,
) -> Float[Array, " batch"]:
    """SAIL's measure of a sharp landscape: the Hessian's difference times that of the scores.

    `ln ||(J_c − J_n) (v_c − v_n)||²` at the noise of a sample, with the Jacobians J of the
    velocities under its condition and under none. (Scores and their Hessians differ from these by
    factors of the time alone.)

    Args:
        field: a model with conditions.
        x0: the noise of the samples, or their points at time t, shape (batch, *event), or a pytree.
        cond: their conditions.
        null_cond: the condition of ONE sample that means "none"; by default the field's own.
        t: the time, in (0, 1). Traced.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: as `guidance_norm`.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.copies import guided_sharpness
        >>> model = lambda t, x, cond: cond * x
        >>> x0 = jnp.array([[1.0, 0.0]])
        >>> jnp.exp(guided_sharpness(model, x0, jnp.array([3.0]), null_cond=1.0, t=0.5)).round(3)
        Array([16.], dtype=float32)

    References:
        Jeon, Kim and No, Understanding and mitigating memorization in generative models via
        sharpness of probability landscapes, arXiv 2412.04140.
    """
    return _guided(_sharpness, field, x0, cond, null_cond, t)


def _guided(
    rule: Any,
    field: VelocityField,
    x0: PyTree[ArrayLike],
    cond: PyTree[Any],
    null_cond: PyTree[Any] | None,
    t: ArrayLike,
    **options: Any,
) -> Float[Array, " batch"]:
    model = as_field(field)
    none = condition_of_none(model, cond, null_cond)
    given = as_arrays("cond", cond)
    return scores(rule, (model,), x0, given, t, conditions=(none,), name="x0", **options)


def condition_of_none(
    model: Field, cond: PyTree[Any], null_cond: PyTree[Any] | None
) -> PyTree[Array]:
    """The condition of ONE sample that means "none", in the dtypes of `cond`.

    Raises:
        ValueError: if it is not given and the field declares none, the field refuses it, or there
            is no `cond`.
    """
    none = model.null_cond if null_cond is None else null_cond
    require(none is not None, "null_cond", None, "be given for a field that declares none")
    require(cond is not None, "cond", None, "be given: the condition of each sample")
    model.check_cond(none, "null_cond")
    given, missing = as_arrays("cond", cond), as_arrays("null_cond", none)
    expected: object = jax.tree.structure(given)
    got: object = jax.tree.structure(missing)
    require(got == expected, "cond", expected, f"have the structure of null_cond, {got}")
    return jax.tree.map(lambda own, other: other.astype(own.dtype), given, missing)


def _norm(models: tuple[Model, ...], x: Array, draw: Draw) -> Array:
    given, none = (model(draw.t, x) for model in models)
    return norm_from_squared(squared_norm(given - none))


def _cosine(models: tuple[Model, ...], x: Array, draw: Draw) -> Array:
    given, none = (model(draw.t, x) for model in models)
    dtype = at_least_float32(x.dtype)
    guidance, score = (given - none).astype(dtype), (draw.t * none - x).astype(dtype)
    size = norm_from_squared(squared_norm(guidance) * squared_norm(score))
    product = jnp.sum(guidance * score)
    return jnp.where(size > 0, product / jnp.where(size > 0, size, jnp.ones_like(size)), 0 * size)


def _anisotropy(models: tuple[Model, ...], x: Array, draw: Draw) -> Array:
    early, late = (draw._replace(t=time) for time in draw.t)
    assert draw.power is not None, "given by the function"
    norm = _norm(models, x, early)
    cosine = _cosine(models, x, late)
    return early.t.astype(norm.dtype) * norm + draw.power.astype(norm.dtype) * cosine


def _sharpness(models: tuple[Model, ...], x: Array, draw: Draw) -> Array:
    def guidance(point: Array) -> Array:
        given, none = (model(draw.t, point) for model in models)
        return given - none

    difference, along = jax.linearize(guidance, x)
    square = squared_norm(along(difference))
    return jnp.log(jnp.maximum(square, jnp.finfo(square.dtype).tiny))
