"""One reference split over the devices of a mesh, searched in one program."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from kinetic_jax._mesh import alone_on, placed
from kinetic_jax.metrics._neighbor_scores import (
    SPARE_CANDIDATES,
    DifferenceScore,
    Nearest,
    ProductScore,
    is_certain,
    lowest_of,
)
from kinetic_jax.streaming import Highest, Shards, balance, split_rows, stream, take_rows

# Every device holds the scores of so many queries for a chunk of rows, and the candidates of so
# many.
_QUERIES_AT_ONCE = 1024
_MEASURED_AT_ONCE = 32


class MeshSearch:
    """One reference on a mesh, and how it is searched."""

    def __init__(
        self, name: str, data: Any, k: int, chunk_size: int, shards: Shards, queries: Array
    ):
        self.k, self.shards, self.chunk_size = k, shards, chunk_size
        rows = split_rows(data, shards)
        rows = rows.reshape(rows.shape[0], -1).astype(queries.dtype)
        with alone_on(shards.mesh, rows):
            self.factor = balance(rows, queries)
        self.rows = rows * self.factor if self.factor != 1 else rows
        self.center, self.longest, bad = self._on_each(_look)
        if bad < shards.total:
            raise ValueError(
                f"{name} must be finite, and so must its rows' squared norms, got row {bad} that "
                "is not"
            )

    def by_products(
        self, queries: Float[Array, "queries size"]
    ) -> tuple[Float[Array, "queries k"], Int[Array, "queries k"], np.ndarray]:
        """Neighbours, and whether rounding cannot have kept a nearer row from being a candidate."""
        queries = queries * self.factor
        squared, indices, worst = self._on_each(_by_products, queries, self.center, static=self.k)
        moved = queries - jnp.asarray(self.center)[None, :]
        certain = is_certain(moved, worst, squared[:, -1], self.longest)
        all_measured = self.k + SPARE_CANDIDATES >= self.shards.total
        distances = jnp.sqrt(squared) / self.factor
        return distances, indices, np.asarray(certain) | all_measured

    def by_differences(
        self, queries: Float[Array, "queries size"]
    ) -> tuple[Float[Array, "queries k"], Int[Array, "queries k"]]:
        """Neighbours without the expanded square: slower, and right whatever the numbers."""
        moved = queries * self.factor
        squared, indices = self._on_each(_by_differences, moved, static=self.k)
        return jnp.sqrt(squared) / self.factor, indices

    def _on_each(self, work: Callable[..., Any], *whole: Any, static: Any = None) -> Any:
        """What `work` finds on all devices, as this process's own arrays."""
        mesh = self.shards.mesh
        whole = placed(whole, mesh, PartitionSpec())
        with alone_on(mesh, whole):
            found = _on_each(work, self.shards, self.chunk_size, static, self.rows, whole)
        return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), found)


@eqx.filter_jit
def _on_each(
    work: Callable[..., Any], shards: Shards, chunk_size: int, static: Any, rows: Any, whole: Any
) -> Any:
    def local(rows: Array, whole: Any) -> Any:
        return work(_Part(rows, shards, chunk_size), *whole, static)

    return jax.shard_map(
        local, mesh=shards.mesh, in_specs=(shards.spec, PartitionSpec()),
        out_specs=PartitionSpec(), check_vma=False,
    )(rows, whole)  # fmt: skip


class _Part(eqx.Module):
    """One device's rows."""

    rows: Float[Array, "rows size"]
    shards: Shards = eqx.field(static=True)
    chunk_size: int = eqx.field(static=True)

    def find(self, score: Any, reduction: Any, queries: Array, center: Array | None = None) -> Any:
        """The reduction of the scores of all devices' rows, for each query."""

        def one(query: Array) -> Any:
            def scored(rows: Array, known: None) -> Array:
                rows = rows if center is None else rows - center[None, :]
                return score(query, rows, jnp.sum(rows * rows, axis=1), known)

            return stream(
                scored, reduction, self.rows, None,
                dtype=query.dtype, chunk_size=self.chunk_size, shards=self.shards,
            )  # fmt: skip

        return jax.lax.map(one, queries, batch_size=_QUERIES_AT_ONCE)


def _look(part: _Part, _: None) -> tuple[Array, Array, Array]:
    """The mean of the rows, the greatest distance of one from it, the first that is not finite."""
    axis, total = part.shards.axis, part.shards.total
    rows = part.rows
    number = part.shards.first(rows.shape[0]) + jnp.arange(rows.shape[0], dtype=jnp.int32)
    finite = jnp.isfinite(jnp.sum(rows * rows, axis=1))
    counts = finite & (number < total)
    kept = jnp.where(counts[:, None], rows, jnp.zeros_like(rows))
    center = jax.lax.psum(jnp.sum(kept, axis=0), axis) / total
    squares = jnp.sum((kept - center[None, :]) ** 2, axis=1)
    longest = jax.lax.pmax(jnp.sqrt(jnp.max(jnp.where(counts, squares, 0))), axis)
    bad = jnp.min(jnp.where(finite | (number >= total), total, number))
    return center, longest, jax.lax.pmin(bad, axis)


def _by_products(part: _Part, queries: Array, center: Array, k: int) -> tuple[Array, Array, Array]:
    """The k nearest of each query, measured by differences, and its last candidate's score."""
    count = min(k + SPARE_CANDIDATES, part.shards.total)
    moved = queries - center[None, :]
    scores, candidates = part.find(ProductScore(), Highest(count), moved, center)

    def measured(inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        query, number = inputs
        return lowest_of(query, take_rows(part.rows, number, part.shards), number, k)

    near = jax.lax.map(measured, (queries, candidates), batch_size=_MEASURED_AT_ONCE)
    return *near, scores[:, -1]


def _by_differences(part: _Part, queries: Array, k: int) -> tuple[Array, Array]:
    return part.find(DifferenceScore(), Nearest(k), queries)
