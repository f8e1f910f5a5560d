"""One reference searched from the host, a chunk at a time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kinetic_jax.metrics._neighbor_scores import (
    SPARE_CANDIDATES,
    DifferenceScore,
    Nearest,
    ProductScore,
    is_certain,
    measure,
)
from kinetic_jax.streaming import (
    Highest,
    Scaled,
    balance,
    center_of,
    read_again,
    read_rows,
    require_finite_rows,
    stream_from_host,
)

_QUERIES_MEASURED_AT_ONCE = 2048


class Search:
    """One reference, and how it is searched."""

    def __init__(
        self, name: str, data: Any, k: int, chunk_size: int, progress: bool | None, queries: Array
    ):
        self.name, self.k = name, k
        self.chunk_size, self.progress = chunk_size, progress
        first = read_rows(data, slice(0, chunk_size)).astype(queries.dtype)
        self.factor = balance(first, queries)
        self.data = data if self.factor == 1 else Scaled(data, self.factor)
        # Distances do not change when everything moves; around the mean of some rows the squares
        # are smaller.
        self.center = center_of(first * self.factor)

    def by_products(
        self, queries: Float[Array, "queries size"]
    ) -> tuple[Float[Array, "queries k"], Int[Array, "queries k"], np.ndarray]:
        """Neighbours, and whether rounding cannot have kept a nearer row from being a candidate."""
        total, center, longest = self.data.shape[0], self.center, 0.0
        queries = queries * self.factor

        def check(start: int, squares: Array) -> None:
            nonlocal longest
            require_finite_rows(self.name, start, squares)
            longest = max(longest, float(np.sqrt(np.max(np.asarray(squares)))))

        count = min(self.k + SPARE_CANDIDATES, total)
        scores, candidates = self._stream(
            ProductScore(), Highest(count), queries - center[None, :], check, "searching", center
        )
        parts = []
        # Rows that are read again are no more than a chunk either.
        in_memory = isinstance(self.data, jax.Array)
        block = _QUERIES_MEASURED_AT_ONCE if in_memory else max(self.chunk_size // count, 1)
        for at in range(0, queries.shape[0], block):
            cut = slice(at, at + block)
            parts.append(self._measured(queries[cut], candidates[cut]))
        squared, indices = (jnp.concatenate(part) for part in zip(*parts, strict=True))
        certain = is_certain(queries - center[None, :], scores[:, -1], squared[:, -1], longest)
        distances = jnp.sqrt(squared) / self.factor
        return distances, indices, np.asarray(certain) | (count == total)

    def by_differences(
        self, queries: Float[Array, "queries size"]
    ) -> tuple[Float[Array, "queries k"], Int[Array, "queries k"]]:
        """Neighbours without the expanded square: slower, and right whatever the numbers."""
        moved = queries * self.factor
        squared, indices = self._stream(
            DifferenceScore(), Nearest(self.k), moved, lambda *_: None, "searching once more"
        )
        return jnp.sqrt(squared) / self.factor, indices

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
            return measure(queries, self.data, candidates, candidates, self.k)
        rows, place = read_again(self.data, candidates)
        return measure(queries, rows, place, candidates, self.k)
