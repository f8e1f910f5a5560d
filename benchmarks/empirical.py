"""The exact flow of a data set: how near it comes to two matrix products, and what it holds."""

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._show import show
from benchmarks._timing import compare
from kinetic_jax import EmpiricalField

BATCH, ROWS = 256, 50_000
LIMIT = "limit: 1.25 for the field (80% of the rate of its two products, 4·B·N·d operations)"


@jax.jit
def _products(x: Any, rows: Any) -> Any:
    """The two products that every evaluation consists of, and nothing else."""
    return (x @ rows.T) @ rows


@jax.jit
def _field(field: EmpiricalField, t: Any, x: Any) -> Any:
    return jax.vmap(field, in_axes=(None, 0))(t, x)


def run(rounds: int) -> None:
    """Prints the time of a batch at two widths, and peaks of memory against the number of rows."""
    for size in (784, 3072):
        rng = np.random.default_rng(0)
        rows = jnp.asarray(rng.normal(size=(ROWS, size)), jnp.float32)
        x = jnp.asarray(rng.normal(size=(BATCH, size)), jnp.float32)
        field, t = EmpiricalField(rows), jnp.float32(0.5)
        contenders: dict[str, Callable[[], Any]] = {
            "its two matrix products alone": functools.partial(_products, x, rows),
            "EmpiricalField under vmap": functools.partial(_field, field, t, x),
        }
        timings = compare(contenders, rounds=rounds)
        show(f"{BATCH} points, {ROWS:,} rows of {size}", timings, limit=LIMIT)
        seconds = timings["its two matrix products alone"].median
        print(f"the products ran at {4 * BATCH * ROWS * size / seconds / 1e9:.0f} GFlop/s\n")
    _show_memory()


def _show_memory() -> None:
    table = Table(title="peaks of memory against the number of rows", title_justify="left")
    for name in ("", "rows", "MB"):
        table.add_column(name, justify="right" if name else "left")
    for rows in (1_000_000, 2_000_000, 4_000_000):
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks._memory", str(rows)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        for name, megabytes in (line.split("\t") for line in told.stdout.splitlines()):
            table.add_row(name, f"{rows:,}", megabytes)
    for rows in (10_000, 20_000, 40_000):
        table.add_row("gradient of the field, temporary", f"{rows:,}", f"{_gradient(rows):.0f}")
    Console().print(table)


def _gradient(total: int) -> float:
    """Megabytes of temporary memory of ∂/∂x of a batch's velocities, 784 dimensions."""

    def loss(x: Any, field: EmpiricalField) -> Any:
        return jnp.sum(jax.vmap(field, in_axes=(None, 0))(jnp.float32(0.5), x) ** 2)

    field = jax.eval_shape(EmpiricalField, jax.ShapeDtypeStruct((total, 784), np.float32))
    x = jax.ShapeDtypeStruct((BATCH, 784), np.float32)
    compiled = jax.jit(jax.grad(loss)).lower(x, field).compile()
    analysis = compiled.memory_analysis()
    return float("nan") if analysis is None else analysis.temp_size_in_bytes / 1e6
