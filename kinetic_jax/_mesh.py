"""Device meshes: where arrays are placed, and whether a trace is of one device's part."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, PyTree

from kinetic_jax._checks import is_concrete, require, short

T = TypeVar("T")


def checked_mesh(mesh: object) -> Mesh:
    """`mesh` with axes of type Auto: results then behave like any other array.

    (Arrays on Explicit axes, the default of `jax.make_mesh`, carry their sharding in their type,
    and plain indexing refuses them.)

    Raises:
        ValueError: if it is not a mesh of devices.
    """
    if not isinstance(mesh, Mesh):
        raise ValueError(f"mesh must be a jax.sharding.Mesh of devices, got {short(mesh)}")
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def refuse_split(name: str, tree: PyTree[Any]) -> None:
    """Raises if an array is split over Explicit axes of a mesh, which must then be named.

    Raises:
        ValueError: naming the axes.
    """
    for leaf in jax.tree.leaves(tree):
        axes = _explicit_axes(leaf)
        if axes:
            raise ValueError(
                f"{name} must be whole where no mesh is given, got an array split over {axes}: "
                "pass mesh=, the mesh it is split over"
            )


def _explicit_axes(leaf: object) -> list[str | tuple[str, ...]]:
    """The Explicit axes of a mesh that an array is split over."""
    sharding = jax.typeof(leaf).sharding if isinstance(leaf, jax.Array) else None
    return [axis for axis in getattr(sharding, "spec", ()) if axis is not None]


def gathered(name: str, array: T) -> T | np.ndarray:
    """`array`, in the host's memory if it is split over Explicit axes: for work on the host.

    Raises:
        ValueError: if other processes hold parts of it.
    """
    is_split = bool(_explicit_axes(array)) and is_concrete(array)
    if not isinstance(array, jax.Array) or not is_split:
        return array
    where = f"an array split over {_explicit_axes(array)} with parts in other processes"
    require(array.is_fully_addressable, name, where, "be whole in this process")
    return np.asarray(array)


@contextlib.contextmanager
def alone_on(mesh: Mesh, arrays: PyTree[Any]) -> Iterator[bool]:
    """Unsets the caller's mesh while a program for `mesh` runs.

    In a trace, where a mesh cannot be unset, the one that is set takes the types of `mesh`. Yields
    True if no mesh is set.
    """
    if jax.sharding.get_abstract_mesh().empty:
        yield True
        return
    free = is_concrete(arrays)
    try:
        context: contextlib.AbstractContextManager[object] = (
            jax.set_mesh(None) if free else contextlib.nullcontext()
        )
    except ValueError:  # in a trace over other arrays than these
        free, context = False, contextlib.nullcontext()
    with context, contextlib.ExitStack() as stack:
        if not free:
            stack.enter_context(jax.sharding.use_abstract_mesh(mesh.abstract_mesh))
        yield free


def in_caller_types(tree: T, mesh: Mesh, specs: PyTree[PartitionSpec]) -> T:
    """`tree`, laid out on Auto axes of `mesh` by `specs`, resharded to the caller's mesh.

    Without a mesh of the same axes and of Explicit types nothing changes.
    """
    outer = jax.sharding.get_abstract_mesh()
    if AxisType.Explicit not in outer.axis_types or outer.axis_names != mesh.axis_names:
        return tree
    if isinstance(specs, PartitionSpec):
        specs = jax.tree.map(lambda _: specs, tree)
    return jax.tree.map(jax.reshard, tree, specs)


def untyped_axes(work: Callable[..., T]) -> Callable[..., T]:
    """`work(*args)` with the Explicit axes of a mesh as Auto ones; its results are replicated.

    A program that indexes, or loops over what is split, needs it. Under `jax.vmap` only axes of
    ONE call are meant: a batch that is split stays so.
    """

    @functools.wraps(work)
    def call(*args: PyTree[Any]) -> T:
        arrays, static = eqx.partition(args, eqx.is_array)
        own = (jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(arrays))
        meshes = (jax.sharding.get_abstract_mesh(), *own)
        mesh = next((mesh for mesh in meshes if AxisType.Explicit in mesh.axis_types), None)
        if mesh is None:
            return work(*args)

        def run(arrays: PyTree[Any]) -> T:
            return work(*eqx.combine(arrays, static))

        spec = NamedSharding(mesh, PartitionSpec())
        return jax.sharding.auto_axes(run, out_sharding=spec)(arrays)

    return call


def mesh_of(tree: PyTree[Any]) -> Mesh | None:
    """The mesh on which an array of `tree` lies, if one does."""
    shardings = (leaf.sharding for leaf in jax.tree.leaves(tree) if _is_on_mesh(leaf))
    return next((sharding.mesh for sharding in shardings), None)


def with_axes_of(mesh: Mesh, tree: T) -> T:
    """`tree` with the arrays that lie on a mesh split alike on `mesh`, of the same devices."""
    return jax.tree.map(
        lambda leaf: (
            jax.device_put(leaf, NamedSharding(mesh, leaf.sharding.spec))
            if _is_on_mesh(leaf)
            else leaf
        ),
        tree,
    )


def _is_on_mesh(leaf: object) -> bool:
    if not isinstance(leaf, jax.Array) or not is_concrete(leaf):
        return False
    return isinstance(leaf.sharding, NamedSharding)


def split_alike(tree: T) -> T:
    """`tree` with leading axes split as that of its first array split over Explicit axes.

    `jax.vmap` asks for that; where no array is split so, nothing changes.
    """
    like = next((leaf for leaf in jax.tree.leaves(tree) if _leading_axis(leaf) is not None), None)
    if like is None:
        return tree

    def place(leaf: Array) -> Array:
        if _leading_axis(leaf) == _leading_axis(like):
            return leaf
        spec = PartitionSpec(_leading_axis(like), *jax.typeof(leaf).sharding.spec[1:])
        if is_concrete((leaf, like)):
            return jax.device_put(leaf, NamedSharding(like.sharding.mesh, spec))
        return jax.reshard(leaf, NamedSharding(jax.typeof(like).sharding.mesh, spec))

    return jax.tree.map(place, tree)


def _leading_axis(array: Array) -> str | tuple[str, ...] | None:
    """The Explicit mesh axes over which the first axis of an array is split, if it is."""
    spec = jax.typeof(array).sharding.spec
    return spec[0] if spec else None


def is_inside(axis: str) -> bool:
    """True in the trace of ONE device's work along `axis` of a mesh."""
    return axis in jax.sharding.get_abstract_mesh().manual_axes


def is_checked() -> bool:
    """True inside a `jax.shard_map` that checks what differs between devices."""
    numbers = map(jax.lax.axis_index, jax.sharding.get_abstract_mesh().manual_axes)
    return any(jax.typeof(own) != jax.typeof(jnp.zeros((), own.dtype)) for own in numbers)


def refuse_varying(name: str, value: object, *trees: PyTree[Any]) -> None:
    """Raises if an array may differ between the devices of a checked `jax.shard_map`.

    Raises:
        ValueError: naming the argument that makes Diffrax solve something.
    """
    if not is_checked():
        return
    alike = jax.typeof(jnp.zeros((), bool))
    arrays = filter(eqx.is_array, jax.tree.leaves(trees))
    if any(jax.typeof(jnp.zeros_like(leaf, bool, shape=())) != alike for leaf in arrays):
        raise ValueError(
            f"{name} must be used outside of a jax.shard_map that checks what differs between "
            f"devices, got {value} inside: the loops of Diffrax do not pass the checks; give "
            "jax.shard_map check_vma=False"
        )


def varied_as(tree: T, function: Callable[..., PyTree[Any]], *args: PyTree[Any]) -> T:
    """`tree` marked as varying over devices where the outputs of `function(*args)` do.

    Zeros are the same on every device, and a `jax.shard_map` with its checks on refuses a loop
    that begins with them and goes on with what differs. The function is called for its types
    alone, so XLA drops its numbers; outside of such a `shard_map` it is not called.
    """
    if not is_checked():
        return tree
    leaves = filter(eqx.is_array, jax.tree.leaves(function(*args)))
    marks = [jnp.zeros_like(leaf, bool, shape=()) for leaf in leaves]
    mark = functools.reduce(jnp.logical_or, marks)
    return jax.tree.map(lambda leaf: jnp.where(mark, leaf, leaf), tree)


def varying_loop(
    step: Callable[..., Any], start: T, xs: PyTree[Array]
) -> tuple[Callable[..., Any], T]:
    """`step` and `start` of `jax.lax.scan(step, start, xs)`, typed for a checked `shard_map`."""
    if not is_checked():
        return step, start

    def once() -> tuple[T, T]:
        return start, step(start, jax.tree.map(lambda leaf: leaf[0], xs))[0]

    def alike(carry: T, x: PyTree[Array]) -> tuple[T, PyTree[Array]]:
        after, y = step(carry, x)
        return varied_as(after, lambda: carry), y

    return alike, varied_as(start, once)


def placed(tree: T, mesh: Mesh, spec: PartitionSpec) -> T:
    """`tree` with its arrays where `spec` says; with several processes, each gives its part.

    Arrays that are already placed are not moved, nor are those of a trace over several processes.
    """
    sharding = NamedSharding(mesh, spec)

    def place(leaf: ArrayLike) -> Array:
        if isinstance(leaf, jax.core.Tracer) and not sharding.is_fully_addressable:
            return leaf
        # `device_put` to devices of other processes would first compare the arrays of all.
        if sharding.is_fully_addressable or not getattr(leaf, "is_fully_addressable", True):
            return jax.device_put(leaf, sharding)
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

    return jax.tree.map(place, tree)


def replicated(tree: T, mesh: Mesh) -> T:
    """`tree` with its arrays whole on every device of a mesh, so that no later call moves them."""
    arrays, static = eqx.partition(tree, eqx.is_array)
    return eqx.combine(placed(arrays, checked_mesh(mesh), PartitionSpec()), static)
