"""Rows of data: in memory, or read from the host a chunk at a time."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kinetic_jax._checks import numbers, require
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import untyped_axes

DEFAULT_CHUNK_SIZE = 4096


def is_on_host(data: Any) -> bool:
    """Whether `data` is to be streamed from the host: a memmap, or any array-like but an array.

    A plain NumPy array is in memory already, and is treated like a JAX one.
    """
    return isinstance(data, np.memmap) or not isinstance(
        data, jax.Array | np.ndarray | list | tuple
    )


def checked_rows(name: str, data: Any) -> tuple[int, ...]:
    """The shape (rows, *event) of `data`.

    Raises:
        ValueError: if it is no array-like of numbers with at least one row, or has too many.
    """
    data = data if hasattr(data, "shape") else numbers(name, data)
    shape = tuple(data.shape)
    require(len(shape) >= 1, name, f"shape {shape}", "have a leading axis of rows")
    require(shape[0] >= 1, name, f"shape {shape}", "have rows")
    require(int(np.prod(shape)) >= 1, name, f"shape {shape}", "have rows that are not empty")
    require(shape[0] < 2**31, name, f"{shape[0]} rows", "have fewer than 2³¹")
    dtype = np.dtype(data.dtype)
    real = np.issubdtype(dtype, np.number) and dtype.kind != "c"
    require(real or dtype == jnp.bfloat16 or dtype.kind == "b", name, f"dtype {dtype}",
            "hold real numbers")  # fmt: skip
    return shape


def as_numbers(data: Any) -> Any:
    """A NumPy array as JAX takes it: bytes in native order, whole numbers as floats.

    Without 64 bits JAX would wrap large whole numbers.
    """
    if isinstance(data, jax.Array):
        return data
    array = np.asarray(data)
    if array.dtype.kind in "iu" and array.dtype.itemsize >= 4:
        return array.astype(jax.dtypes.canonicalize_dtype(float))
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def read_rows(data: Any, which: Any) -> Float[Array, "chunk size"]:
    """Those rows of `data` flat, on the device, in float32 (or float64)."""
    rows = jnp.asarray(as_numbers(data[which]))
    return rows.astype(at_least_float32(rows.dtype)).reshape(rows.shape[0], -1)


@dataclasses.dataclass(frozen=True)
class Scaled:
    """Rows times a power of two, as they are read.

    Attributes:
        rows: anything with a shape, a dtype and slices.
        factor: what each number is multiplied by.
    """

    rows: Any
    factor: float

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the rows."""
        return tuple(self.rows.shape)

    @property
    def dtype(self) -> np.dtype:
        """The dtype in which rows are read."""
        return np.dtype(at_least_float32(np.dtype(self.rows.dtype)))

    def __getitem__(self, which: Any) -> np.ndarray:
        """Some of them."""
        return np.asarray(as_numbers(self.rows[which])).astype(self.dtype) * self.factor


def balance(*sets: Float[Array, "..."]) -> float:
    """The power of two that brings typical rows to where squared distances are float32 numbers.

    1 unless the median size of the rows of every set is below 10⁻¹⁰, or that of one above 10¹⁰:
    one row far out does not change the scale of the others. Typical rows are brought to 2⁻³⁶, so
    that differences in their last digit have squares, and so have rows 10²⁹ times their size.
    """
    typical = max(float(untyped_axes(typical_size)(rows)) for rows in sets)
    if typical == 0 or 1e-10 <= typical <= 1e10:
        return 1.0
    return float(2.0 ** np.clip(-36 - np.floor(np.log2(typical)), -120, 120))


@jax.jit
def typical_size(rows: Float[Array, "rows *event"]) -> Float[Array, ""]:
    """The median over rows of their greatest number; rows of zeros or not finite do not count."""
    sizes = jnp.max(jnp.abs(rows.reshape(rows.shape[0], -1)), axis=1, initial=0.0)
    counts = jnp.isfinite(sizes) & (sizes > 0)
    ordered = jnp.sort(jnp.where(counts, sizes, jnp.zeros_like(sizes)))
    middle = rows.shape[0] - 1 - jnp.sum(counts) // 2
    return ordered[jnp.clip(middle, 0, rows.shape[0] - 1)]


def center_of(first: Float[Array, "chunk size"]) -> Float[Array, " size"]:
    """The mean of the first chunk of rows, around which squared norms are small."""
    return jnp.mean(jnp.where(jnp.isfinite(first), first, jnp.zeros_like(first)), axis=0)


def to_power_of_two(index: np.ndarray) -> np.ndarray:
    """`index` with the last one repeated, so that few programs are compiled for their count."""
    padded = np.resize(index, 2 ** int(np.ceil(np.log2(index.size))))
    padded[index.size :] = index[-1]
    return padded


def read_again(
    data: Any, index: Int[Array, "queries count"]
) -> tuple[Float[Array, "some size"], Int[Array, "queries count"]]:
    """The rows of `data` that `index` names, each once, and where among them each entry is."""
    which, place = np.unique(np.asarray(index), return_inverse=True)
    if is_on_host(data):  # rows read lazily take a rising list, each number once
        rows = np.asarray(data[which])[to_power_of_two(np.arange(which.size))]
        rows = read_rows(rows, slice(None))
    else:
        rows = read_rows(data, to_power_of_two(which))
    return rows, jnp.asarray(place.reshape(index.shape), jnp.int32)


class RowChunk(NamedTuple):
    """A chunk of rows on the device.

    Attributes:
        rows: the rows, less the center.
        squares: their squared norms.
        first: the number of the first of them.
        new: the numbers [from, to) of those that no chunk before held.
    """

    rows: Float[Array, "chunk size"]
    squares: Float[Array, " chunk"]
    first: int
    new: tuple[int, int]


def row_chunks(
    data: Any, chunk_size: int, dtype: Any, center: Float[Array, " size"] | None
) -> Iterator[RowChunk]:
    """Every row once, in chunks of one size, read from the host as they are asked for.

    Of a JAX array the last chunk reaches back over rows of the one before; of other rows, which
    are read only once, it is filled up with the last row.
    """
    total = data.shape[0]
    chunk_size = min(chunk_size, total)
    for start in range(0, total, chunk_size):
        stop = min(start + chunk_size, total)
        if not isinstance(data, jax.Array):
            rows = as_numbers(data[start:stop]).reshape(stop - start, -1)
            spare = chunk_size - rows.shape[0]
            rows = np.pad(rows, ((0, spare), (0, 0)), mode="edge") if spare else rows
            first = start
            rows, squares = _prepared(rows, center, dtype)
        else:
            first = min(start, total - chunk_size)
            rows, squares = _cut(data, jnp.int32(first), chunk_size, center, dtype)
        yield RowChunk(rows, squares, first, (start, stop))


@functools.partial(jax.jit, static_argnums=2)
def _prepared(rows: Any, center: Any, dtype: Any) -> tuple[Array, Array]:
    rows = centered(rows, center, dtype)
    return rows, jnp.sum(rows * rows, axis=1)


def centered(rows: Any, center: Float[Array, " size"] | None, dtype: Any) -> Array:
    """Rows in `dtype`, less `center`."""
    rows = rows.astype(dtype)
    return rows if center is None else rows - center.astype(dtype)[None, :]


@functools.partial(jax.jit, static_argnums=(2, 4))
def _cut(data: Any, first: Any, chunk_size: int, center: Any, dtype: Any) -> tuple[Array, Array]:
    rows = jax.lax.dynamic_slice_in_dim(data, first, chunk_size)
    return _prepared(rows.reshape(chunk_size, -1), center, dtype)


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
