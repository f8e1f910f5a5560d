"""Evaluating a network on a batch: at once on accelerators, in slices that fit the cache on CPU."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, PyTree

# Bytes of one activation at full resolution that a slice may have: a core's share of the cache.
ROOM = 2**21


@functools.partial(jax.jit, static_argnums=(0, 1))
def evaluate(
    network: Callable[..., Array],
    sample_bytes: int,
    weights: PyTree[Any],
    t: Array,
    x: Array,
    label: Array | None,
) -> Array:
    """`network(weights, t, x, label)` for a network whose samples do not meet.

    On CPU a batch runs in slices, one after another, so that one layer's result is still in cache
    when the next one reads it. Under `vmap` the mapped axis joins the batch, so that the slices
    are the same. Derivatives, of either mode, are those of the network on the whole batch: a loop
    would have to keep what the backward pass needs slice by slice.

    To be called under `jit`: outside of it a map or a derivative is traced anew at every call.

    Args:
        network: called as above; hashable, so that what was compiled is found again.
        sample_bytes: bytes of a sample's activations at full resolution.
        weights: of the network.
        t: times of shape (1,) or (batch,).
        x: of shape (batch, *event).
        label: of shape (batch,), or None.
    """

    @custom_vmap
    def forward(weights: Any, t: Array, x: Array, label: Any) -> Array:
        sliced = functools.partial(_in_slices, network, sample_bytes)
        return jax.lax.platform_dependent(weights, t, x, label, cpu=sliced, default=network)

    @forward.def_vmap
    def mapped(size: int, is_mapped: Any, weights: Any, *inputs: Any) -> tuple[Array, bool]:
        if any(jax.tree.leaves(is_mapped[0])):  # a network each
            axes = jax.tree.map(lambda mapped: 0 if mapped else None, tuple(is_mapped))
            return jax.vmap(network, axes)(weights, *inputs), True
        return _joined(functools.partial(forward, weights), size, is_mapped[1:], *inputs), True

    @jax.custom_jvp
    def differentiable(*primals: Any) -> Array:
        return forward(*primals)

    @functools.partial(differentiable.defjvp, symbolic_zeros=True)
    def directional(primals: Any, tangents: Any) -> tuple[Array, Array]:
        return _derivative(network, primals, tangents)

    return differentiable(weights, t, x, label)


def _in_slices(
    network: Callable[..., Array], sample_bytes: int, weights: Any, t: Array, x: Array, label: Any
) -> Array:
    batch = x.shape[0]
    fitting = max(ROOM // sample_bytes, 1)
    # A divisor of the batch; 0 of an empty one.
    size = max((size for size in range(1, min(batch, fitting) + 1) if batch % size == 0), default=0)
    if size == batch or 2 * size < fitting:  # small slices cost more than they save
        return network(weights, t, x, label)

    def cut(leaf: Array) -> Array:
        # Every slice takes samples from all over the batch, so that one which is spread over
        # devices is cut on each of them.
        return leaf.reshape(size, batch // size, *leaf.shape[1:]).swapaxes(0, 1)

    def one(inputs: Any) -> Array:
        x, each_t, label = inputs
        return network(weights, t if each_t is None else each_t, x, label)

    result = jax.lax.map(one, jax.tree.map(cut, (x, None if t.shape == (1,) else t, label)))
    return result.swapaxes(0, 1).reshape(batch, *result.shape[2:])


def _joined(
    call: Callable[..., Array], size: int, is_mapped: Any, t: Array, x: Array, label: Any
) -> Array:
    """The call on a batch of (size · batch), of inputs with an axis more where they are mapped."""
    t_mapped, x_mapped, label_mapped = is_mapped
    batch = x.shape[1] if x_mapped else x.shape[0]

    def join(leaf: Array, mapped: bool, width: int) -> Array:
        leaf = leaf if mapped else leaf[None]
        event = leaf.shape[2:]
        return jax.numpy.broadcast_to(leaf, (size, width, *event)).reshape(size * width, *event)

    if t_mapped or t.shape != (1,) or label is not None:
        t = join(t, t_mapped, batch)
    label = None if label is None else join(label, label_mapped, batch)
    result = call(t, join(x, x_mapped, batch), label)
    return result.reshape(size, batch, *result.shape[1:])


def _derivative(network: Callable[..., Array], primals: Any, tangents: Any) -> tuple[Array, Array]:
    """The network and its derivative, along those inputs only that do change."""
    values, structure = jax.tree.flatten(primals)
    changes = jax.tree.leaves(tangents)
    moving = [i for i, change in enumerate(changes) if not isinstance(change, SymbolicZero)]

    def along(*moved: Any) -> Array:
        given = dict(zip(moving, moved, strict=True))
        merged = [given.get(i, value) for i, value in enumerate(values)]
        return network(*jax.tree.unflatten(structure, merged))

    return jax.jvp(along, [values[i] for i in moving], [changes[i] for i in moving])
