"""The pass itself: compiled over rows in memory, or driven from the host over any rows."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from kinetic_jax._mesh import scan
from kinetic_jax._progress import progress_bar
from kinetic_jax.streaming._reductions import Reduction
from kinetic_jax.streaming._rows import RowChunk, centered, row_chunks
from kinetic_jax.streaming._shards import Shards

QUERIES_AT_ONCE = 1024


def stream(
    score: Callable[[Array, Any], Array],
    reduction: Reduction,
    rows: Float[Array, "rows size"],
    beside: PyTree[Any],
    *,
    dtype: Any,
    chunk_size: int,
    center: Float[Array, " size"] | None = None,
    recompute: bool = False,
    shards: Shards | None = None,
) -> Any:
    """One compiled pass over rows in memory, for ONE query; map it over queries.

    Args:
        score: from a chunk of rows (chunk, size), and the chunk of `beside`, to scores (chunk,).
        reduction: what they are reduced to.
        rows: all rows.
        beside: a pytree of what else is known of each row, with a leading axis of rows.
        dtype: what the rows are read as.
        chunk_size: rows looked at together.
        center: what is taken off every row first, or None.
        recompute: look at the rows again when differentiated, rather than keep every score.
        shards: if `rows` are one device's part of all rows. The result is over all of them, after
            one merge.
    """
    total, size = rows.shape
    chunk_size = min(chunk_size, total)

    def look(carry: Any, number: Array) -> tuple[Any, None]:
        # The last chunk reaches back over rows already seen, which are then left out.
        start = jnp.minimum(number * chunk_size, total - chunk_size)
        cut = lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, chunk_size)  # noqa: E731
        part, known = centered(cut(rows), center, dtype), jax.tree.map(cut, beside)
        index = start + jnp.arange(chunk_size, dtype=jnp.int32)
        index = jnp.where(index >= number * chunk_size, index, -1)
        if shards is not None:
            index = _numbers_of_all(index, total, shards)
        return reduction.update(carry, score(part, known), part, index), None

    numbers = jnp.arange(-(-total // chunk_size), dtype=jnp.int32)
    body = jax.checkpoint(look, prevent_cse=False) if recompute else look
    carry, _ = scan(body, reduction.start(size, dtype), numbers)
    found = reduction.finish(carry)
    return found if shards is None else reduction.across(found, shards.axis)


def _numbers_of_all(index: Array, rows: int, shards: Shards) -> Array:
    """From numbers among a device's own `rows` to those among all; −1 stays, and so for fill."""
    number = index + shards.first(rows)
    return jnp.where((index >= 0) & (number < shards.total), number, -1)


def stream_from_host(
    score: Callable[[Any, Array, Array, Any], Array],
    reduction: Reduction,
    queries: PyTree[Any],
    data: Any,
    beside: PyTree[Any] = None,
    *,
    chunk_size: int,
    dtype: Any,
    center: Float[Array, " size"] | None = None,
    description: str,
    check: Callable[[int, Array], None],
    progress: bool | None = None,
) -> Any:
    """One pass over rows that need not fit in memory, for many queries; each row is read once.

    Args:
        score: from ONE query, a chunk of rows, their squared norms and the chunk of `beside` to
            scores; a pytree, whose arrays are traced.
        reduction: what they are reduced to.
        queries: a pytree with a leading axis of queries.
        data: anything with a shape and slices.
        beside: a pytree of what else is known of each row, in memory.
        chunk_size: rows looked at together.
        dtype: of rows and queries.
        center: what is taken off every row first, or None.
        description: of the work, for the progress bar.
        check: is told each chunk's first number and its rows' squared norms; may raise.
        progress: whether to draw a bar; None: on a terminal only.

    Returns:
        The result for every query, with a leading axis.
    """
    total, size = data.shape[0], int(np.prod(data.shape[1:]))
    count = jax.tree.leaves(queries)[0].shape[0]
    blocks = -(-count // QUERIES_AT_ONCE)
    each = -(-count // blocks)
    fold = lambda leaf: _folded(jnp.asarray(leaf), blocks, each)  # noqa: E731
    queries = jax.tree.map(fold, queries)
    carry = _begin(reduction, size, np.dtype(dtype).name, (blocks, each))
    with progress_bar(description, total, show=progress) as update:
        for chunk in row_chunks(data, chunk_size, np.dtype(dtype), center):
            start, stop = chunk.new
            check(start, chunk.squares[start - chunk.first : stop - chunk.first])
            known = _beside(beside, chunk)
            span = jnp.array([chunk.first, start, stop], jnp.int32)
            carry = _update(
                score, reduction, carry, queries, chunk.rows, chunk.squares, known, span
            )
            jax.block_until_ready(carry)  # no more than one chunk waits in memory
            update(stop, "")
    found = _finish(reduction, carry)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], found)


def _folded(leaf: Array, blocks: int, each: int) -> Array:
    """(count, ...) to (blocks, each, ...), the last rows repeated at the end."""
    spare = blocks * each - leaf.shape[0]
    padded = jnp.pad(leaf, ((0, spare), *((0, 0),) * (leaf.ndim - 1)), mode="edge")
    return padded.reshape(blocks, each, *leaf.shape[1:])


@eqx.filter_jit
def _begin(reduction: Reduction, size: int, dtype: str, shape: tuple[int, int]) -> Any:
    start = reduction.start(size, jnp.dtype(dtype))
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*shape, *leaf.shape)), start)


def _beside(beside: PyTree[Any], chunk: RowChunk) -> PyTree[Any]:
    size = chunk.rows.shape[0]

    def cut(leaf: Array) -> Array:
        part = leaf[chunk.first : chunk.first + size]
        return jnp.pad(part, (0, size - part.shape[0]))

    return jax.tree.map(cut, beside)


@eqx.filter_jit
def _update(
    score: Any,
    reduction: Reduction,
    carry: Any,
    queries: Any,
    rows: Float[Array, "chunk size"],
    squares: Float[Array, " chunk"],
    known: Any,
    span: Any,
) -> Any:
    index = span[0] + jnp.arange(rows.shape[0], dtype=jnp.int32)
    index = jnp.where((index >= span[1]) & (index < span[2]), index, -1)

    def one(carry: Any, query: Any) -> Any:
        return reduction.update(carry, score(query, rows, squares, known), rows, index)

    # A block of queries after the other, inside one program: the scores of a block are written
    # where those of the last one were, which is twice as fast as memory that is new each time.
    return jax.lax.map(lambda block: jax.vmap(one)(*block), (carry, queries))


@eqx.filter_jit
def _finish(reduction: Reduction, carry: Any) -> Any:
    return jax.vmap(jax.vmap(reduction.finish))(carry)
