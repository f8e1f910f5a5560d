"""Sampling over a mesh of devices: each one samples rows of its own and waits for no other."""

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import require
from kinetic_jax._mesh import alone_on, in_caller_types, placed, replicated
from kinetic_jax._open import OpenFunction
from kinetic_jax.fields import Field
from kinetic_jax.fields._field import own_mesh, partition_specs

WHOLE = PartitionSpec()
Plan: TypeAlias = PyTree[Any]  # how a batch is integrated: its arrays are traced


@runtime_checkable
class Batched(Protocol):
    """A result that knows which of its arrays have a batch axis, such as `Trajectories`."""

    def map_batch(self, of_batch: Callable[[Array], Any], of_times: Callable[[Array], Any]) -> Any:
        """`of_batch` of each array with a batch axis, `of_times` of each array of times."""


def on_mesh(
    mesh: Mesh | None,
    solve: Callable[..., Any],
    field: Field,
    x0: Float[Array, "batch *event"],
    *,
    axis: int = 0,
    own_steps: bool = False,
) -> Callable[..., Any]:
    """`solve`, a function of field, x0, cond and plan, with the batch split over the mesh.

    It is split over every axis of the mesh but those along which the field splits arrays of its
    own. The compiled program has no collective. A batch that does not divide is padded with
    copies of its last row, which another program removes afterwards; that gathers the result.

    Args:
        mesh: the mesh. None: the batch stays whole, on the devices of the field's own arrays.
        solve: from field, x0, cond and plan to `Trajectories`; compared by identity.
        field: the velocity field.
        x0: initial values.
        axis: the result's batch axis.
        own_steps: whether each sample steps on its own. Equinox's loops then compare numbers
            outside of the trace, which JAX refuses in a `shard_map` where a mesh is set: in a
            trace there XLA splits the program, whose devices step together.

    Raises:
        ValueError: when called, if the field's own arrays take up all axes of the mesh.
    """
    if mesh is not None and x0.shape[0]:
        return functools.partial(_solve_split, mesh, solve, axis, own_steps)
    own = own_mesh(field)
    return solve if own is None else functools.partial(_solve_whole, own, solve)


def _solve_whole(
    mesh: Mesh, solve: Callable[..., Any], field: Field, x0: Array, cond: PyTree[Array], plan: Plan
) -> Any:
    """All that the field meets on the devices over which it splits its own arrays."""
    with alone_on(mesh, (field, x0, cond, plan)):
        run = solve(field, *replicated((x0, cond, plan), mesh))
    return in_caller_types(run, mesh, WHOLE)


def _solve_split(
    mesh: Mesh,
    solve: Callable[..., Any],
    axis: int,
    own_steps: bool,
    field: Field,
    x0: Array,
    cond: PyTree[Array],
    plan: Plan,
) -> Any:
    specs, free = _split(field, mesh)
    batch, pieces = x0.shape[0], _size(mesh, free)
    spare = -batch % pieces
    fill = functools.partial(_filled, spare=spare)
    rows = placed((fill(x0), jax.tree.map(fill, cond)), mesh, PartitionSpec(free))
    field, plan = _placed_field(field, specs, mesh), replicated(plan, mesh)
    with alone_on(mesh, (field, rows, plan)) as is_alone:
        if is_alone or not own_steps:
            run = _solve_on_devices(mesh, solve, axis, tuple(specs), free, field, rows, plan)
        else:
            run = solve(field, *rows, plan)
        run = _trimmed(run, mesh, axis, batch) if spare else run
    return in_caller_types(run, mesh, _result_specs(run, axis, () if spare else free))


def solve_together(
    mesh: Mesh, solve: Callable[..., Any], field: Field, x0: Array, cond: PyTree[Array], plan: Plan
) -> Any:
    """`solve(field, x0, cond, plan)` as one program that XLA splits over the mesh, by the batch.

    Raises:
        ValueError: if the batch does not divide by the devices that it is split over.
    """
    specs, free = _split(field, mesh)
    pieces = _size(mesh, free)
    expected = f"divide by the {pieces} devices that it is split over"
    require(x0.shape[0] % pieces == 0, "x0", f"{x0.shape[0]} rows", expected)
    rows = placed((x0, cond), mesh, PartitionSpec(free))
    field, plan = _placed_field(field, specs, mesh), replicated(plan, mesh)
    with alone_on(mesh, (field, rows, plan)):
        reduced = solve(field, *rows, plan)
    return in_caller_types(reduced, mesh, WHOLE)


def _split(field: Field, mesh: Mesh) -> tuple[list[PartitionSpec], tuple[str, ...]]:
    """The layout of the field's arrays on the mesh, and the axes that are left for the batch."""

    def closed(node: object) -> bool:
        return isinstance(node, OpenFunction)

    functions = filter(closed, jax.tree.leaves(field, is_leaf=closed))
    hidden = [a.shape for function in functions for a in function.arrays if _is_split(a)]
    expected = "hold the arrays that it splits over devices as a pytree, not close over them"
    require(not hidden, "field", hidden, expected)
    specs = partition_specs(field, mesh)
    own = {name for spec in specs for name in _names(spec)}
    free = tuple(name for name in mesh.axis_names if name not in own)
    require(
        bool(free),
        "mesh",
        mesh.axis_names,
        "have an axis for the batch beside those of the field's data",
    )
    return specs, free


def _placed_field(field: Field, specs: list[PartitionSpec], mesh: Mesh) -> Field:
    arrays, static = eqx.partition(field, eqx.is_array)
    leaves, treedef = jax.tree.flatten(arrays)
    leaves = [placed(leaf, mesh, spec) for leaf, spec in zip(leaves, specs, strict=True)]
    return eqx.combine(jax.tree.unflatten(treedef, leaves), static)


@eqx.filter_jit
def _solve_on_devices(
    mesh: Mesh,
    solve: Callable[..., Any],
    axis: int,
    specs: tuple[PartitionSpec, ...],
    free: tuple[str, ...],
    field: Field,
    rows: tuple[Array, PyTree[Array]],
    plan: Plan,
) -> Any:
    arrays, static = eqx.partition((field, plan), eqx.is_array)
    leaves, treedef = jax.tree.flatten(arrays)
    specs = specs + (WHOLE,) * (len(leaves) - len(specs))

    def local(leaves: list[Array], x0: Array, cond: PyTree[Array]) -> Any:
        field, plan = eqx.combine(jax.tree.unflatten(treedef, leaves), static)
        return solve(field, x0, cond, plan)

    split = PartitionSpec(free)
    outputs = _result_specs(eqx.filter_eval_shape(solve, field, *rows, plan), axis, free)
    # Nothing is exchanged, so there is nothing to check of what devices have in common.
    run = jax.shard_map(
        local, mesh=mesh, in_specs=(list(specs), split, split), out_specs=outputs, check_vma=False
    )
    return run(leaves, *rows)


def _filled(leaf: Array, *, spare: int) -> Array:
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], spare, axis=0)]) if spare else leaf


@eqx.filter_jit
def _trimmed(run: Batched, mesh: Mesh, axis: int, batch: int) -> Batched:
    """The first `batch` rows: no split into equal parts, so that every device gets them all."""

    def cut(leaf: Array) -> Array:
        rows = jax.lax.slice_in_dim(leaf, 0, batch, axis=axis)
        return jax.lax.with_sharding_constraint(rows, NamedSharding(mesh, WHOLE))

    return run.map_batch(cut, lambda times: times)


def _result_specs(run: Batched, axis: int, axes: tuple[str, ...]) -> PyTree[PartitionSpec]:
    """The layout of a result's arrays on the mesh, the batch (its `axis`) split over `axes`."""
    split = PartitionSpec(*(None,) * axis, axes) if axes else WHOLE
    return run.map_batch(lambda _: split, lambda _: WHOLE)


def _is_split(leaf: object) -> bool:
    sharding = getattr(leaf, "sharding", None)
    return sharding is not None and not sharding.is_fully_replicated


def _names(spec: PartitionSpec) -> list[str]:
    """The mesh axes that a spec splits over."""
    pairs = (entry if isinstance(entry, tuple) else (entry,) for entry in spec)
    return [name for pair in pairs for name in pair if name is not None]


def _size(mesh: Mesh, axes: tuple[str, ...]) -> int:
    return int(np.prod([mesh.shape[name] for name in axes]))
