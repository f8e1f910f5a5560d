"""Streaming passes: compiled over rows in memory, or driven from the host over any rows."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from kinetic_jax._mesh import varying_loop
from kinetic_jax._progress import progress_bar
from kinetic_jax._streaming._reductions import Reduction
from kinetic_jax._streaming._rows import RowChunk, Rows, centered, row_chunks
from kinetic_jax._streaming._shards import Shards

QUERIES_AT_ONCE = 1024


def stream(
    score: Callable[[Array, Any], Array],
    reduction: Reduction,
    rows: Float[Array, "rows size"],
    beside: PyTree[Any],
    *,
    dtype: DTypeLike,
    chunk_size: int,
    center: Float[Array, " size"] | None = None,
    recompute: bool = False,
    shards: Shards | None = None,
) -> PyTree[Array]:
    """One compiled pass over rows in memory, for ONE query; map it over queries.

    Args:
        score: maps a chunk of rows (chunk, size) and the chunk of `beside` to scores (chunk,).
        reduction: the reduction of the scores.
        rows: all rows, from which `center` is subtracted.
        beside: a pytree of further data on the rows, with a leading axis of rows.
        dtype: the dtype to compute in.
        chunk_size: rows scored together.
        center: subtracted from every row, or None.
        recompute: recompute the scores in the backward pass, instead of storing them.
        shards: the split of which `rows` are this device's part; the result is over all rows.
    """
    total, size = rows.shape
    chunk_size = min(chunk_size, total)

    def update(carry: PyTree[Array], number: Int[Array, ""]) -> tuple[PyTree[Array], None]:
        # The last chunk overlaps the one before; the rows they share do not count again.
        start = jnp.minimum(number * chunk_size, total - chunk_size)

        def cut(leaf: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(leaf, start, chunk_size)

        chunk = centered(cut(rows), center, dtype)
        index = start + jnp.arange(chunk_size, dtype=jnp.int32)
        index = jnp.where(index >= number * chunk_size, index, -1)
        if shards is not None:  # numbers among all rows; −1 for padding
            among_all = index + shards.first(total)
            index = jnp.where((index >= 0) & (among_all < shards.total), among_all, -1)
        scores = score(chunk, jax.tree.map(cut, beside))
        return reduction.update(carry, scores, chunk, index), None

    numbers = jnp.arange(-(-total // chunk_size), dtype=jnp.int32)
    body = jax.checkpoint(update, prevent_cse=False) if recompute else update
    start = reduction.start(size, dtype)
    carry, _ = jax.lax.scan(*varying_loop(body, start, numbers), numbers)
    result = reduction.finish(carry)
    return result if shards is None else reduction.across(result, shards.axis)


def stream_from_host(
    score: Callable[[Any, Array, Array, Any], Array],
    reduction: Reduction,
    queries: PyTree[Any],
    data: Rows,
    beside: PyTree[Any] = None,
    *,
    chunk_size: int,
    dtype: DTypeLike,
    center: Float[Array, " size"] | None = None,
    description: str,
    check: Callable[[int, np.ndarray], None] | None = None,
    progress: bool | None = None,
) -> PyTree[Array]:
    """One pass over rows that need not fit in memory, for many queries; each row is read once.

    `score`, a pytree whose arrays are traced, maps ONE query, a chunk of rows, their squared norms
    and the chunk of `beside` to scores. `check` is called with each chunk's first new row number
    and the squared norms, and may raise. Results have a leading axis of queries.
    """
    total, size = data.shape[0], int(np.prod(data.shape[1:]))
    count = jax.tree.leaves(queries)[0].shape[0]
    queries, carry = _begin(reduction, queries, size, np.dtype(dtype).name)
    with progress_bar(description, total, show=progress) as update:
        for chunk in row_chunks(data, chunk_size, np.dtype(dtype), center):
            start, stop = chunk.new
            if check is not None:
                check(start, np.asarray(chunk.squares)[start - chunk.first : stop - chunk.first])
            extra = _chunk_of(beside, chunk)
            span = np.array([chunk.first, start, stop], np.int32)
            carry = _update(
                score, reduction, carry, queries, chunk.rows, chunk.squares, extra, span
            )
            jax.block_until_ready(carry)  # at most one chunk waits in memory
            update(stop, "")
    return _finish(reduction, carry, count)


@eqx.filter_jit
def _begin(
    reduction: Reduction, queries: PyTree[Array], size: int, dtype: str
) -> tuple[PyTree[Array], PyTree[Array]]:
    """Queries in blocks (blocks, queries of a block, ...), and the carry of each."""
    count = jax.tree.leaves(queries)[0].shape[0]
    blocks = -(-count // QUERIES_AT_ONCE)
    shape = (blocks, -(-count // blocks))

    def in_blocks(leaf: Array) -> Array:
        padding = (0, shape[0] * shape[1] - count)  # with copies of the last query
        padded = jnp.pad(leaf, (padding, *((0, 0),) * (leaf.ndim - 1)), mode="edge")
        return padded.reshape(*shape, *leaf.shape[1:])

    start = reduction.start(size, jnp.dtype(dtype))
    carry = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*shape, *leaf.shape)), start)
    return jax.tree.map(in_blocks, queries), carry


def _chunk_of(beside: PyTree[Any], chunk: RowChunk) -> PyTree[Array]:
    size = chunk.rows.shape[0]

    def cut(leaf: Array) -> Array:
        rows = leaf[chunk.first : chunk.first + size]
        return jnp.pad(rows, (0, size - rows.shape[0]))

    return jax.tree.map(cut, beside)


@eqx.filter_jit
def _update(
    score: Callable[[Any, Array, Array, Any], Array],
    reduction: Reduction,
    carry: PyTree[Array],
    queries: PyTree[Array],
    rows: Float[Array, "chunk size"],
    squares: Float[Array, " chunk"],
    beside: PyTree[Array],
    span: Int[ArrayLike, "3"],
) -> PyTree[Array]:
    first, start, stop = jnp.asarray(span)
    index = first + jnp.arange(rows.shape[0], dtype=jnp.int32)
    index = jnp.where((index >= start) & (index < stop), index, -1)

    def update(carry: PyTree[Array], query: PyTree[Array]) -> PyTree[Array]:
        return reduction.update(carry, score(query, rows, squares, beside), rows, index)

    # Map over blocks of queries inside one program: the scores of each block reuse the memory of
    # the last block's, which is twice as fast as new memory.
    return jax.lax.map(lambda block: jax.vmap(update)(*block), (carry, queries))


@eqx.filter_jit
def _finish(reduction: Reduction, carry: PyTree[Array], count: int) -> PyTree[Array]:
    """The results of the queries, without those that filled up the last block."""
    results = jax.vmap(jax.vmap(reduction.finish))(carry)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], results)
