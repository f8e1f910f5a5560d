"""The compiled programs of `EmpiricalField`, on one device or on all that hold its rows."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kinetic_jax._mesh import untyped_axes
from kinetic_jax.fields._posterior import (
    Posterior,
    farthest,
    heaviest,
    measured_again,
    posterior,
)
from kinetic_jax.fields._shards import on_shards
from kinetic_jax.fields._values import EmpiricalValues, log_total, values_of


class HeaviestAtoms(NamedTuple):
    """The result of `EmpiricalField.posterior`.

    Attributes:
        weights: posterior weights, the greatest first.
        indices: which rows they are of.
    """

    weights: Float[Array, " k"]
    indices: Int[Array, " k"]


jax.export.register_namedtuple_serialization(
    HeaviestAtoms, serialized_name="kinetic_jax.HeaviestAtoms"
)


# Compiled here, so that calls one at a time (in a notebook, say) find their programs again.
@eqx.filter_jit
@untyped_axes
@on_shards
def values_at(field: Any, t: Array, x: Array, cond: Any) -> EmpiricalValues:
    """See `EmpiricalField.values`."""
    time, flat, found = _posterior(field, t, x, cond)
    return values_of(found, flat, 1 - time, _log_total(field, cond, x.dtype), x.shape)


@eqx.filter_jit
def values_on_batch(field: Any, t: Array, x: Array, classes: Array | None) -> EmpiricalValues:
    """The values at a batch of points, those of some together."""
    return jax.lax.map(lambda point: values_at(field, *point), (t, x, classes), batch_size=256)


@eqx.filter_jit
@untyped_axes
@on_shards
def farthest_from(field: Any, x: Array, cond: Any) -> Array:
    """See `EmpiricalField.farthest`."""
    return farthest(field.atoms(), x.reshape(-1), cond, chunk_size=field.chunk_size)


@eqx.filter_jit
@untyped_axes
@on_shards
def heaviest_at(field: Any, t: Array, x: Array, cond: Any, k: int) -> HeaviestAtoms:
    """See `EmpiricalField.posterior`."""
    time, flat, found = _posterior(field, t, x, cond)
    atoms = field.atoms()
    # A few more than asked for: rounding may have them in another order. Which rows they are has
    # no derivative; their weights have.
    frozen = jax.lax.stop_gradient((atoms, time, flat))
    first, _ = heaviest(*frozen, cond, count=k + 8, chunk_size=field.chunk_size)
    rows, log_weights, _ = atoms.take(first.number)
    winners = measured_again(time, flat, rows, first.number, first.scores, log_weights)
    weights = jnp.exp(winners.relative + winners.first - found.log_sum)
    top, place = jax.lax.top_k(weights, k)
    return HeaviestAtoms(top, winners.number[place])


@eqx.filter_jit
@untyped_axes
@on_shards
def log_total_of(field: Any, cond: Any, dtype: Any) -> Array:
    """Log of the number of rows that count, or of the sum of their weights."""
    return _log_total(field, cond, dtype)


@eqx.filter_jit
def log_totals_of(field: Any, classes: Array | None, dtype: Any) -> Array:
    """`log_total_of` each class; of the whole data set for None."""
    if classes is None:
        return _log_total(field, None, dtype)
    return jax.lax.map(lambda cond: _log_total(field, cond, dtype), classes)


def _posterior(field: Any, t: Array, x: Array, cond: Any) -> tuple[Array, Array, Posterior]:
    flat = x.reshape(-1)
    time, atoms = jnp.minimum(t, 1 - field.stop(x.dtype)), field.atoms()
    return time, flat, posterior(atoms, time, flat, cond, chunk_size=field.chunk_size)


def _log_total(field: Any, cond: Any, dtype: Any) -> Array:
    return log_total(
        field.rows, field.log_weights, field.labels, cond, dtype, field.chunk_size, field.shards
    )
