"""Fields made of Flax networks: batch-first modules of linen and NNX."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
from flax import nnx
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import require
from kinetic_jax._pytree import as_pytree
from kinetic_jax._state import EventShape, State, optional_event_shape
from kinetic_jax.fields._field import ModelField
from kinetic_jax.fields._protocol import (
    require_function,
    require_one_array,
    takes_step,
    traced_args,
)
from kinetic_jax.fields._step import SteppedField


def _batch_of_one(tree: PyTree[Any]) -> PyTree[Any]:
    # Under the library's vmap this axis of size one folds into the batch at no cost, so the
    # network sees what it was written for: a leading batch axis on t, x and every leaf of cond.
    return jax.tree.map(lambda leaf: jax.numpy.asarray(leaf)[None], tree)


def _one_velocity(output: PyTree[Any], x: State, name: str) -> State:
    if isinstance(x, jax.Array):
        return _row_of_one(output, x, name)
    expected: object = jax.tree.structure(x)
    got: object = jax.tree.structure(output)
    wanted = f"have the structure of its input, {expected}"
    require(got == expected, f"the output of {name}", got, wanted)
    return jax.tree.map(lambda leaf, like: _row_of_one(leaf, like, name), output, x)


def _row_of_one(output: PyTree[Any], x: Array, name: str) -> Array:
    name = f"the output of {name}"
    wanted = f"have the shape of its input, {(1, *x.shape)} for a batch of one"
    require_one_array(name, output, wanted)
    require(output.shape == (1, *x.shape), name, f"shape {output.shape}", wanted)
    is_real = jax.numpy.issubdtype(output.dtype, jax.numpy.floating)
    require(is_real, name, f"dtype {output.dtype}", "be floating")
    return output[0].astype(x.dtype)


def _call_linen(
    module: nn.Module, variables: PyTree[Any], t: Array, x: State, cond: PyTree[Any]
) -> Any:
    inputs = (t, x) if cond is None else (t, x, cond)
    with _hint("call=lambda module, variables, t, x, cond: module.apply(variables, x, t)"):
        return module.apply(variables, *inputs)


@contextmanager
def _hint(call: str) -> Iterator[None]:
    """Adds to an error of a network what to do if its arguments come in another order."""
    try:
        yield
    except Exception as error:
        error.add_note(
            "kinetic_jax called the network as (t, x), with cond after x where there is one; "
            f"if it takes its arguments otherwise, pass {call}, say"
        )
        raise


class LinenField(ModelField, SteppedField):
    """A field of a Linen module; see `from_linen`.

    Attributes:
        variables: the variables of the module, traced.
        args: the pytree that `call` needs besides, or None.
        call: how the module is called, or None for the default.
        module: the module, static.
    """

    variables: PyTree[Any]
    args: PyTree[Any]
    call: Callable[..., Any] | None
    module: nn.Module = eqx.field(static=True)

    def __repr__(self) -> str:
        return _summary(self, type(self.module).__name__)

    def trainable(self) -> "LinenField":
        """Marks the leaves that are parameters: those of the collection "params"."""
        mask = {
            name: jax.tree.map(lambda leaf, trained=name == "params": trained, tree)
            for name, tree in self.variables.items()
        }
        args, call = _untrained((self.args, self.call))
        variables = type(self.variables)(mask)
        trained = dataclasses.replace(self, variables=variables, args=args, call=call)
        return self.without_training_step(trained)

    def __call__(self, t: Float[Array, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The velocity of one sample."""
        call = _call_linen if self.call is None else self.call
        given = () if self.args is None else (self.args,)
        inputs, step = _batch_of_one(((t, x, cond), self.step_argument(t, x)))
        output = call(self.module, self.variables, *given, *inputs, **step)
        return _one_velocity(output, x, type(self.module).__name__)


def from_linen(
    module: nn.Module,
    variables: PyTree[Any],
    *,
    call: Callable[..., Any] | None = None,
    args: PyTree[Any] = None,
    event_shape: EventShape | None = None,
) -> LinenField:
    """A velocity field made of a batch-first `flax.linen` module and its variables.

    Args:
        module: the module; it is static, its variables are not.
        variables: what `module.init` returned; these arrays are the field's leaves.
        call: `call(module, variables, t, x, cond)` returns the velocities of a batch: `t` of
            shape (batch,), `x` of shape (batch, *event), a leading batch axis on every leaf of
            `cond` (or None). Default: `module.apply(variables, t, x)`, and `cond` after `x` where
            there is one. Pass it for another order of arguments, for `train=False`, and so on.
            With a last parameter `dt` it also receives the size of the step, of shape (batch,);
            see `Field.with_step`.
        args: a pytree of what `call` needs besides, which is then
            `call(module, variables, args, t, x, cond)`; its arrays and Python floats are traced,
            and not trained by `fit`.
        event_shape: the shape of one sample, where it is known; `sample` then checks `x0`.

    Returns:
        A field; the network's output is cast to the dtype of `x`, so it may run in bfloat16.

    Raises:
        ValueError: if `module` is not a module, `variables` not a mapping of arrays, `call` not
            such a function, or there are `args` without one; when first called, if the output is
            not a floating array of the shape of `x`.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp
        >>> from kinetic_jax import from_linen
        >>> class Net(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x, t):
        ...         return 0 * nn.Dense(x.shape[-1])(x) + t[:, None]
        >>> net = Net()
        >>> variables = net.init(jax.random.key(0), jnp.zeros((1, 3)), jnp.zeros(1))
        >>> field = from_linen(net, variables, call=lambda m, v, t, x, cond: m.apply(v, x, t))
        >>> field(jnp.array(0.5), jnp.ones(3))
        Array([0.5, 0.5, 0.5], dtype=float32)
    """
    require(
        isinstance(module, nn.Module), "module", type(module).__name__, "be a flax.linen Module"
    )
    leaves = jax.tree.leaves(variables) if isinstance(variables, Mapping) else [None]
    are_arrays = all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves)
    require(are_arrays, "variables", type(variables).__name__, "be what module.init returned")
    call, args, takes_dt = _checked_call(call, args, "module", "variables")
    shape = optional_event_shape(event_shape)
    return LinenField(shape, variables, args, call, module, takes_dt=takes_dt)


def _checked_call(
    call: Callable[..., Any] | None, args: PyTree[Any], *model: str
) -> tuple[Callable[..., Any] | None, PyTree[Any], bool]:
    """`call` and its `args` as pytrees, and whether it takes the step.

    Raises:
        ValueError: if `call` is not a function of `model`, args (if there are any), t, x and cond.
    """
    if call is None:
        require(args is None, "args", args, "come with a call that takes them")
        return None, None, False
    arguments = (*model, *(() if args is None else ("args",)), "t", "x", "cond")
    takes_dt = callable(call) and takes_step(call, len(arguments))
    if not takes_dt:
        require_function("call", call, *arguments)
    return as_pytree(call), traced_args(args), takes_dt


def _untrained(tree: PyTree[Any]) -> PyTree[Any]:
    return jax.tree.map(lambda leaf: False, tree)


def _call_nnx(model: Callable[..., Any], t: Array, x: State, cond: PyTree[Any]) -> Any:
    inputs = (t, x) if cond is None else (t, x, cond)
    with _hint("call=lambda model, t, x, cond: model(x, t)"):
        return model(*inputs)


def _summary(field: Any, model: str) -> str:
    """The short form of a field around a network, whose weights and graph would fill pages."""
    arrays = [leaf for leaf in jax.tree.leaves(field) if eqx.is_array(leaf)]
    size = sum(leaf.size for leaf in arrays)
    return f"{type(field).__name__}({model}, {len(arrays)} arrays of {size:,} numbers)"


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
        args, call = _untrained((self.args, self.call))
        trained = dataclasses.replace(self, state=mask, args=args, call=call)
        return self.without_training_step(trained)

    def __repr__(self) -> str:
        return _summary(self, self.name)

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
        inputs = _batch_of_one(((t, x, cond), self.step_argument(t, x)))
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
        return _one_velocity(output, x, name)

    def _output(self, model: nnx.Module, inputs: tuple[Any, ...], step: dict[str, Array]) -> Any:
        call = _call_nnx if self.call is None else self.call
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
    call, args, takes_dt = _checked_call(call, args, "model")
    shape = optional_event_shape(event_shape)
    name, arrays = type(model).__name__, nnx.as_pure(state)
    return NNXField(shape, arrays, args, call, graphdef, kinds, takes_dt=takes_dt, name=name)
