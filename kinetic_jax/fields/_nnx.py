"""Fields made of batch-first models of Flax NNX."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from flax import nnx
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import require
from kinetic_jax._state import EventShape, State, optional_event_shape
from kinetic_jax.fields._field import ModelField
from kinetic_jax.fields._flax import (
    batch_of_one,
    checked_call,
    hint,
    one_velocity,
    summary,
    untrained,
)
from kinetic_jax.fields._protocol import hint_of_cond
from kinetic_jax.fields._step import SteppedField


def _call_nnx(model: Callable[..., Any], t: Array, x: State, cond: PyTree[Any]) -> Any:
    inputs = (t, x) if cond is None else (t, x, cond)
    with hint("call=lambda model, t, x, cond: model(x, t)"):
        return model(*inputs)


class NNXField(ModelField, SteppedField):
    """A field of an NNX model; see `from_nnx`.

    Attributes:
        state: the arrays of the model, traced.
        args: the pytree that `call` needs besides, or None.
        call: how the model is called, or None for the default.
        graphdef: the structure of the model, static.
        kinds: the type of variable of each array, static.
        name: the model's name in messages.
    """

    state: PyTree[Any]
    args: PyTree[Any]
    call: Callable[..., Any] | None
    graphdef: nnx.GraphDef = eqx.field(static=True)
    kinds: tuple[type, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True, default="model", kw_only=True)

    def trainable(self) -> "NNXField":
        """Marks the leaves that are parameters (`nnx.Param`), not statistics or constants."""
        is_param = [issubclass(kind, nnx.Param) for kind in self.kinds]
        mask = jax.tree.unflatten(jax.tree.structure(self.state), is_param)
        args, call = untrained((self.args, self.call))
        trained = dataclasses.replace(self, state=mask, args=args, call=call)
        return self.without_training_step(trained)

    def __repr__(self) -> str:
        return summary(self, self.name)

    def without_streams(self) -> "NNXField":
        """The field without the keys and counters of its random streams; it cannot be called."""
        is_drawn = [issubclass(kind, nnx.RngState) for kind in self.kinds]
        # Of a field that is being trained the parameters are None here.
        leaves, structure = jax.tree.flatten(self.state, is_leaf=lambda leaf: leaf is None)
        kept = [None if drawn else leaf for leaf, drawn in zip(leaves, is_drawn, strict=True)]
        return dataclasses.replace(self, state=jax.tree.unflatten(structure, kept))

    def __call__(self, t: Float[Array, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The velocity of one sample."""
        model = nnx.merge(self.graphdef, self.state)
        name = type(model).__name__
        inputs = batch_of_one(((t, x, cond), self.step_argument(t, x)))
        output = self._output(model, *inputs)
        changed = self._changed(model)
        if set(changed.values()) == {nnx.RngCount} and not self._is_random(*inputs):
            changed = {}
        require(
            not changed,
            f"model {name}",
            f"a call that changes {', '.join(changed)}",
            "leave its variables unchanged in evaluation mode",
        )
        return one_velocity(output, x, name)

    def _output(self, model: nnx.Module, inputs: tuple[Any, ...], step: dict[str, Array]) -> Any:
        call = _call_nnx if self.call is None else self.call
        with hint_of_cond(inputs[-1]):
            return call(model, *(() if self.args is None else (self.args,)), *inputs, **step)

    def _changed(self, model: nnx.Module) -> dict[str, type]:
        """The variables that a call changed, and of which kind they are."""
        after = dict(_leaves_with_names(nnx.as_pure(nnx.state(model))))
        before = zip(_leaves_with_names(self.state), self.kinds, strict=True)
        return {path: kind for (path, leaf), kind in before if after.get(path) is not leaf}

    def _is_random(self, inputs: tuple[Any, ...], step: dict[str, Array]) -> bool:
        """True if the output depends on a random key; otherwise a counter that moves is no state.

        `vmap` tells: mapped over the keys alone, it refuses an output that depends on them.
        """
        is_key = [issubclass(kind, nnx.RngKey) for kind in self.kinds]
        is_key = jax.tree.unflatten(jax.tree.structure(self.state), is_key)
        keys, rest = eqx.partition(self.state, is_key)

        def output_of(keys: PyTree[Any]) -> Any:
            model = nnx.merge(self.graphdef, eqx.combine(keys, rest))
            return self._output(model, inputs, step)

        keys = jax.tree.map(lambda key: key[None], keys)
        try:
            jax.vmap(output_of, out_axes=None, axis_size=1)(keys)
        except ValueError:
            return True
        return False


def _leaves_with_names(tree: PyTree[Any]) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def from_nnx(
    model: nnx.Module,
    *,
    call: Callable[..., Any] | None = None,
    args: PyTree[Any] = None,
    event_shape: EventShape | None = None,
) -> NNXField:
    """A velocity field made of a batch-first Flax NNX model.

    The model is split once, in evaluation mode (dropout off, batch statistics frozen) on a copy
    of its structure: the caller's model keeps its mode and its arrays, and later updates of it do
    not reach the field.

    Args:
        model: the model, with its weights.
        call: `call(model, t, x, cond)` returns the velocities of a batch: `t` of shape (batch,),
            `x` of shape (batch, *event), a leading batch axis on every leaf of `cond` (or None).
            Default: `model(t, x)`, and `cond` after `x` where there is one. With a last parameter
            `dt` it also receives the size of the step, of shape (batch,), for networks that take it
            (shortcut, MeanFlow); see `Field.with_step`.
        args: a pytree of what `call` needs besides, which is then `call(model, args, t, x, cond)`;
            its arrays and Python floats are traced, and not trained by `fit`.
        event_shape: the shape of one sample, where it is known; `sample` then checks `x0`.

    Returns:
        A field whose leaves are the model's arrays; the output is cast to the dtype of `x`, so
        the network may run in bfloat16.

    Raises:
        ValueError: if `model` is not an NNX module, `call` not such a function, or there are `args`
            without one; when first called, if the output is not a floating array of the shape of
            `x`, or if the call changes a variable of the model even in evaluation mode (a random
            stream's counter is none, unless the output depends on a key).

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from kinetic_jax import from_nnx
        >>> model = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
        >>> field = from_nnx(model, call=lambda model, t, x, cond: 0 * model(x) + t[:, None])
        >>> field(jnp.array(0.5), jnp.ones(3))
        Array([0.5, 0.5, 0.5], dtype=float32)

        A network that takes the size of the step:

        >>> field = from_nnx(model, call=lambda net, t, x, cond, dt: 0 * net(x) + dt[:, None])
        >>> field.with_step(0.25)(jnp.array(0.5), jnp.ones(3))
        Array([0.25, 0.25, 0.25], dtype=float32)
    """
    require(isinstance(model, nnx.Module), "model", type(model).__name__, "be a flax.nnx Module")
    graphdef, state = nnx.split(model)
    view = nnx.merge(graphdef, state)
    view.eval()
    graphdef, state = nnx.split(view)
    variables = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, nnx.Variable))
    kinds = tuple(type(variable) for variable in variables for _ in jax.tree.leaves(variable))
    call, args, takes_dt = checked_call(call, args, "model")
    shape = optional_event_shape(event_shape)
    name, arrays = type(model).__name__, nnx.as_pure(state)
    return NNXField(shape, arrays, args, call, graphdef, kinds, takes_dt=takes_dt, name=name)
