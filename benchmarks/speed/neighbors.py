"""Exact nearest neighbours against faiss, and against the broadcast difference."""

from collections.abc import Callable
from typing import Any

import faiss
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.speed._record import Claim, Recorder
from kinetic_jax import nearest_neighbors

OURS = "nearest_neighbors"


def _broadcast(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The straightforward version, with all differences in memory (3 GB)."""
    squared = np.sum((queries[:, None] - rows) ** 2, axis=2)
    return np.argpartition(squared, 2, axis=1)[:, :2]


@jax.jit
def _fused(queries: Array, rows: Array) -> tuple[Array, Array]:
    """The same, compiled: XLA computes all differences but stores none."""
    squared = jnp.sum((queries[:, None] - rows) ** 2, axis=2)
    return jax.lax.top_k(-squared, 2)


def run(recorder: Recorder) -> None:
    """Both comparisons, and the share of neighbours that agree with faiss."""
    count, total, size = recorder.pick((10_000, 60_000, 784), (20, 300, 8))
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((count, size), np.float32)
    rows = rng.standard_normal((total, size), np.float32)
    index = faiss.IndexFlatL2(size)
    index.add(rows)
    on_device = jnp.asarray(queries), jnp.asarray(rows)
    product = jax.jit(lambda q, r: jnp.max(q @ r.T, axis=1))
    contenders: dict[str, Callable[[], Any]] = {
        "faiss IndexFlatL2": lambda: index.search(queries, 2),
        OURS: lambda: nearest_neighbors(*on_device, 2),
        "its matrix product alone": lambda: [
            product(on_device[0][at : at + 1000], on_device[1]) for at in range(0, count, 1000)
        ],
    }
    title = f"{count:,} queries, {total:,} rows of {size}, k = 2"
    limits = Claim(OURS, 1.0), Claim(OURS, against="its matrix product alone")
    recorder.times(title, contenders, *limits, rounds=recorder.fewer(3))
    agreement = np.mean(
        np.asarray(nearest_neighbors(*on_device, 2)[1]) == index.search(queries, 2)[1]
    )
    percent = {"neighbours that are those of faiss": 100 * float(agreement)}
    recorder.figures(f"agreement, {title}", "%", percent)
    _against_broadcast(recorder, queries, rows)


def _against_broadcast(recorder: Recorder, queries: np.ndarray, rows: np.ndarray) -> None:
    queries, rows = queries[:200], rows[:5_000]
    on_device = jnp.asarray(queries), jnp.asarray(rows)
    contenders: dict[str, Callable[[], Any]] = {
        "NumPy's queries[:, None] − rows": lambda: _broadcast(queries, rows),
        "the same under jax.jit": lambda: _fused(*on_device),
        OURS: lambda: nearest_neighbors(*on_device, 2),
    }
    title = f"{len(queries)} queries, {len(rows):,} rows of {rows.shape[1]}, k = 2"
    recorder.times(title, contenders, Claim(OURS, 0.1), rounds=recorder.fewer(3))
