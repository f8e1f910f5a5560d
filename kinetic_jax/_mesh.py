"""Device meshes: where arrays are placed, and whether a trace is of one device's part."""

import contextlib
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from kinetic_jax._checks import is_concrete, require


def checked_mesh(mesh: Any) -> Mesh:
    """`mesh` with axes of type Auto: results then behave like any other array.

    (Arrays on Explicit axes, the default of `jax.make_mesh`, carry their sharding in their type,
    and plain indexing refuses them.)

    Raises:
        ValueError: if it is no mesh of devices.
    """
    require(isinstance(mesh, Mesh), "mesh", repr(mesh), "be a jax.sharding.Mesh of devices")
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def refuse_split(name: str, tree: Any) -> None:
    """Raises if an array is split over Explicit axes of a mesh, which must then be named.

    Raises:
        ValueError: naming the axes.
    """
    for leaf in jax.tree.leaves(tree):
        sharding = jax.typeof(leaf).sharding if isinstance(leaf, jax.Array) else None
        axes = [axis for axis in getattr(sharding, "spec", ()) if axis is not None]
        if axes:
            raise ValueError(
                f"{name} must be whole where no mesh is given, got an array split over {axes}: "
                "pass mesh=, the mesh it is split over"
            )


@contextlib.contextmanager
def alone_on(mesh: Mesh, arrays: Any) -> Iterator[None]:
    """Lets a program for `mesh` be called where the user has set another mesh, or other types.

    In a trace, which `arrays` tell by being traced, only the trace is told.
    """
    context: Any = contextlib.nullcontext()
    if not jax.sharding.get_abstract_mesh().empty:
        context = (
            jax.set_mesh(mesh)
            if is_concrete(arrays)
            else jax.sharding.use_abstract_mesh(mesh.abstract_mesh)
        )
    with context:
        yield


def is_inside(axis: str) -> bool:
    """Whether what is being traced is the work of ONE device along `axis` of a mesh."""
    return axis in jax.sharding.get_abstract_mesh().manual_axes


def placed(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    """`tree` with its arrays where `spec` says; with several processes, each gives its part.

    Arrays that are there already are not moved; of an outer trace over several processes, they are
    left to it.
    """
    sharding = NamedSharding(mesh, spec)

    def place(leaf: Any) -> Any:
        if isinstance(leaf, jax.core.Tracer) and not sharding.is_fully_addressable:
            return leaf
        # `device_put` to devices of other processes would first compare the arrays of all.
        if sharding.is_fully_addressable or not getattr(leaf, "is_fully_addressable", True):
            return jax.device_put(leaf, sharding)
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

    return jax.tree.map(place, tree)


def replicated(tree: Any, mesh: Mesh) -> Any:
    """`tree` with its arrays whole on every device of a mesh, so that no later call moves them."""
    arrays, static = eqx.partition(tree, eqx.is_array)
    return eqx.combine(placed(arrays, checked_mesh(mesh), PartitionSpec()), static)
