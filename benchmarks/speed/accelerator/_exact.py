"""The exact flow of many rows, as a share of the device's own matrix rate, and its errors.

Estimates for an H200 at 50 TFlop/s in float32: 60,000 x 784 takes 0.05 TFlop a batch of 256, 1 ms;
1,000,000 x 3,072 takes 3.1 TFlop, 60 ms, with 12 GB of rows.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array

from benchmarks.speed._rates import FEW, PRECISIONS, in_precision, shares, supported
from benchmarks.speed._record import Recorder
from benchmarks.speed._timing import seconds
from benchmarks.speed.empirical import BATCH, FIELD, products, velocities
from kinetic_jax import EmpiricalField

PRODUCTS = "its two matrix products alone"
WIDE = 32_768  # rows of a larger chunk
TIMES = (0.02, 0.1, 0.5, 0.95)
POINTS = 4  # at each time


def normal(seed: int, count: int, size: int) -> Array:
    """Normal rows, made on the device."""
    return jax.jit(jax.random.normal, static_argnums=1)(jax.random.key(seed), (count, size))


def small(recorder: Recorder) -> None:
    """60,000 rows of 784: the rate, and the error and time by precision."""
    rows = normal(0, *recorder.pick((60_000, 784), (500, 8)))
    _rate(recorder, rows)
    _precisions(recorder, rows)


def large(recorder: Recorder) -> None:
    """1,000,000 rows of 3,072: the rate."""
    _rate(recorder, normal(0, *recorder.pick((1_000_000, 3072), (2_000, 16))))


def _rate(recorder: Recorder, rows: Array) -> None:
    count, size = rows.shape
    x, t = normal(1, BATCH, size), jnp.float32(0.5)
    wide = f"the same, {WIDE:,} rows at once"
    contenders: dict[str, Callable[[], Array]] = {
        PRODUCTS: functools.partial(products, x, rows, precision=Precision.HIGHEST),
        FIELD: functools.partial(velocities, EmpiricalField(rows), t, x),
        wide: functools.partial(velocities, EmpiricalField(rows, chunk_size=WIDE), t, x),
    }
    title = f"{BATCH} points, {count:,} rows of {size:,}"
    shares(recorder, title, 4 * BATCH * count * size, contenders, of=FIELD)


def reference(times: np.ndarray, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The velocities in float64 NumPy, from their formula.

    Args:
        times: shape (points,).
        x: shape (points, size).
        rows: shape (rows, size).

    Returns:
        Velocities, shape (points, size).
    """
    t = times[:, None]
    scores = (t * (x @ rows.T) - t**2 / 2 * np.sum(rows**2, axis=1)) / (1 - t) ** 2
    weights = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    weights /= np.sum(weights, axis=1, keepdims=True)
    return (weights @ rows - x) / (1 - t)


def _precisions(recorder: Recorder, rows: Array) -> None:
    """The error against float64 NumPy, and the time of a batch, in each precision."""
    count, size = rows.shape
    times = np.repeat(np.asarray(TIMES, np.float32), POINTS)
    t, field = times[:, None], EmpiricalField(rows)
    x = (1 - t) * np.asarray(normal(2, t.size, size)) + t * np.asarray(rows[: t.size])
    exact = reference(*(np.asarray(array, np.float64) for array in (times, x, rows)))
    batch = normal(1, BATCH, size)
    errors: dict[str, float] = {}
    milliseconds: dict[str, float] = {}
    for name in recorder.pick(tuple(PRECISIONS), FEW):
        with in_precision(name):
            at_points = functools.partial(
                jax.jit(lambda field, t, x: jax.vmap(field)(t, x)), field, times, x
            )
            if reason := supported(at_points):
                print(f"left out: EmpiricalField in {name}: {reason}")
                continue
            difference = np.asarray(at_points(), np.float64) - exact
            norms = np.linalg.norm(difference, axis=1) / np.linalg.norm(exact, axis=1)
            errors[name] = float(np.max(norms))
            call = functools.partial(velocities, field, jnp.float32(0.5), batch)
            milliseconds[name] = 1e3 * min(seconds(call) for _ in range(3))
    case = f"EmpiricalField, {count:,} rows of {size}, by precision"
    unit = "of the velocity's norm"
    recorder.figures(f"greatest error against float64 NumPy, {case}", unit, errors)
    recorder.figures(f"time for {BATCH} points, {case}", "ms", milliseconds)
