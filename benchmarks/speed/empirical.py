"""Time and memory of the exact flow of a data set, against its two matrix products."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array

from benchmarks.speed._record import Claim, Recorder
from kinetic_jax import EmpiricalField

BATCH = 256
PRODUCTS, FIELD = "its two matrix products alone", "EmpiricalField under vmap"
# 80% of the rate of the two products, 4·B·N·d operations.
LIMIT = 1.25


@functools.partial(jax.jit, static_argnames="precision")
def products(x: Array, rows: Array, precision: Precision | None = None) -> Array:
    """The two products of an evaluation, without the rest."""
    scores = jnp.matmul(x, rows.T, precision=precision)
    return jnp.matmul(scores, rows, precision=precision)


@jax.jit
def velocities(field: EmpiricalField, t: Array, x: Array) -> Array:
    return jax.vmap(field, in_axes=(None, 0))(t, x)


def run(recorder: Recorder) -> None:
    """Times a batch at two widths, and measures peaks of memory by number of rows."""
    count = recorder.pick(50_000, 500)
    for size in recorder.pick((784, 3072), (8, 16)):
        rng = np.random.default_rng(0)
        rows = jnp.asarray(rng.normal(size=(count, size)), jnp.float32)
        x = jnp.asarray(rng.normal(size=(BATCH, size)), jnp.float32)
        field, t = EmpiricalField(rows), jnp.float32(0.5)
        contenders: dict[str, Callable[[], Array]] = {
            PRODUCTS: functools.partial(products, x, rows),
            FIELD: functools.partial(velocities, field, t, x),
        }
        title = f"{BATCH} points, {count:,} rows of {size}"
        timings = recorder.times(title, contenders, Claim(FIELD, LIMIT))
        # The field's rate counts its two products alone.
        operations = 4 * BATCH * count * size / 1e9
        rates = {name: operations / timing.median for name, timing in timings.items()}
        recorder.figures(f"rate, {title}", "GFlop/s", rates)
    _memory(recorder)


def _memory(recorder: Recorder) -> None:
    """Peaks of memory; only a chunk of the rows of a memmap may be in memory."""
    peaks: dict[str, float] = {}
    for rows in recorder.pick((1_000_000, 2_000_000, 4_000_000), (2_000, 4_000)):
        # On CPU: host memory is measured, and an accelerator belongs to this process.
        process = subprocess.run(
            [sys.executable, "-m", "benchmarks.speed._memory", str(rows)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        for name, megabytes in (line.split("\t") for line in process.stdout.splitlines()):
            peaks[f"{name}, {rows:,} rows"] = float(megabytes)
    names = list(peaks)
    # Memory that grew with the rows would be at four times its first value.
    limits = [Claim(names[i - 2], 1.5, against=names[i]) for i in range(2)]
    recorder.figures("peak of host memory, rows of 256 numbers", "MB", peaks, *limits)
    counts = recorder.pick((10_000, 20_000, 40_000), (200, 400))
    gradients = {f"{rows:,} rows": _gradient(rows) for rows in counts}
    recorder.figures("temporary memory of the field's gradient", "MB", gradients)


def _gradient(total: int) -> float:
    """Megabytes of temporary memory of ∂/∂x of the velocities of a batch, 784 dimensions."""

    def loss(x: Array, field: EmpiricalField) -> Array:
        return jnp.sum(jax.vmap(field, in_axes=(None, 0))(jnp.float32(0.5), x) ** 2)

    field = jax.eval_shape(EmpiricalField, jax.ShapeDtypeStruct((total, 784), np.float32))
    x = jax.ShapeDtypeStruct((BATCH, 784), np.float32)
    compiled = jax.jit(jax.grad(loss)).lower(x, field).compile()
    analysis = compiled.memory_analysis()
    return float("nan") if analysis is None else analysis.temp_size_in_bytes / 1e6
