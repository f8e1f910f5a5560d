"""Rows of data, in memory or read from the host in chunks, and what is known of each."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int

from kinetic_jax._checks import float_array, is_concrete, numbers, require, require_finite
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import untyped_axes
from kinetic_jax._streaming._reductions import lowest

DEFAULT_CHUNK_SIZE = 4096


@runtime_checkable
class LazyRows(Protocol):
    """An array-like that reads rows when it is indexed, such as an h5py or zarr dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, *event)."""

    @property
    def dtype(self) -> DTypeLike:
        """Anything that `numpy.dtype` accepts."""

    def __getitem__(self, index: slice | np.ndarray, /) -> Any:
        """The rows of a slice, or of an increasing list of numbers."""


Rows: TypeAlias = Array | np.ndarray | LazyRows


def is_on_host(data: object) -> bool:
    """True for rows to be streamed from the host: memmaps and lazy array-likes."""
    in_memory = isinstance(data, jax.Array | np.ndarray | list | tuple)
    return isinstance(data, np.memmap) or not in_memory


def checked_rows(name: str, data: Any) -> tuple[int, ...]:
    """The shape (rows, *event) of `data`, an array-like of real numbers with at least one row."""
    data = data if hasattr(data, "shape") else numbers(name, data)
    shape = tuple(data.shape)
    require(len(shape) >= 1, name, f"shape {shape}", "have a leading axis of rows")
    require(shape[0] >= 1, name, f"shape {shape}", "have rows")
    require(int(np.prod(shape)) >= 1, name, f"shape {shape}", "have rows that are not empty")
    require(shape[0] < 2**31, name, f"{shape[0]} rows", "have fewer than 2³¹")
    dtype = np.dtype(data.dtype)
    real = np.issubdtype(dtype, np.number) and dtype.kind != "c"
    is_real = real or dtype == jnp.bfloat16 or dtype.kind == "b"
    require(is_real, name, f"dtype {dtype}", "hold real numbers")
    return shape


def checked_labels(labels: ArrayLike, rows: int) -> Int[Array, " rows"]:
    """Classes as int32.

    Raises:
        ValueError: if they are not whole numbers from 0 to 2³¹ − 1, one a row.
    """
    given = numbers("labels", labels) if is_concrete(labels) else jnp.asarray(labels)
    is_integer = jnp.issubdtype(given.dtype, jnp.integer)
    require(is_integer, "labels", f"dtype {given.dtype}", "be whole numbers")
    require(given.shape == (rows,), "labels", f"shape {given.shape}", f"have shape {(rows,)}")
    if is_concrete(given):
        require(int(given.min()) >= 0, "labels", given.min(), "not be negative")
        require(int(given.max()) < 2**31, "labels", given.max(), "be below 2³¹")
    return jnp.asarray(given.astype(np.int32))


def checked_log_weights(weights: ArrayLike, rows: int) -> Float[Array, " rows"]:
    """Logarithms of weights, the lowest number for a weight of 0.

    Raises:
        ValueError: if they are not finite numbers, one a row, none negative and one positive.
    """
    given = float_array(weights, "weights").astype(jax.dtypes.canonicalize_dtype(float))
    require(given.shape == (rows,), "weights", f"shape {given.shape}", f"have shape {(rows,)}")
    require_finite("weights", given)
    if is_concrete(given):
        values = np.asarray(given)
        require(bool(np.all(values >= 0)), "weights", values.min(), "not be negative")
        require(bool(np.any(values > 0)), "weights", "zeros alone", "be positive somewhere")
    positive = given > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, given, 1.0)), lowest(given.dtype))


def as_numbers(data: Rows) -> Array | np.ndarray:
    """Prepared for JAX: in native byte order, and large integers, which it may wrap, as floats."""
    if isinstance(data, jax.Array):
        return data
    array = np.asarray(data)
    if array.dtype.kind in "iu" and array.dtype.itemsize >= 4:
        return array.astype(jax.dtypes.canonicalize_dtype(float))
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def read_rows(data: Rows, index: slice | np.ndarray) -> Float[Array, "chunk size"]:
    """The rows `data[index]`, flattened, on the device, in float32 (or float64)."""
    total = data.shape[0]
    is_all = isinstance(index, slice) and index.indices(total) == (0, total, 1)
    rows = as_numbers(data if is_all and isinstance(data, jax.Array) else data[index])
    rows = jnp.asarray(rows.reshape(rows.shape[0], -1))
    return rows.astype(at_least_float32(rows.dtype))


@dataclasses.dataclass(frozen=True)
class Scaled:
    """Rows multiplied by a power of two when they are read."""

    rows: Rows
    factor: float

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.rows.shape)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(at_least_float32(np.dtype(self.rows.dtype)))

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        return np.asarray(as_numbers(self.rows[index])).astype(self.dtype) * self.factor


def balance(*sets: Float[Array, "..."]) -> float:
    """A scale, a power of two, that keeps squared distances in float32's range.

    1 unless the median size of the rows is below 10⁻¹⁰ in every set, or above 10¹⁰ in one: a single
    row far out does not change the scale of the others. Typical rows are scaled to 2⁻³⁶, where
    float32 holds the square of a difference in their last digit, and of rows 10²⁹ times larger.
    """
    return scale_of(untyped_axes(_median_sizes)(*sets))


def survey(
    first: Float[Array, "chunk size"], queries: Float[Array, "queries size"]
) -> tuple[float, Float[Array, " size"]]:
    """`balance(first, queries)`, and the mean of the first rows at that scale, in one program."""
    sizes, center = untyped_axes(_survey)(first, queries)
    factor = scale_of(sizes)
    return factor, center if factor == 1 else center_of(first * factor)


def scale_of(median_sizes: Float[Array, " sets"]) -> float:
    """The scale of `balance`."""
    typical = float(np.max(np.asarray(median_sizes)))
    if typical == 0 or 1e-10 <= typical <= 1e10:
        return 1.0
    return float(2.0 ** np.clip(-36 - np.floor(np.log2(typical)), -120, 120))


@jax.jit
def _survey(
    first: Float[Array, "chunk size"], queries: Float[Array, "queries size"]
) -> tuple[Float[Array, "2"], Float[Array, " size"]]:
    return _median_sizes(first, queries), center_of(first)


@jax.jit
def _median_sizes(*sets: Float[Array, "..."]) -> Float[Array, " sets"]:
    return jnp.stack(jax.tree.map(_median_size, sets))


def _median_size(rows: Float[Array, "rows *event"]) -> Float[Array, ""]:
    """The median over rows of the largest magnitude; zero and non-finite rows do not count."""
    sizes = jnp.max(jnp.abs(rows.reshape(rows.shape[0], -1)), axis=1, initial=0.0)
    counts = jnp.isfinite(sizes) & (sizes > 0)
    ascending = jnp.sort(jnp.where(counts, sizes, jnp.zeros_like(sizes)))
    middle = rows.shape[0] - 1 - jnp.sum(counts) // 2
    return ascending[jnp.clip(middle, 0, rows.shape[0] - 1)]


def center_of(first: Float[Array, "chunk size"]) -> Float[Array, " size"]:
    """The mean of the first chunk of rows, around which squared norms are small."""
    return jnp.mean(jnp.where(jnp.isfinite(first), first, jnp.zeros_like(first)), axis=0)


@functools.partial(jax.jit, static_argnames="count")
def centered_squares(
    data: Float[Array, "rows *event"], count: int
) -> tuple[Float[Array, " size"], Float[Array, " rows"]]:
    """The mean c of the first `count` rows, and ||x_i − c||²: not finite for rows that are not.

    The other rows are copies of the last, which fill up devices. The centre has no derivatives:
    no result depends on where it is.
    """
    rows = data.reshape(data.shape[0], -1)
    fixed, spare = jax.lax.stop_gradient(rows), rows.shape[0] - count
    center = jnp.mean(fixed, axis=0)
    if spare:
        center = center + (center - fixed[-1]) * (spare / count)
    center = jnp.where(jnp.isfinite(center), center, 0.0)  # so that a bad row spoils no other
    return center, jnp.sum((rows - center[None, :]) ** 2, axis=1)


def to_power_of_two(index: np.ndarray) -> np.ndarray:
    """`index` padded with its last entry to a power of two, to limit compilations."""
    padded = np.resize(index, 2 ** int(np.ceil(np.log2(index.size))))
    padded[index.size :] = index[-1]
    return padded


def read_again(
    data: Rows, index: Int[Array, "queries count"]
) -> tuple[Float[Array, "distinct size"], Int[Array, "queries count"]]:
    """The distinct rows of `data` in `index`, and the position of each entry among them."""
    distinct, position = np.unique(np.asarray(index), return_inverse=True)
    if is_on_host(data):  # lazy rows take increasing, distinct numbers
        rows = np.asarray(data[distinct])[to_power_of_two(np.arange(distinct.size))]
        rows = read_rows(rows, slice(None))
    else:
        rows = read_rows(data, to_power_of_two(distinct))
    return rows, jnp.asarray(position.reshape(index.shape), jnp.int32)


class RowChunk(NamedTuple):
    """A chunk of rows on the device."""

    rows: Float[Array, "chunk size"]  # minus the center
    squares: Float[Array, " chunk"]  # squared norms
    first: int  # number of the first row
    new: tuple[int, int]  # the range [start, stop) of rows that no earlier chunk held


def row_chunks(
    data: Rows, chunk_size: int, dtype: DTypeLike, center: Float[Array, " size"] | None
) -> Iterator[RowChunk]:
    """Yields all rows in chunks of equal size, each read from the host once.

    The last chunk overlaps the one before, if `data` is a JAX array, or else is padded with
    copies of the last row.
    """
    total = data.shape[0]
    chunk_size = min(chunk_size, total)
    for start in range(0, total, chunk_size):
        stop = min(start + chunk_size, total)
        if not isinstance(data, jax.Array):
            chunk = np.asarray(as_numbers(data[start:stop])).reshape(stop - start, -1)
            padding = chunk_size - len(chunk)
            chunk = np.pad(chunk, ((0, padding), (0, 0)), mode="edge") if padding else chunk
            first = start
            rows, squares = _with_squares(chunk, center, dtype)
        else:
            first = min(start, total - chunk_size)
            rows, squares = _slice_with_squares(data, jnp.int32(first), chunk_size, center, dtype)
        yield RowChunk(rows, squares, first, (start, stop))


def centered(rows: Array, center: Float[Array, " size"] | None, dtype: DTypeLike) -> Array:
    """Rows in `dtype`, minus `center`."""
    rows = rows.astype(dtype)
    return rows if center is None else rows - center.astype(dtype)[None, :]


@functools.partial(jax.jit, static_argnums=2)
def _with_squares(rows: Array, center: Array | None, dtype: DTypeLike) -> tuple[Array, Array]:
    rows = centered(rows, center, dtype)
    return rows, jnp.sum(rows * rows, axis=1)


@functools.partial(jax.jit, static_argnums=(2, 4))
def _slice_with_squares(
    data: Array, first: Array, chunk_size: int, center: Array | None, dtype: DTypeLike
) -> tuple[Array, Array]:
    rows = jax.lax.dynamic_slice_in_dim(data, first, chunk_size)
    return _with_squares(rows.reshape(chunk_size, -1), center, dtype)


def require_finite_rows(name: str, start: int, squares: Float[np.ndarray, " chunk"]) -> None:
    """Checks that all squared norms of a chunk of rows are finite."""
    broken = np.flatnonzero(~np.isfinite(squares))
    if broken.size:
        raise ValueError(
            f"{name} must be finite, and so must its rows' squared norms, got row "
            f"{start + int(broken[0])} that is not ({broken.size} of {squares.shape[0]} in this "
            "chunk)"
        )
