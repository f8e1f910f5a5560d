"""Scores of rows for nearest neighbours, and exact distances to the candidates."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from kinetic_jax._streaming import Reduction, lowest, product_scores

# The expanded square ||q||² − 2 q·r + ||r||², which cancels for near copies, only selects
# candidates: the k best and this many more are measured by differences.
SPARE_CANDIDATES = 4


class ProductScore(eqx.Module):
    """½||q||² − ½||q − r||², by the expanded square.

    Attributes:
        center: subtracted from queries, from rows.
    """

    center: Float[Array, " size"]

    def __call__(self, query: Array, rows: Array, squares: Array, known: None) -> Array:
        del known
        query = query - self.center
        return product_scores(query, rows, squares, jnp.ones((), rows.dtype))


class DifferenceScore(eqx.Module):
    """−||q − r||², by differences."""

    def __call__(self, query: Array, rows: Array, squares: Array, known: None) -> Array:
        del squares, known
        return -jnp.sum((query[None, :] - rows) ** 2, axis=1)


class Nearest(Reduction):
    """The `count` rows of the highest scores, as squared distances; ties go to the lower row."""

    count: int = eqx.field(static=True)

    def start(self, size: int, dtype: DTypeLike) -> tuple[Array, Array]:
        del size
        return jnp.full(self.count, -lowest(dtype), dtype), jnp.zeros(self.count, jnp.int32)

    def update(
        self, carry: tuple[Array, Array], scores: Array, rows: Array, index: Array
    ) -> tuple[Array, Array]:
        del rows
        squared = jnp.where(index >= 0, -scores, -lowest(scores.dtype))
        return _lowest(
            jnp.concatenate([carry[0], squared]), jnp.concatenate([carry[1], index]), self.count
        )

    def across(self, result: tuple[Array, Array], axis: str) -> tuple[Array, Array]:
        squared, index = jax.lax.all_gather(result, axis, tiled=True)
        return _lowest(squared, index, self.count)


def lowest_of(
    query: Float[Array, " size"],
    rows: Float[Array, "candidates size"],
    number: Int[Array, " candidates"],
    k: int,
) -> tuple[Float[Array, " {k}"], Int[Array, " {k}"]]:
    """The k lowest squared distances to candidate rows, by differences, and the rows' numbers."""
    difference = query[None, :] - rows.astype(query.dtype)
    return _lowest(jnp.sum(difference * difference, axis=1), number, k)


def _lowest(squared: Array, index: Array, count: int) -> tuple[Array, Array]:
    ordered, order = jax.lax.sort((squared, index), num_keys=2)
    return ordered[:count], order[:count]


@functools.partial(jax.jit, static_argnums=4)
def measure(
    queries: Float[Array, "queries size"],
    rows: Float[Array, "rows size"],
    place: Int[Array, "queries candidates"],
    index: Int[Array, "queries candidates"],
    k: int,
) -> tuple[Float[Array, "queries {k}"], Int[Array, "queries {k}"]]:
    """The k lowest squared distances of each query to its candidates, by differences."""

    def nearest(inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        query, own_place, number = inputs
        return lowest_of(query, rows[own_place], number, k)

    return jax.lax.map(nearest, (queries, place, index), batch_size=32)


@jax.jit
def with_certainty(
    squared: Float[Array, "queries k"],
    queries: Float[Array, "queries size"],
    center: Float[Array, " size"],
    scores: Float[Array, "queries candidates"],
    longest: ArrayLike,
    factor: Float[ArrayLike, ""],
) -> tuple[Float[Array, "queries k"], Bool[Array, " queries"]]:
    """Distances, and True for queries to which no other row can be nearer than the k-th.

    Data are scaled by `factor`; distances of queries that are not finite are NaN. A row outside of
    the candidates scores at most as high as the worst candidate, and the rounding error of twice a
    score is at most (d + 8) ε (||q|| + max ||r||)².
    """
    centered = queries - center[None, :]
    length2 = jnp.sum(centered * centered, axis=1)
    epsilon = (centered.shape[1] + 8) * float(jnp.finfo(centered.dtype).eps)
    error = epsilon * (jnp.sqrt(length2) + longest) ** 2
    certain = length2 - 2 * scores[:, -1] - error >= squared[:, -1]
    finite = jnp.all(jnp.isfinite(queries), axis=1, keepdims=True)
    distances = jnp.where(finite, jnp.sqrt(squared) / factor, jnp.nan)
    return distances, certain | ~jnp.isfinite(length2)
