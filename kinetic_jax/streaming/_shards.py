"""Rows split over the devices of a mesh: each device streams its own, and what they find is merged.

Everything here but `split_rows` speaks for ONE device, inside `jax.shard_map`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from kinetic_jax._checks import require
from kinetic_jax._mesh import checked_mesh
from kinetic_jax.streaming._rows import as_numbers


class Shards(NamedTuple):
    """How rows are split; hashable, so that it can be static.

    Attributes:
        mesh: the mesh.
        axis: the axis of it that they are split over, in equal parts.
        total: how many rows there are; what fills the last part up comes after them.
    """

    mesh: Mesh
    axis: str
    total: int

    @property
    def spec(self) -> PartitionSpec:
        """Of an array with a leading axis of rows."""
        return PartitionSpec(self.axis)

    def first(self, rows: int) -> Int[Array, ""]:
        """The number of this device's first row, every device having `rows`."""
        return jax.lax.axis_index(self.axis).astype(jnp.int32) * jnp.int32(rows)


def checked_shards(mesh: Any, axis: str | None, total: int) -> Shards | None:
    """The split of `total` rows over one axis of a mesh; None where there is no mesh.

    Raises:
        ValueError: if there is no such mesh or axis, or it has several and none is named.
    """
    if mesh is None:
        require(axis is None, "axis", repr(axis), "be left out without mesh, of which it is one")
        return None
    mesh = checked_mesh(mesh)
    names = mesh.axis_names
    words = f"be one of the mesh's, {names}"
    require(axis in names or (axis is None and len(names) == 1), "axis", repr(axis), words)
    return Shards(mesh, names[0] if axis is None else axis, total)


def split_rows(data: Any, shards: Shards) -> Array:
    """`data` on the devices, each its part, filled up with copies of its last row.

    Each process reads the parts of its own devices alone, so that `data` may be a memmap.
    """
    sharding = NamedSharding(shards.mesh, shards.spec)
    read: Any = np.asarray
    rows = data.shape[0]
    padded = rows + -rows % shards.mesh.shape[shards.axis]
    if isinstance(data, jax.Array):
        if padded == rows:
            return jax.device_put(data, sharding)
        if isinstance(data, jax.core.Tracer) or not data.is_fully_addressable:
            spare = jnp.repeat(data[-1:], padded - rows, axis=0)
            return jax.device_put(jnp.concatenate([data, spare]), sharding)
        data = np.asarray(data)
    else:
        read = lambda rows: as_numbers(np.asarray(rows))  # noqa: E731

    def part(index: Any) -> np.ndarray:
        start, stop, _ = index[0].indices(padded)
        own = read(data[min(start, rows - 1) : min(stop, rows)])
        return np.pad(own, ((0, stop - start - len(own)), *((0, 0),) * (own.ndim - 1)), mode="edge")

    kind = read(data[:1]).dtype
    return jax.make_array_from_callback(
        (padded, *data.shape[1:]), sharding, part, dtype=jax.dtypes.canonicalize_dtype(kind)
    )


def take_rows(array: Array, number: Int[Array, "*some"], shards: Shards | None) -> Array:
    """`array[number]`, whichever devices hold those rows."""
    if shards is None:
        return array[number]
    place = number - shards.first(array.shape[0])
    mine = (place >= 0) & (place < array.shape[0])
    own = array[jnp.clip(place, 0, array.shape[0] - 1)]
    mine = mine.reshape(mine.shape + (1,) * (own.ndim - mine.ndim))
    return jax.lax.psum(jnp.where(mine, own, jnp.zeros_like(own)), shards.axis)
