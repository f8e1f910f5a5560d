"""Nearest-neighbour search of a reference from the host, in chunks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kinetic_jax._streaming import (
    Highest,
    Rows,
    Scaled,
    read_again,
    read_rows,
    require_finite_rows,
    stream_from_host,
    survey,
)
from kinetic_jax.metrics._neighbor_scores import (
    SPARE_CANDIDATES,
    DifferenceScore,
    Nearest,
    ProductScore,
    measure,
    with_certainty,
)

_QUERIES_MEASURED_AT_ONCE = 2048


class Search:
    """Nearest-neighbour search in one reference."""

    def __init__(
        self, name: str, data: Rows, k: int, chunk_size: int, progress: bool | None, queries: Array
    ):
        self.name, self.k, self.chunk_size = name, k, chunk_size
        first = read_rows(data, slice(0, chunk_size)).astype(queries.dtype)
        # A shift keeps distances, and squared norms are smaller around the mean of some rows.
        self.factor, self.center = survey(first, queries)
        self.data = data if self.factor == 1 else Scaled(data, self.factor)
        self.stream = functools.partial(
            stream_from_host,
            data=self.data,
            chunk_size=chunk_size,
            dtype=queries.dtype,
            progress=progress,
        )

    def by_products(
        self, queries: Float[Array, "queries size"]
    ) -> tuple[Float[Array, "queries k"], Int[Array, "queries k"], np.ndarray]:
        """Neighbours, and True for queries where rounding cannot have hidden a nearer row."""
        total, center, longest = self.data.shape[0], self.center, 0.0
        queries = self._scaled(queries)

        def check(start: int, squares: np.ndarray) -> None:
            nonlocal longest
            require_finite_rows(self.name, start, squares)
            longest = max(longest, float(np.sqrt(np.max(squares))))

        count = min(self.k + SPARE_CANDIDATES, total)
        scores, candidates = self.stream(
            ProductScore(center),
            Highest(count),
            queries,
            center=center,
            description="searching",
            check=check,
        )
        # At most a chunk of rows is read again at a time.
        in_memory = isinstance(self.data, jax.Array)
        block_size = _QUERIES_MEASURED_AT_ONCE if in_memory else max(self.chunk_size // count, 1)
        if block_size >= queries.shape[0]:
            squared, indices = self._measured(queries, candidates)
        else:
            starts = range(0, queries.shape[0], block_size)
            blocks = [slice(start, start + block_size) for start in starts]
            parts = [self._measured(queries[block], candidates[block]) for block in blocks]
            squared, indices = map(jnp.concatenate, zip(*parts, strict=True))
        distances, certain = with_certainty(squared, queries, center, scores, longest, self.factor)
        return distances, indices, np.asarray(certain) | (count == total)

    def by_differences(
        self, queries: Float[Array, "queries size"]
    ) -> tuple[Float[Array, "queries k"], Int[Array, "queries k"]]:
        """Neighbours without the expanded square: slower, and exact for all numbers."""
        squared, indices = self.stream(
            DifferenceScore(), Nearest(self.k), self._scaled(queries), description="searching again"
        )
        return jnp.sqrt(squared) / self.factor, indices

    def _scaled(self, queries: Array) -> Array:
        return queries if self.factor == 1 else queries * self.factor

    def _measured(self, queries: Array, candidates: Array) -> tuple[Array, Array]:
        if isinstance(self.data, jax.Array):
            return measure(queries, self.data, candidates, candidates, self.k)
        rows, place = read_again(self.data, candidates)
        return measure(queries, rows, place, candidates, self.k)
