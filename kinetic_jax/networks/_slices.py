"""Evaluation of a network on a batch: in cache-sized slices on CPU, at once elsewhere."""

import functools
from collections.abc import Callable, Sequence

import jax
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, PyTree

# Maximum bytes of a slice's activation at full resolution: a core's share of the cache.
ROOM = 2**21


@functools.partial(jax.jit, static_argnums=(0, 1))
def evaluate(
    network: Callable[..., Array],
    sample_bytes: int,
    weights: PyTree,
    t: Array,
    x: Array,
    label: Array | None,
) -> Array:
    """`network(weights, t, x, label)` for a network that treats samples independently.

    On CPU a batch runs in slices, one after another, so that the result of a layer is still in
    cache when the next layer reads it. Under `vmap` the mapped axis joins the batch. Derivatives,
    in either mode, evaluate the whole batch, because a loop would store the residuals of every
    slice.

    Call it under `jit`: outside, each map or derivative is traced at every call.

    Args:
        network: hashable, so that compiled programs are reused.
        sample_bytes: bytes of a sample's activations at full resolution.
        weights: the weights of the network.
        t: times, shape (1,) or (batch,).
        x: samples, shape (batch, *event).
        label: labels, shape (batch,), or None.
    """

    @custom_vmap
    def forward(weights: PyTree, t: Array, x: Array, label: Array | None) -> Array:
        sliced = functools.partial(_in_slices, network, sample_bytes)
        return jax.lax.platform_dependent(weights, t, x, label, cpu=sliced, default=network)

    @forward.def_vmap
    def mapped(
        size: int, is_mapped: Sequence[PyTree[bool]], weights: PyTree, *inputs: PyTree
    ) -> tuple[Array, bool]:
        if any(jax.tree.leaves(is_mapped[0])):  # several networks
            axes = jax.tree.map(lambda mapped: 0 if mapped else None, tuple(is_mapped))
            return jax.vmap(network, axes)(weights, *inputs), True
        call = functools.partial(forward, weights)
        return _joined(call, size, is_mapped[1:], *inputs), True

    @jax.custom_jvp
    def differentiable(*primals: PyTree) -> Array:
        return forward(*primals)

    @functools.partial(differentiable.defjvp, symbolic_zeros=True)
    def directional(primals: PyTree, tangents: PyTree) -> tuple[Array, Array]:
        return _derivative(network, primals, tangents)

    return differentiable(weights, t, x, label)


def _in_slices(
    network: Callable[..., Array],
    sample_bytes: int,
    weights: PyTree,
    t: Array,
    x: Array,
    label: Array | None,
) -> Array:
    batch = x.shape[0]
    fitting = max(ROOM // sample_bytes, 1)
    # The largest divisor of the batch that fits; 0 for an empty batch.
    size = max((size for size in range(1, min(batch, fitting) + 1) if batch % size == 0), default=0)
    if size == batch or 2 * size < fitting:  # small slices cost more than they save
        return network(weights, t, x, label)

    def cut(leaf: Array) -> Array:
        # Strided slices: each device of a split batch then cuts its own part.
        return leaf.reshape(size, batch // size, *leaf.shape[1:]).swapaxes(0, 1)

    def on_slice(inputs: tuple[Array, Array | None, Array | None]) -> Array:
        x, own_t, label = inputs
        return network(weights, t if own_t is None else own_t, x, label)

    result = jax.lax.map(on_slice, jax.tree.map(cut, (x, None if t.shape == (1,) else t, label)))
    return result.swapaxes(0, 1).reshape(batch, *result.shape[2:])


def _joined(
    call: Callable[..., Array],
    size: int,
    is_mapped: Sequence[PyTree[bool]],
    t: Array,
    x: Array,
    label: Array | None,
) -> Array:
    """The call on a batch of (size · batch), where mapped inputs have an additional axis."""
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


def _derivative(
    network: Callable[..., Array], primals: PyTree, tangents: PyTree
) -> tuple[Array, Array]:
    """The network and its derivative along the inputs with nonzero tangents."""
    values, structure = jax.tree.flatten(primals)
    changes = jax.tree.leaves(tangents)
    nonzero = [i for i, change in enumerate(changes) if not isinstance(change, SymbolicZero)]

    def restricted(*inputs: Array) -> Array:
        replaced = dict(zip(nonzero, inputs, strict=True))
        merged = [replaced.get(i, value) for i, value in enumerate(values)]
        return network(*jax.tree.unflatten(structure, merged))

    return jax.jvp(restricted, [values[i] for i in nonzero], [changes[i] for i in nonzero])
