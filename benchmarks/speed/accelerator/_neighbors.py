"""Nearest neighbours as a share of the device's matrix rate, against PyTorch, by precision.

Estimates for an H200 at 50 TFlop/s in float32: 10,000 queries in 60,000 x 784 take 0.94 TFlop,
20 ms; in 1,000,000 x 3,072 61 TFlop, 1.2 s a contender.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array

from benchmarks.speed._rates import FEW, PRECISIONS, in_precision, shares, supported
from benchmarks.speed._record import Claim, Recorder
from benchmarks.speed._timing import seconds
from benchmarks.speed.accelerator._exact import normal
from benchmarks.speed.accelerator._preset import LeftOutError
from benchmarks.speed.accelerator._torch import on_device, synchronized
from kinetic_jax import nearest_neighbors

OURS, PRODUCT, TORCH = "nearest_neighbors", "its matrix product alone", "PyTorch, brute force"
WIDE = 32_768  # rows of a larger chunk
AT_ONCE = 1_000  # queries whose products with all rows are in memory
CHECKED = 500  # queries compared with float64 NumPy
COPY = 1 / 3  # a copy's distance to its nearest row, over that to the second


def small(recorder: Recorder) -> None:
    """60,000 rows of 784: the rate, and the neighbours by precision."""
    queries, rows = _data(recorder.pick(10_000, 20), *recorder.pick((60_000, 784), (300, 8)))
    left_out = _rate(recorder, queries, rows)
    _precisions(recorder, queries, rows)
    _require(left_out)


def large(recorder: Recorder) -> None:
    """1,000,000 rows of 3,072: the rate."""
    queries, rows = _data(recorder.pick(10_000, 20), *recorder.pick((1_000_000, 3072), (900, 16)))
    _require(_rate(recorder, queries, rows))


def _require(left_out: str | None) -> None:
    if left_out is not None:
        raise LeftOutError(f"{TORCH}: {left_out}")


def _data(count: int, total: int, size: int) -> tuple[Array, Array]:
    """Queries at growing distances from rows, so that some are copies and some are not."""
    rows, scale = normal(0, total, size), jnp.linspace(0.05, 1.0, count)[:, None]
    start = rows[jnp.arange(count) % total]
    return start + scale * normal(1, count, size), rows


@jax.jit
def _product(queries: Array, rows: Array) -> Array:
    return jnp.max(jnp.matmul(queries, rows.T, precision=Precision.HIGHEST), axis=1)


def _rate(recorder: Recorder, queries: Array, rows: Array) -> str | None:
    """Times the search; returns why PyTorch was left out, if it was."""
    count, (total, size) = len(queries), rows.shape
    starts = range(0, count, AT_ONCE)
    wide = functools.partial(nearest_neighbors, queries, rows, 2, chunk_size=WIDE)
    contenders: dict[str, Callable[[], Any]] = {
        PRODUCT: lambda: [_product(queries[at : at + AT_ONCE], rows) for at in starts],
        OURS: functools.partial(nearest_neighbors, queries, rows, 2),
        f"the same, {WIDE:,} rows at once": wide,
    }
    claims, left_out = [Claim(OURS, against=PRODUCT)], None
    try:
        contenders[TORCH] = _brute_force(queries, rows)
        claims.append(Claim(OURS, against=TORCH))
    except (ImportError, LeftOutError) as missing:
        left_out = str(missing)
    title = f"{count:,} queries, {total:,} rows of {size:,}, k = 2"
    operations = 2.0 * count * total * size
    rounds = recorder.fewer(2)
    shares(recorder, title, operations, contenders, *claims, of=OURS, rounds=rounds)
    return left_out


def _brute_force(queries: Array, rows: Array) -> Callable[[], Any]:
    """A search by PyTorch in float32, for a part of the queries at a time."""
    import torch

    q, r = on_device(queries), on_device(rows)
    squares = torch.sum(r**2, dim=1)

    def search() -> list[Any]:
        parts = q.split(AT_ONCE)
        scores = (torch.addmm(squares, part, r.T, alpha=-2) for part in parts)
        return [score.topk(2, dim=1, largest=False).indices for score in scores]

    return synchronized(search)


def reference(queries: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances and numbers of the two nearest rows in float64 NumPy, by differences."""
    distances, numbers = [], []
    squares = np.sum(rows**2, axis=1)
    for query in queries:
        # Candidates by the expanded square, whose distances are then taken by differences.
        near = np.argpartition(squares - 2 * (rows @ query), 8)[:9]
        squared = np.sum((rows[near] - query) ** 2, axis=1)
        order = np.argsort(squared)[:2]
        distances.append(np.sqrt(squared[order]))
        numbers.append(near[order])
    return np.array(distances), np.array(numbers)


def _precisions(recorder: Recorder, queries: Array, rows: Array) -> None:
    """Neighbours, distances and verdicts against float64 NumPy, and the time, by precision."""
    some = queries[:: max(len(queries) // CHECKED, 1)]
    distances, numbers = reference(*(np.asarray(array, np.float64) for array in (some, rows)))
    is_copy = distances[:, 0] < COPY * distances[:, 1]
    same: dict[str, float] = {}
    verdicts: dict[str, float] = {}
    errors: dict[str, float] = {}
    milliseconds: dict[str, float] = {}
    for name in recorder.pick(tuple(PRECISIONS), FEW):
        with in_precision(name):
            if reason := supported(lambda: nearest_neighbors(some, rows, 2)):
                print(f"left out: {OURS} in {name}: {reason}")
                continue
            ours = nearest_neighbors(some, rows, 2)
            near = np.asarray(ours.distances, np.float64)
            same[name] = 100 * float(np.mean(np.asarray(ours.indices) == numbers))
            copies = near[:, 0] < COPY * near[:, 1]
            verdicts[name] = 100 * float(np.mean(copies == is_copy))
            errors[name] = float(np.max(np.abs(near / distances - 1)))
            call = functools.partial(nearest_neighbors, queries, rows, 2)
            milliseconds[name] = 1e3 * min(seconds(call) for _ in range(2))
    case = f"{len(some)} queries, {len(rows):,} rows of {rows.shape[1]}, k = 2, by precision"
    recorder.figures(f"neighbours that are those of float64 NumPy, {case}", "%", same)
    recorder.figures(f"verdicts of a copy that are those of float64 NumPy, {case}", "%", verdicts)
    recorder.figures(f"greatest error of a distance, {case}", "of the distance", errors)
    recorder.figures(f"time for all {len(queries):,} queries, {case}", "ms", milliseconds)
