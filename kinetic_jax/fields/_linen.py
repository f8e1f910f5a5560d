"""Fields made of batch-first modules of Flax Linen."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
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


def _call_linen(
    module: nn.Module, variables: PyTree[Any], t: Array, x: State, cond: PyTree[Any]
) -> Any:
    inputs = (t, x) if cond is None else (t, x, cond)
    with hint("call=lambda module, variables, t, x, cond: module.apply(variables, x, t)"):
        return module.apply(variables, *inputs)


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
        return summary(self, type(self.module).__name__)

    def trainable(self) -> "LinenField":
        """Marks the leaves that are parameters: those of the collection "params"."""
        mask = {
            name: jax.tree.map(lambda leaf, trained=name == "params": trained, tree)
            for name, tree in self.variables.items()
        }
        args, call = untrained((self.args, self.call))
        variables = type(self.variables)(mask)
        trained = dataclasses.replace(self, variables=variables, args=args, call=call)
        return self.without_training_step(trained)

    def __call__(self, t: Float[Array, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The velocity of one sample."""
        call = _call_linen if self.call is None else self.call
        given = () if self.args is None else (self.args,)
        inputs, step = batch_of_one(((t, x, cond), self.step_argument(t, x)))
        with hint_of_cond(cond):
            output = call(self.module, self.variables, *given, *inputs, **step)
        return one_velocity(output, x, type(self.module).__name__)


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
    call, args, takes_dt = checked_call(call, args, "module", "variables")
    shape = optional_event_shape(event_shape)
    return LinenField(shape, variables, args, call, module, takes_dt=takes_dt)
