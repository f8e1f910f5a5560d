"""Nearest-neighbour search of a reference split over the devices of a mesh, in one program."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from kinetic_jax._mesh import alone_on, placed
from kinetic_jax._streaming import (
    Highest,
    Reduction,
    Rows,
    Shards,
    balance,
    split_rows,
    stream,
    take_rows,
)
from kinetic_jax.metrics._neighbor_scores import (
    SPARE_CANDIDATES,
    DifferenceScore,
    Nearest,
    ProductScore,
    lowest_of,
    with_certainty,
)

# Queries whose scores, and whose candidates, a device holds at a time.
_QUERIES_AT_ONCE = 1024
_MEASURED_AT_ONCE = 32


class MeshSearch:
    """Nearest-neighbour search in one reference on a mesh."""

    def __init__(
        self, name: str, data: Rows, k: int, chunk_size: int, shards: Shards, queries: Array
    ):
        self.k, self.shards, self.chunk_size = k, shards, chunk_size
        rows = split_rows(data, shards)
        rows = rows.reshape(rows.shape[0], -1).astype(queries.dtype)
        with alone_on(shards.mesh, rows):
            self.factor = balance(rows, queries)
        self.rows = rows * self.factor if self.factor != 1 else rows
        self.center, self.longest, broken = self._on_each(_statistics)
        if broken < shards.total:
            raise ValueError(
                f"{name} must be finite, and so must its rows' squared norms, got row {broken} "
                "that is not"
            )

    def by_products(
        self, queries: Float[Array, "queries size"]
    ) -> tuple[Float[Array, "queries k"], Int[Array, "queries k"], np.ndarray]:
        """Neighbours, and True for queries where rounding cannot have hidden a nearer row."""
        queries, center = queries * self.factor, jnp.asarray(self.center)
        squared, indices, worst = self._on_each(_by_products, queries, center, static=self.k)
        distances, certain = with_certainty(
            squared, queries, center, worst, self.longest, self.factor
        )
        all_measured = self.k + SPARE_CANDIDATES >= self.shards.total
        return distances, indices, np.asarray(certain) | all_measured

    def by_differences(
        self, queries: Float[Array, "queries size"]
    ) -> tuple[Float[Array, "queries k"], Int[Array, "queries k"]]:
        """Neighbours without the expanded square: slower, and exact for all numbers."""
        scaled = queries * self.factor
        squared, indices = self._on_each(_by_differences, scaled, static=self.k)
        return jnp.sqrt(squared) / self.factor, indices

    def _on_each(
        self, work: Callable[..., PyTree[Array]], *arrays: Array, static: int | None = None
    ) -> PyTree[Array]:
        """The result of `work` over all devices, as arrays of this process."""
        mesh = self.shards.mesh
        arrays = placed(arrays, mesh, PartitionSpec())
        with alone_on(mesh, arrays):
            result = _on_each(work, self.shards, self.chunk_size, static, self.rows, arrays)
        return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), result)


@eqx.filter_jit
def _on_each(
    work: Callable[..., PyTree[Array]],
    shards: Shards,
    chunk_size: int,
    static: int | None,
    rows: Array,
    arrays: tuple[Array, ...],
) -> PyTree[Array]:
    def local(rows: Array, arrays: tuple[Array, ...]) -> PyTree[Array]:
        return work(_Part(rows, shards, chunk_size), *arrays, static)

    return jax.shard_map(
        local,
        mesh=shards.mesh,
        in_specs=(shards.spec, PartitionSpec()),
        out_specs=PartitionSpec(),
        check_vma=False,
    )(rows, arrays)


class _Part(eqx.Module):
    """One device's rows."""

    rows: Float[Array, "rows size"]
    shards: Shards = eqx.field(static=True)
    chunk_size: int = eqx.field(static=True)

    def reduce(
        self,
        score: ProductScore | DifferenceScore,
        reduction: Reduction,
        queries: Array,
        center: Array | None = None,
    ) -> PyTree[Array]:
        """The reduction of the scores of all devices' rows, for each query."""

        def of_query(query: Array) -> PyTree[Array]:
            def scores(rows: Array, known: None) -> Array:
                rows = rows if center is None else rows - center[None, :]
                return score(query, rows, jnp.sum(rows * rows, axis=1), known)

            return stream(
                scores,
                reduction,
                self.rows,
                None,
                dtype=query.dtype,
                chunk_size=self.chunk_size,
                shards=self.shards,
            )

        return jax.lax.map(of_query, queries, batch_size=_QUERIES_AT_ONCE)


def _statistics(part: _Part, _: None) -> tuple[Array, Array, Array]:
    """The mean row, the greatest distance from it, and the first row that is not finite."""
    axis, total, rows = part.shards.axis, part.shards.total, part.rows
    number = part.shards.first(rows.shape[0]) + jnp.arange(rows.shape[0], dtype=jnp.int32)
    finite = jnp.isfinite(jnp.sum(rows * rows, axis=1))
    counts = finite & (number < total)
    counted = jnp.where(counts[:, None], rows, jnp.zeros_like(rows))
    center = jax.lax.psum(jnp.sum(counted, axis=0), axis) / total
    squares = jnp.sum((counted - center[None, :]) ** 2, axis=1)
    longest = jax.lax.pmax(jnp.sqrt(jnp.max(jnp.where(counts, squares, 0))), axis)
    broken = jnp.min(jnp.where(finite | (number >= total), total, number))
    return center, longest, jax.lax.pmin(broken, axis)


def _by_products(part: _Part, queries: Array, center: Array, k: int) -> tuple[Array, Array, Array]:
    """The k nearest rows of each query by differences, and the score of its last candidate."""
    count = min(k + SPARE_CANDIDATES, part.shards.total)
    scores, candidates = part.reduce(ProductScore(center), Highest(count), queries, center)

    def nearest(inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        query, number = inputs
        return lowest_of(query, take_rows(part.rows, number, part.shards), number, k)

    neighbors = jax.lax.map(nearest, (queries, candidates), batch_size=_MEASURED_AT_ONCE)
    return *neighbors, scores[:, -1:]


def _by_differences(part: _Part, queries: Array, k: int) -> tuple[Array, Array]:
    return part.reduce(DifferenceScore(), Nearest(k), queries)
