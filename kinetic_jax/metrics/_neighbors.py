"""Exact nearest neighbours in Euclidean distance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from kinetic_jax._checks import refuse_memmap, require
from kinetic_jax._dtypes import at_least_float32

DEFAULT_CHUNK_SIZE = 4096

# The expanded square ||q||² − 2 q·r + ||r||² only nominates: near copies cancel in it. This many
# more candidates than asked for are measured again by differences.
_SPARE_CANDIDATES = 8


def nearest_neighbors(
    queries: Float[ArrayLike, "queries *event"],
    reference: Float[ArrayLike, "rows *event"],
    k: int = 2,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
) -> tuple[Float[Array, "queries {k}"], Int[Array, "queries {k}"]]:
    """The k nearest rows of `reference` to each query, nearest first.

    Streams over the reference in chunks with a running top-k, in float32 products at the highest
    precision; the winners are measured again by differences, so that distances of near copies
    are right too. A query for which rounding could have hidden a neighbour is searched again by
    differences alone.

    Args:
        queries: shape (queries, *event). A query that is not finite gets NaN distances.
        reference: shape (rows, *event), finite, in memory.
        k: how many neighbours.
        chunk_size: rows of the reference looked at together.

    Returns:
        Euclidean distances and row indices, each of shape (queries, k).

    Raises:
        ValueError: if the shapes of one row differ, the reference is empty, not finite or a
            memmap, or k lies outside [1, rows].

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import nearest_neighbors
        >>> line = jnp.array([[0.0], [1.0], [4.0]])
        >>> nearest_neighbors(jnp.array([[1.5]]), line)
        (Array([[0.5, 1.5]], dtype=float32), Array([[1, 0]], dtype=int32))
    """
    refuse_memmap("reference", reference)
    refuse_memmap("queries", queries)
    asked, rows = flat_rows("queries", queries), flat_rows("reference", reference)
    require(rows.shape[0] >= 1, "reference", f"shape {rows.shape}", "have rows")
    event, wanted = np.shape(queries)[1:], np.shape(reference)[1:]
    require(event == wanted, "queries", f"rows of shape {event}", f"have the reference's, {wanted}")
    require(1 <= k <= rows.shape[0], "k", k, f"lie in [1, {rows.shape[0]}], the reference's rows")
    require(chunk_size >= 1, "chunk_size", chunk_size, "be >= 1")
    require(bool(jnp.all(jnp.isfinite(rows))), "reference", "non-finite numbers", "be finite")
    if asked.dtype != rows.dtype:
        asked, rows = asked.astype(jnp.float64), rows.astype(jnp.float64)
    chunk_size = min(chunk_size, rows.shape[0])
    distances, indices, certain = _search(asked, rows, k, chunk_size)
    doubtful = np.flatnonzero(~np.asarray(certain))
    if doubtful.size:
        again = _search_by_differences(asked[doubtful], rows, k, chunk_size)
        distances, indices = (
            distances.at[doubtful].set(again[0]),
            indices.at[doubtful].set(again[1]),
        )
    finite = jnp.all(jnp.isfinite(asked), axis=1, keepdims=True)
    return jnp.where(finite, distances, jnp.nan), indices


def flat_rows(name: str, array: ArrayLike) -> Float[Array, "rows size"]:
    """`array` as float32 (or float64) rows of one number each per dimension.

    Raises:
        ValueError: if it has no leading axis.
    """
    shape = np.shape(array)
    require(len(shape) >= 1, name, f"shape {shape}", "have a leading axis of rows")
    rows = jnp.asarray(array)
    return rows.astype(at_least_float32(rows.dtype)).reshape(shape[0], int(np.prod(shape[1:])))


@functools.partial(jax.jit, static_argnums=(2, 3))
def _search(
    queries: Float[Array, "queries size"], rows: Float[Array, "rows size"], k: int, chunk_size: int
) -> tuple[Float[Array, "queries {k}"], Int[Array, "queries {k}"], Bool[Array, " queries"]]:
    """Neighbours, and whether rounding cannot have kept a nearer row from being a candidate."""
    num_queries, num_rows = queries.shape[0], rows.shape[0]
    wanted = min(k + _SPARE_CANDIDATES, num_rows)
    num_chunks = -(-num_rows // chunk_size)
    # Distances do not change when everything moves; around the mean the squares are smallest.
    center = jnp.mean(rows, axis=0)
    centered = queries - center[None, :]

    def look(best: tuple[Array, Array], chunk: Array) -> tuple[tuple[Array, Array], None]:
        # The last chunk reaches back over rows already seen, which are then left out.
        start = jnp.minimum(chunk * chunk_size, num_rows - chunk_size)
        part = jax.lax.dynamic_slice_in_dim(rows, start, chunk_size) - center[None, :]
        index = start + jnp.arange(chunk_size, dtype=jnp.int32)
        products = jnp.matmul(centered, part.T, precision=jax.lax.Precision.HIGHEST)
        score = jnp.sum(part * part, axis=1)[None, :] - 2 * products
        score = jnp.where((index >= chunk * chunk_size)[None, :], score, jnp.inf)
        scores = jnp.concatenate([best[0], score], axis=1)
        indices = jnp.concatenate(
            [best[1], jnp.broadcast_to(index, (num_queries, chunk_size))], axis=1
        )
        negative, position = jax.lax.top_k(-scores, wanted)
        return (-negative, jnp.take_along_axis(indices, position, axis=1)), None

    nobody = (
        jnp.full((num_queries, wanted), jnp.inf, rows.dtype),
        jnp.zeros((num_queries, wanted), jnp.int32),
    )
    chunks = jnp.arange(num_chunks, dtype=jnp.int32)
    (scores, candidates), _ = jax.lax.scan(look, nobody, chunks)

    def measure(_: None, one: tuple[Array, Array]) -> tuple[None, tuple[Array, Array]]:
        query, index = one
        return None, _nearest(jnp.sum((query[None, :] - rows[index]) ** 2, axis=1), index, k)

    _, (squared, indices) = jax.lax.scan(measure, None, (queries, candidates))
    # A row that is no candidate has a score of at least the worst candidate's; what rounding can
    # have done to a score is bounded by (d + 8) ε (||q|| + max ||r||)².
    length2 = jnp.sum(centered * centered, axis=1)
    longest = jnp.sqrt(jnp.max(jnp.sum((rows - center[None, :]) ** 2, axis=1)))
    epsilon = (rows.shape[1] + 8) * float(jnp.finfo(rows.dtype).eps)
    doubt = epsilon * (jnp.sqrt(length2) + longest) ** 2
    certain = (scores[:, -1] + length2 - doubt >= squared[:, -1]) | (wanted == num_rows)
    return jnp.sqrt(squared), indices, certain | ~jnp.isfinite(length2)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _search_by_differences(
    queries: Float[Array, "queries size"], rows: Float[Array, "rows size"], k: int, chunk_size: int
) -> tuple[Float[Array, "queries {k}"], Int[Array, "queries {k}"]]:
    """Neighbours without the expanded square: slower, and right whatever the numbers."""
    num_rows = rows.shape[0]

    def one(_: None, query: Array) -> tuple[None, tuple[Array, Array]]:
        def look(best: tuple[Array, Array], chunk: Array) -> tuple[tuple[Array, Array], None]:
            start = jnp.minimum(chunk * chunk_size, num_rows - chunk_size)
            part = jax.lax.dynamic_slice_in_dim(rows, start, chunk_size)
            index = start + jnp.arange(chunk_size, dtype=jnp.int32)
            squared = jnp.sum((query[None, :] - part) ** 2, axis=1)
            squared = jnp.where(index >= chunk * chunk_size, squared, jnp.inf)
            together = jnp.concatenate([best[0], squared]), jnp.concatenate([best[1], index])
            return _nearest(*together, k), None

        nobody = jnp.full(k, jnp.inf, rows.dtype), jnp.zeros(k, jnp.int32)
        chunks = jnp.arange(-(-num_rows // chunk_size), dtype=jnp.int32)
        return None, jax.lax.scan(look, nobody, chunks)[0]

    _, (squared, indices) = jax.lax.scan(one, None, queries)
    return jnp.sqrt(squared), indices


def _nearest(squared: Array, index: Array, k: int) -> tuple[Array, Array]:
    # Ties go to the lower row, whatever the order of the candidates.
    ordered, order = jax.lax.sort((squared, index), num_keys=2)
    return ordered[:k], order[:k]
