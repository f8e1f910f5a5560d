"""Fields whose arrays are split over the devices of a mesh: the work of one device, and of all."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jax.sharding import PartitionSpec

from kinetic_jax._mesh import alone_on, in_caller_types, is_inside


def on_shards(work: Callable[..., Any]) -> Callable[..., Any]:
    """`work(field, *args)` on every device that holds a part of the field's rows, if any do.

    Inside `sample` over the same mesh the trace speaks for one device already.
    """

    @functools.wraps(work)
    def call(field: Any, *args: Any) -> Any:
        shards = field.shards
        if shards is None or is_inside(shards.axis):
            return work(field, *args)
        arrays, static = eqx.partition((field, args), eqx.is_array)
        leaves, treedef = jax.tree.flatten(arrays)
        own = field.partition_specs(shards.mesh)
        specs = own + [PartitionSpec()] * (len(leaves) - len(own))

        def local(leaves: list[Any]) -> Any:
            field, args = eqx.combine(jax.tree.unflatten(treedef, leaves), static)
            return work(field, *args)

        run = jax.shard_map(
            local,
            mesh=shards.mesh,
            in_specs=(specs,),
            out_specs=PartitionSpec(),
            check_vma=False,
            axis_names={shards.axis},
        )
        with alone_on(shards.mesh, leaves):
            found = run(leaves)
        return in_caller_types(found, shards.mesh, PartitionSpec())

    return call
