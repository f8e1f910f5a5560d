"""Fields made of Flax networks: batch-first modules of linen and NNX."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
from flax import nnx
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import require


def _batch_of_one(tree: PyTree[Any]) -> PyTree[Any]:
    # Under the library's vmap this axis of size one folds into the batch at no cost, so the
    # network sees what it was written for: a leading batch axis on t, x and every leaf of cond.
    return jax.tree.map(lambda leaf: jax.numpy.asarray(leaf)[None], tree)


def _one_velocity(output: Any, x: Float[Array, "*event"], name: str) -> Float[Array, "*event"]:
    shape = getattr(output, "shape", None)
    require(
        shape == (1, *x.shape),
        f"the output of {name}",
        f"shape {shape}",
        f"have the shape of its input, {(1, *x.shape)} for a batch of one",
    )
    return output[0].astype(x.dtype)


def _call_linen(
    module: nn.Module, variables: PyTree[Any], t: Array, x: Array, cond: PyTree[Any]
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


class LinenField(eqx.Module):
    """See `from_linen`."""

    variables: PyTree[Any]
    module: nn.Module = eqx.field(static=True)
    call: Callable[..., Any] = eqx.field(static=True)

    def trainable(self) -> "LinenField":
        """Which leaves are parameters: those of the collection "params"."""
        mask = {
            name: jax.tree.map(lambda leaf, good=name == "params": good, tree)
            for name, tree in self.variables.items()
        }
        return LinenField(type(self.variables)(mask), self.module, self.call)

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Float[Array, "*event"]:
        """The velocity of one sample."""
        inputs = _batch_of_one((t, x, cond))
        output = self.call(self.module, self.variables, *inputs)
        return _one_velocity(output, x, type(self.module).__name__)


def from_linen(
    module: nn.Module, variables: PyTree[Any], *, call: Callable[..., Any] | None = None
) -> LinenField:
    """A velocity field made of a batch-first `flax.linen` module and its variables.

    Args:
        module: the module; it is static, its variables are not.
        variables: what `module.init` returned; these arrays are the field's leaves.
        call: `call(module, variables, t, x, cond)` returns the velocities of a batch: `t` of
            shape (batch,), `x` of shape (batch, *event), a leading batch axis on every leaf of
            `cond` (or None). Default: `module.apply(variables, t, x)`, and `cond` after `x` where
            there is one. Pass it for another order of arguments, for `train=False`, and so on.

    Returns:
        A field; the network's output is cast to the dtype of `x`, so it may run in bfloat16.

    Raises:
        ValueError: if `module` is no module or `variables` no mapping; when first called, if the
            output has not the shape of `x`.

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
    good = isinstance(module, nn.Module)
    require(good, "module", type(module).__name__, "be a flax.linen Module")
    good = isinstance(variables, Mapping)
    require(good, "variables", type(variables).__name__, "be what module.init returned")
    return LinenField(variables, module, _call_linen if call is None else call)


def _call_nnx(model: Any, t: Array, x: Array, cond: PyTree[Any]) -> Any:
    inputs = (t, x) if cond is None else (t, x, cond)
    with _hint("call=lambda model, t, x, cond: model(x, t)"):
        return model(*inputs)


class NNXField(eqx.Module):
    """See `from_nnx`."""

    state: PyTree[Any]
    graphdef: nnx.GraphDef = eqx.field(static=True)
    call: Callable[..., Any] = eqx.field(static=True)
    is_param: tuple[bool, ...] = eqx.field(static=True)

    def trainable(self) -> "NNXField":
        """Which leaves are parameters (`nnx.Param`), rather than statistics or constants."""
        mask = jax.tree.unflatten(jax.tree.structure(self.state), self.is_param)
        return NNXField(mask, self.graphdef, self.call, self.is_param)

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Float[Array, "*event"]:
        """The velocity of one sample."""
        model = nnx.merge(self.graphdef, self.state)
        name = type(model).__name__
        output = self.call(model, *_batch_of_one((t, x, cond)))
        _refuse_changes(self.state, model, name)
        return _one_velocity(output, x, name)


def _refuse_changes(before: PyTree[Any], model: nnx.Module, name: str) -> None:
    after = dict(_leaves_with_names(nnx.as_pure(nnx.state(model))))
    changed = [path for path, leaf in _leaves_with_names(before) if after.get(path) is not leaf]
    if changed:
        raise ValueError(
            f"model {name} must leave its variables as they are in evaluation mode, got a call "
            f"that changes {', '.join(changed)}: a velocity field is a pure function"
        )


def _leaves_with_names(tree: PyTree[Any]) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def from_nnx(model: nnx.Module, *, call: Callable[..., Any] | None = None) -> NNXField:
    """A velocity field made of a batch-first Flax NNX model.

    The model is split once, in evaluation mode (dropout off, batch statistics frozen) on a copy
    of its structure: the caller's model keeps its mode and its arrays, and later updates of it do
    not reach the field.

    Args:
        model: the model, with its weights.
        call: `call(model, t, x, cond)` returns the velocities of a batch: `t` of shape (batch,),
            `x` of shape (batch, *event), a leading batch axis on every leaf of `cond` (or None).
            Default: `model(t, x)`, and `cond` after `x` where there is one.

    Returns:
        A field whose leaves are the model's arrays; the output is cast to the dtype of `x`, so
        the network may run in bfloat16.

    Raises:
        ValueError: if `model` is no NNX module; when first called, if the output has not the
            shape of `x`, or if the call changes a variable of the model even in evaluation mode.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from kinetic_jax import from_nnx
        >>> model = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
        >>> field = from_nnx(model, call=lambda model, t, x, cond: 0 * model(x) + t[:, None])
        >>> field(jnp.array(0.5), jnp.ones(3))
        Array([0.5, 0.5, 0.5], dtype=float32)
    """
    require(isinstance(model, nnx.Module), "model", type(model).__name__, "be a flax.nnx Module")
    graphdef, state = nnx.split(model)
    view = nnx.merge(graphdef, state)
    view.eval()
    graphdef, state = nnx.split(view)
    variables = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, nnx.Variable))
    is_param = tuple(
        isinstance(variable, nnx.Param) for variable in variables for _ in jax.tree.leaves(variable)
    )
    return NNXField(nnx.as_pure(state), graphdef, _call_nnx if call is None else call, is_param)
