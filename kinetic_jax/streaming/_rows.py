"""Rows of data: in memory, or read from the host a chunk at a time."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kinetic_jax._checks import require
from kinetic_jax._dtypes import at_least_float32

DEFAULT_CHUNK_SIZE = 4096


def is_on_host(data: Any) -> bool:
    """Whether `data` is to be streamed from the host: a memmap, or any array-like but an array.

    A plain NumPy array is in memory already, and is treated like a JAX one.
    """
    return isinstance(data, np.memmap) or not isinstance(data, jax.Array | np.ndarray | list)


def checked_rows(name: str, data: Any) -> tuple[int, ...]:
    """The shape (rows, *event) of `data`.

    Raises:
        ValueError: if it is no array-like of numbers with at least one row, or has too many.
    """
    shape = getattr(data, "shape", None)
    if shape is None:
        data = jnp.asarray(data)
        shape = data.shape
    require(len(shape) >= 1, name, f"shape {shape}", "have a leading axis of rows")
    require(shape[0] >= 1, name, f"shape {shape}", "have rows")
    require(int(np.prod(shape)) >= 1, name, f"shape {shape}", "have rows that are not empty")
    require(shape[0] < 2**31, name, f"{shape[0]} rows", "have fewer than 2³¹")
    dtype = np.dtype(data.dtype)
    number = np.issubdtype(dtype, np.number) or dtype == jnp.bfloat16 or dtype.kind == "b"
    require(number, name, f"dtype {dtype}", "hold numbers")
    return tuple(shape)


def read_rows(data: Any, which: Any) -> Float[Array, "chunk size"]:
    """Those rows of `data` flat, on the device, in float32 (or float64)."""
    rows = jnp.asarray(data[which])
    return rows.astype(at_least_float32(rows.dtype)).reshape(rows.shape[0], -1)


def row_chunks(data: Any, chunk_size: int) -> Iterator[tuple[int, Float[Array, "chunk size"]]]:
    """Every row once, in chunks that are read as they are asked for, with the first's number."""
    for start in range(0, data.shape[0], chunk_size):
        yield start, read_rows(data, slice(start, start + chunk_size))


def require_finite_rows(name: str, start: int, squares: Float[Array, " chunk"]) -> None:
    """Raises for a chunk with a row whose squared norm is not finite, telling which.

    Raises:
        ValueError: naming the first such row.
    """
    bad = np.flatnonzero(~np.isfinite(np.asarray(squares)))
    if bad.size:
        raise ValueError(
            f"{name} must be finite, and so must its rows' squared norms, got row "
            f"{start + int(bad[0])} that is not ({bad.size} of {squares.shape[0]} looked at)"
        )
