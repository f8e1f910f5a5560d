"""Statistics of single samples, compiled: each is a rule for one sample of one or two models."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import float_array, is_concrete, real_array, require, require_key
from kinetic_jax._open import call_opened
from kinetic_jax.fields import Field, VelocityField, as_field
from kinetic_jax.fields._field import check_inputs
from kinetic_jax.fields._flat import flattened
from kinetic_jax.fields._protocol import checked_velocity
from kinetic_jax.fields._step import over_step
from kinetic_jax.sampling._inputs import checked_inputs

LAST_INDEX = 2**32 - 1  # of `noise`

# The velocity of one sample, its condition given: v(t, x).
Model: TypeAlias = Callable[[Array, Array], Array]


class Draw(NamedTuple):
    """Where a rule looks, and by which noise.

    Attributes:
        t: the time, or all times, shape (times,).
        keys: of the draws, shape (draws,).
        power: an exponent, for the rule that takes one.
    """

    t: Float[Array, "..."]
    keys: PRNGKeyArray | None = None
    power: Float[Array, ""] | None = None


Rule: TypeAlias = Callable[[tuple[Model, ...], Array, Draw], Array]


def scores(
    rule: Rule,
    fields: tuple[VelocityField, ...],
    x1: PyTree[ArrayLike],
    cond: PyTree[Any],
    t: ArrayLike | tuple[float, ...],
    *,
    key: PRNGKeyArray | None = None,
    draws: int = 0,
    axes: int = 0,
    power: Array | None = None,
    conditions: tuple[PyTree[Any], ...] = (),
    name: str = "x1",
) -> Float[Array, " batch"]:
    """`rule` of every sample, NaN where the sample or its score is not finite.

    The noise of a draw is the same for every sample: so a score does not depend on the batch, and
    scores of different samples differ by less.

    Args:
        rule: of one sample, a function of a module.
        fields: the model of the samples, then others that it is compared with.
        x1: the samples, a batch of arrays or a pytree of such.
        cond: their conditions.
        t: the time, or times, shape (times,).
        key: of the draws; needed if there are any.
        draws: number of keys for the rule.
        axes: of `t`: 0 for one time, 1 for several.
        power: passed on to the rule.
        conditions: further conditions of one sample, under each of which the first field is one
            more model, such as that for "none".
        name: of the argument `x1`.

    Raises:
        ValueError: naming the argument.
    """
    first, rows, given, _ = checked_inputs(fields[0], x1, cond, name=name)
    require(first.manifold is None, name, "points of a manifold", "be of a flat space")
    others = tuple(_alike(field, name, x1, rows, given.cond) for field in fields[1:])
    models = tuple(field.without_gain() for field in (first, *others))
    draw = Draw(_checked_time(t, rows.dtype, axes), None, power)
    if draws:
        require_key("key", key)
        assert key is not None, "it is a key"
        draw = draw._replace(keys=jax.random.split(own_stream(key), draws))
    return call_opened(_compiled(rule), models, rows, given.cond, conditions, draw)


def own_stream(key: PRNGKeyArray) -> PRNGKeyArray:
    """A key for draws that differ from `noise(key, ...)`: no sample has this number."""
    return jax.random.fold_in(key, np.uint32(LAST_INDEX))


def _alike(
    field: VelocityField, name: str, x1: PyTree[ArrayLike], rows: Array, cond: PyTree[Any]
) -> Field:
    """Another model of the same samples."""
    model = as_field(field, "earlier")
    shape, own = model.event_shape, x1.shape[1:] if hasattr(x1, "shape") else None
    expected = f"be of the event shape of {name}, {own}"
    require(None in (shape, own) or shape == own, "earlier", f"a field of shape {shape}", expected)
    other, *_ = flattened(name, model, x1)
    check_inputs(other, name, rows, cond)
    return other


@functools.cache
def _compiled(rule: Rule) -> Callable[..., Float[Array, " batch"]]:
    """The rule over a batch, compiled once for each structure of its arguments."""

    def of_batch(
        fields: tuple[Field, ...],
        x1: Array,
        cond: PyTree[Array],
        conditions: tuple[PyTree[Array], ...],
        draw: Draw,
    ) -> Array:
        def of_one(x: Array, own: PyTree[Array]) -> Array:
            models = [_model(field, own) for field in fields]
            models += [_model(fields[0], other) for other in conditions]
            score = rule(tuple(models), x, draw)
            # A velocity that overflows makes −∞, which would rank as the safest of all.
            return jnp.where(jnp.all(jnp.isfinite(x)) & jnp.isfinite(score), score, jnp.nan)

        return jax.vmap(of_one)(x1, cond)

    return eqx.filter_jit(of_batch)


def _model(field: Field, cond: PyTree[Array]) -> Model:
    def velocity(t: Array, x: Array) -> Array:
        return checked_velocity(over_step(field, t, jnp.ones_like(t))(t, x, cond), x)

    return velocity


def _checked_time(t: ArrayLike | tuple[float, ...], dtype: jnp.dtype, axes: int) -> Array:
    time = float_array(real_array("t", t) if isinstance(t, tuple | list) else t, "t")
    require(time.ndim == axes, "t", f"shape {time.shape}", "be times" if axes else "be one time")
    if is_concrete(time):
        inside = bool(np.all((np.asarray(time) > 0) & (np.asarray(time) < 1)))
        require(inside and time.size > 0, "t", t, "lie between 0, noise, and 1, data")
    return time.astype(dtype)


def mean_over_draws(of_key: Callable[[PRNGKeyArray], PyTree[Array]], draw: Draw) -> PyTree[Array]:
    """The mean of a function of a key over the draws, which are made one after the other."""
    values = jax.lax.map(of_key, draw.keys)
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), values)


def renoised(t: Array, x: Array, key: PRNGKeyArray) -> Array:
    """The point `t x1 + (1 − t) ε` of the linear path."""
    return t * x + (1 - t) * jax.random.normal(key, x.shape, x.dtype)


def guess(model: Model, t: Array, x: Array) -> Array:
    """The sample that a model expects from the point x at time t, `x + (1 − t) v(t, x)`."""
    return x + (1 - t) * model(t, x)
