"""Rows split over the devices of a mesh: each device streams its own part.

`Shards.first` and `take_rows` run on ONE device, inside `jax.shard_map`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from kinetic_jax._checks import require
from kinetic_jax._mesh import checked_mesh
from kinetic_jax._streaming._rows import Rows, as_numbers


class Shards(NamedTuple):
    """The split of rows over a mesh; hashable, so that it can be static."""

    mesh: Mesh
    axis: str  # over which rows are split in equal parts
    total: int  # number of rows, without the padding at the end of the last part

    @property
    def spec(self) -> PartitionSpec:
        """The partition of an array with a leading axis of rows."""
        return PartitionSpec(self.axis)

    def first(self, rows: int) -> Int[Array, ""]:
        """The number of this device's first row, where every device has `rows` rows."""
        return jax.lax.axis_index(self.axis).astype(jnp.int32) * jnp.int32(rows)


def checked_shards(mesh: Mesh | None, axis: str | None, total: int) -> Shards | None:
    """The split of `total` rows over one axis of a mesh; None without a mesh."""
    if mesh is None:
        require(axis is None, "axis", repr(axis), "be left out without mesh")
        return None
    mesh = checked_mesh(mesh)
    names = mesh.axis_names
    is_axis = axis in names or (axis is None and len(names) == 1)
    require(is_axis, "axis", repr(axis), f"be one of the mesh's, {names}")
    return Shards(mesh, names[0] if axis is None else axis, total)


def split_rows(data: Rows, shards: Shards) -> Array:
    """`data` split over the devices, padded with copies of its last row.

    Each process reads only the parts of its own devices, so `data` may be a memmap.
    """
    sharding = NamedSharding(shards.mesh, shards.spec)
    total = data.shape[0]
    padded = total + -total % shards.mesh.shape[shards.axis]
    read: Callable[[Rows], np.ndarray]
    if isinstance(data, jax.Array):
        if padded == total:
            return jax.device_put(data, sharding)
        if isinstance(data, jax.core.Tracer) or not data.is_fully_addressable:
            padding = jnp.repeat(data[-1:], padded - total, axis=0)
            return jax.device_put(jnp.concatenate([data, padding]), sharding)
        data, read = np.asarray(data), np.asarray
    else:

        def read(rows: Rows) -> np.ndarray:
            return np.asarray(as_numbers(np.asarray(rows)))

    def read_part(index: Any) -> np.ndarray:
        start, stop, _ = index[0].indices(padded)
        rows = read(data[min(start, total - 1) : min(stop, total)])
        padding = ((0, stop - start - len(rows)), *((0, 0),) * (rows.ndim - 1))
        return np.pad(rows, padding, mode="edge")

    dtype = jax.dtypes.canonicalize_dtype(read(data[:1]).dtype)
    shape = (padded, *data.shape[1:])
    return jax.make_array_from_callback(shape, sharding, read_part, dtype=dtype)


def take_rows(array: Array, number: Int[Array, "*numbers"], shards: Shards | None) -> Array:
    """`array[number]`, gathered from the devices that hold those rows."""
    if shards is None:
        return array[number]
    place = number - shards.first(array.shape[0])
    is_here = (place >= 0) & (place < array.shape[0])
    rows = array[jnp.clip(place, 0, array.shape[0] - 1)]
    is_here = is_here.reshape(is_here.shape + (1,) * (rows.ndim - is_here.ndim))
    return jax.lax.psum(jnp.where(is_here, rows, jnp.zeros_like(rows)), shards.axis)
