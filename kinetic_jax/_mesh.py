"""Device meshes: where arrays are placed, and whether a trace is of one device's part."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from kinetic_jax._checks import require


def checked_mesh(mesh: Any) -> Mesh:
    """`mesh` with axes of type Auto: results then behave like any other array.

    (Arrays on Explicit axes, the default of `jax.make_mesh`, carry their sharding in their type,
    and plain indexing refuses them.)

    Raises:
        ValueError: if it is no mesh of devices.
    """
    require(isinstance(mesh, Mesh), "mesh", repr(mesh), "be a jax.sharding.Mesh of devices")
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


@contextlib.contextmanager
def alone_on(mesh: Mesh) -> Iterator[None]:
    """Lets a program for `mesh` be called where the user has set another mesh, or other types."""
    with contextlib.nullcontext() if jax.sharding.get_abstract_mesh().empty else jax.set_mesh(mesh):
        yield


def is_inside(axis: str) -> bool:
    """Whether what is being traced is the work of ONE device along `axis` of a mesh."""
    return axis in jax.sharding.get_abstract_mesh().manual_axes


def placed(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    """`tree` with its arrays where `spec` says; with several processes, each gives its part.

    Arrays that are there already are not moved, and those of an outer trace are left to it.
    """
    sharding = NamedSharding(mesh, spec)

    def place(leaf: Any) -> Any:
        if isinstance(leaf, jax.core.Tracer):
            return leaf
        # `device_put` to devices of other processes would first compare the arrays of all.
        if sharding.is_fully_addressable or not getattr(leaf, "is_fully_addressable", True):
            return jax.device_put(leaf, sharding)
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

    return jax.tree.map(place, tree)
