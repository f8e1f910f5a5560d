"""Exact nearest neighbours against faiss, and against the broadcast difference."""

from collections.abc import Callable
from typing import Any

import faiss
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._show import show
from benchmarks._timing import compare
from kinetic_jax import nearest_neighbors

QUERIES, ROWS, SIZE = 10_000, 60_000, 784
SMALL_QUERIES, SMALL_ROWS = 200, 5_000


def _broadcast(queries: np.ndarray, rows: np.ndarray) -> Any:
    """What one writes first: every difference, held at once (3 GB of them here)."""
    squared = np.sum((queries[:, None] - rows) ** 2, axis=2)
    return np.argpartition(squared, 2, axis=1)[:, :2]


@jax.jit
def _fused(queries: Any, rows: Any) -> Any:
    """The same, compiled: XLA holds no difference, but still takes every one."""
    squared = jnp.sum((queries[:, None] - rows) ** 2, axis=2)
    return jax.lax.top_k(-squared, 2)


def run(rounds: int) -> None:
    """Prints both comparisons, after checking that all find the same neighbours."""
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((QUERIES, SIZE), np.float32)
    rows = rng.standard_normal((ROWS, SIZE), np.float32)
    index = faiss.IndexFlatL2(SIZE)
    index.add(rows)
    held = jnp.asarray(queries), jnp.asarray(rows)
    found = np.asarray(nearest_neighbors(*held, 2)[1])
    same = np.mean(found == index.search(queries, 2)[1])
    print(f"{100 * same:.3f}% of the neighbours are those of faiss")
    product = jax.jit(lambda q, r: jnp.max(q @ r.T, axis=1))
    contenders: dict[str, Callable[[], Any]] = {
        "faiss IndexFlatL2": lambda: index.search(queries, 2),
        "nearest_neighbors": lambda: nearest_neighbors(*held, 2),
        "its matrix product alone": lambda: [
            product(held[0][at : at + 1000], held[1]) for at in range(0, QUERIES, 1000)
        ],
    }
    title = f"{QUERIES:,} queries, {ROWS:,} rows of {SIZE}, k = 2"
    # Some seconds a call: a third of the rounds tells as much.
    show(title, compare(contenders, rounds=-(-rounds // 3)), limit="limit: 1.0 against faiss")
    few = held[0][:SMALL_QUERIES], held[1][:SMALL_ROWS]
    contenders = {
        "queries[:, None] − rows": lambda: _broadcast(queries[:SMALL_QUERIES], rows[:SMALL_ROWS]),
        "the same under jax.jit": lambda: _fused(*few),
        "nearest_neighbors": lambda: nearest_neighbors(*few, 2),
    }
    title = f"{SMALL_QUERIES} queries, {SMALL_ROWS:,} rows of {SIZE}, k = 2"
    rounds = -(-rounds // 3)
    show(title, compare(contenders, rounds=rounds), limit="limit: 0.1 against the broadcast")
