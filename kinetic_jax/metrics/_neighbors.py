"""Exact nearest neighbours in Euclidean distance."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from kinetic_jax._checks import as_array, refuse_memmap, require
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax.streaming import (
    DEFAULT_CHUNK_SIZE,
    Highest,
    as_numbers,
    checked_rows,
    product_scores,
    read_again,
    read_rows,
    require_finite_rows,
    stream_from_host,
    to_power_of_two,
)

# The expanded square ||q||² − 2 q·r + ||r||² only nominates: near copies cancel in it. This many
# more candidates than asked for are measured again by differences.
_SPARE_CANDIDATES = 4

_QUERIES_MEASURED_AT_ONCE = 2048


def nearest_neighbors(
    queries: Float[ArrayLike, "queries *event"],
    reference: Any,
    k: int = 2,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> tuple[Float[Array, "queries {k}"], Int[Array, "queries {k}"]]:
    """The k nearest rows of `reference` to each query, nearest first; ties to the lower row.

    Streams over the reference in chunks with a running top-k, in float32 products at the highest
    precision; the winners are measured again by differences, so that distances of near copies
    are right too. A query for which rounding could have hidden a neighbour is searched again by
    differences alone.

    Args:
        queries: shape (queries, *event). A query that is not finite gets NaN distances.
        reference: shape (rows, *event), finite. A NumPy memmap, or any array-like with a shape and
            slices, is read a chunk at a time.
        k: how many neighbours.
        chunk_size: rows of the reference looked at together.
        progress: whether to draw a progress bar; None: on a terminal only.

    Returns:
        Euclidean distances and row indices, each of shape (queries, k).

    Raises:
        ValueError: if the shapes of one row differ, the reference is empty or not finite, or k
            lies outside [1, rows].

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import nearest_neighbors
        >>> line = jnp.array([[0.0], [1.0], [4.0]])
        >>> nearest_neighbors(jnp.array([[1.5]]), line)
        (Array([[0.5, 1.5]], dtype=float32), Array([[1, 0]], dtype=int32))
    """
    return find_neighbors(
        queries,
        reference,
        k,
        names=("queries", "reference"),
        chunk_size=chunk_size,
        progress=progress,
    )


def find_neighbors(
    queries: Any,
    reference: Any,
    k: int,
    *,
    names: tuple[str, str],
    chunk_size: int,
    progress: bool | None,
) -> tuple[Array, Array]:
    """`nearest_neighbors` for metrics that call its arguments by other `names`.

    Raises:
        ValueError: as `nearest_neighbors`.
    """
    refuse_memmap(names[0], queries)
    asked = flat_rows(names[0], queries)
    data = np.asarray(reference) if isinstance(reference, list | tuple) else reference
    shape = checked_rows(names[1], data)
    event, wanted = np.shape(queries)[1:], shape[1:]
    words = f"have the {names[1]}'s, {wanted}"
    require(event == wanted, names[0], f"rows of shape {event}", words)
    for name, number, most in (("k", k, shape[0]), ("chunk_size", chunk_size, None)):
        whole = isinstance(number, int | np.integer) and number >= 1
        words = "be >= 1" if most is None else f"lie in [1, {most}], the {names[1]}'s rows"
        require(whole and (most is None or number <= most), name, number, words)
    if isinstance(data, jax.Array):
        data = flat_rows(names[1], data)
    dtype = np.promote_types(asked.dtype, at_least_float32(np.dtype(data.dtype)))
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    if asked.shape[0] == 0:
        return jnp.zeros((0, k), dtype), jnp.zeros((0, k), jnp.int32)
    search = _Search(names[1], data, k, min(chunk_size, shape[0]), progress)
    asked = asked.astype(dtype)
    distances, indices, certain = search.by_products(asked)
    doubtful = np.flatnonzero(~certain)
    if doubtful.size:
        count = doubtful.size
        again = search.by_differences(asked[to_power_of_two(doubtful)])
        distances = distances.at[doubtful].set(again[0][:count])
        indices = indices.at[doubtful].set(again[1][:count])
    finite = jnp.all(jnp.isfinite(asked), axis=1, keepdims=True)
    return jnp.where(finite, distances, jnp.nan), indices


def flat_rows(name: str, array: Any) -> Float[Array, "rows size"]:
    """`array` as float32 (or float64) rows of one number each per dimension.

    Raises:
        ValueError: if it is no array of real numbers with a leading axis.
    """
    if isinstance(array, np.ndarray) and array.dtype.kind in "fiu":
        array = as_numbers(array)
    rows = as_array(name, array)
    require(rows.ndim >= 1, name, f"shape {rows.shape}", "have a leading axis of rows")
    real = not jnp.issubdtype(rows.dtype, jnp.complexfloating)
    require(real, name, f"dtype {rows.dtype}", "hold real numbers")
    size = int(np.prod(rows.shape[1:]))
    return rows.astype(at_least_float32(rows.dtype)).reshape(rows.shape[0], size)


class _Search:
    """One reference, and how it is searched."""

    def __init__(self, name: str, data: Any, k: int, chunk_size: int, progress: bool | None):
        self.name, self.data, self.k = name, data, k
        self.chunk_size, self.progress = chunk_size, progress

    def by_products(
        self, queries: Float[Array, "queries size"]
    ) -> tuple[Float[Array, "queries k"], Int[Array, "queries k"], np.ndarray]:
        """Neighbours, and whether rounding cannot have kept a nearer row from being a candidate."""
        total, dtype = self.data.shape[0], queries.dtype
        # Distances do not change when everything moves; around the mean of some rows the squares
        # are smaller.
        first = read_rows(self.data, slice(0, self.chunk_size)).astype(dtype)
        center = jnp.mean(jnp.where(jnp.isfinite(first), first, 0), axis=0)
        longest = 0.0

        def check(start: int, squares: Array) -> None:
            nonlocal longest
            require_finite_rows(self.name, start, squares)
            longest = max(longest, float(np.sqrt(np.max(np.asarray(squares)))))

        count = min(self.k + _SPARE_CANDIDATES, total)
        scores, candidates = self._stream(
            _ProductScore(), Highest(count), queries - center[None, :], check, "searching", center
        )
        parts = []
        # Rows that are read again are no more than a chunk either.
        in_memory = isinstance(self.data, jax.Array)
        block = _QUERIES_MEASURED_AT_ONCE if in_memory else max(self.chunk_size // count, 1)
        for at in range(0, queries.shape[0], block):
            cut = slice(at, at + block)
            parts.append(self._measured(queries[cut], candidates[cut]))
        squared, indices = (jnp.concatenate(part) for part in zip(*parts, strict=True))
        certain = _is_certain(queries - center[None, :], scores[:, -1], squared[:, -1], longest)
        return jnp.sqrt(squared), indices, np.asarray(certain) | (count == total)

    def by_differences(
        self, queries: Float[Array, "queries size"]
    ) -> tuple[Float[Array, "queries k"], Int[Array, "queries k"]]:
        """Neighbours without the expanded square: slower, and right whatever the numbers."""
        squared, indices = self._stream(
            _DifferenceScore(), _Nearest(self.k), queries, lambda *_: None, "searching once more"
        )
        return jnp.sqrt(squared), indices

    def _stream(
        self,
        score: Any,
        reduction: Any,
        queries: Array,
        check: Any,
        words: str,
        center: Array | None = None,
    ) -> Any:
        return stream_from_host(
            score,
            reduction,
            queries,
            self.data,
            chunk_size=self.chunk_size,
            dtype=queries.dtype,
            center=center,
            description=words,
            check=check,
            progress=self.progress,
        )

    def _measured(self, queries: Array, candidates: Array) -> tuple[Array, Array]:
        if isinstance(self.data, jax.Array):
            return _measure(queries, self.data, candidates, candidates, self.k)
        rows, place = read_again(self.data, candidates)
        return _measure(queries, rows, place, candidates, self.k)


class _ProductScore(eqx.Module):
    """The nearer, the higher, by the expanded square."""

    def __call__(self, query: Array, rows: Array, squares: Array, known: None) -> Array:
        del known
        return product_scores(query, rows, squares, jnp.ones((), rows.dtype))


class _DifferenceScore(eqx.Module):
    """−||q − r||², by differences."""

    def __call__(self, query: Array, rows: Array, squares: Array, known: None) -> Array:
        del squares, known
        return -jnp.sum((query[None, :] - rows) ** 2, axis=1)


class _Nearest(eqx.Module):
    """The `count` rows of the highest scores, as squared distances; exact ties to the lower row."""

    count: int = eqx.field(static=True)

    def start(self, size: int, dtype: Any) -> tuple[Array, Array]:
        """See `Reduction`."""
        del size
        return jnp.full(self.count, jnp.inf, dtype), jnp.zeros(self.count, jnp.int32)

    def update(
        self, carry: tuple[Array, Array], scores: Array, rows: Array, index: Array
    ) -> tuple[Array, Array]:
        """See `Reduction`."""
        del rows
        squared = jnp.where(index >= 0, -scores, jnp.inf)
        return _lowest(
            jnp.concatenate([carry[0], squared]), jnp.concatenate([carry[1], index]), self.count
        )

    def finish(self, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        """See `Reduction`."""
        return carry


def _lowest(squared: Array, index: Array, count: int) -> tuple[Array, Array]:
    ordered, order = jax.lax.sort((squared, index), num_keys=2)
    return ordered[:count], order[:count]


@functools.partial(jax.jit, static_argnums=4)
def _measure(
    queries: Float[Array, "queries size"],
    rows: Float[Array, "rows size"],
    place: Int[Array, "queries candidates"],
    index: Int[Array, "queries candidates"],
    k: int,
) -> tuple[Float[Array, "queries {k}"], Int[Array, "queries {k}"]]:
    """The candidates' squared distances by differences, the k lowest of each query."""

    def one(inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        query, where, number = inputs
        near = rows[where].astype(query.dtype)
        return _lowest(jnp.sum((query[None, :] - near) ** 2, axis=1), number, k)

    return jax.lax.map(one, (queries, place, index), batch_size=32)


@jax.jit
def _is_certain(
    centered: Float[Array, "queries size"],
    worst_score: Float[Array, " queries"],
    squared: Float[Array, " queries"],
    longest: ArrayLike,
) -> Bool[Array, " queries"]:
    """Whether no row outside the candidates can be nearer than the k-th.

    Such a row has a score of at most the worst candidate's; what rounding can have done to twice a
    score is bounded by (d + 8) ε (||q|| + max ||r||)².
    """
    length2 = jnp.sum(centered * centered, axis=1)
    epsilon = (centered.shape[1] + 8) * float(jnp.finfo(centered.dtype).eps)
    doubt = epsilon * (jnp.sqrt(length2) + longest) ** 2
    certain = length2 - 2 * worst_score - doubt >= squared
    return certain | ~jnp.isfinite(length2)
