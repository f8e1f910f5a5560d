"""Arrays that a field's plain functions close over, as arguments of the compiled program."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.extend.core
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import is_concrete
from kinetic_jax.fields import VelocityField
from kinetic_jax.transforms import own_tau_split


class HoistedField(eqx.Module):
    """A field whose closed-over arrays are leaves; it computes what the original does."""

    field: VelocityField
    constants: list[Array]
    pure: Callable[..., Any] = eqx.field(static=True)

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Any:
        """What the original returns, the velocity of one sample."""
        leaves = jax.tree.leaves((eqx.filter(self.field, eqx.is_array), t, x, cond))
        return self.pure(self.constants, leaves)

    @property
    def tau_split(self) -> Float[Array, ""] | None:
        """What the original field says."""
        return own_tau_split(self.field)


def hoist(field: VelocityField, t: Any, x0: Array, cond: PyTree[Any]) -> VelocityField:
    """Makes leaves of the arrays that `field` closes over, if it does.

    `jax.jit` would bake them into the program as constants: slow to compile, twice in memory.
    Under an outer trace the closed-over arrays are that trace's business and `field` is returned
    as it is.

    Args:
        field: a field of one sample.
        t: a scalar of the time's dtype.
        x0: a batch of samples, of which only shape and dtype are used.
        cond: their conditions.
    """
    arrays, static = eqx.partition(field, eqx.is_array)
    if not is_concrete(arrays, x0, cond):
        return field
    one = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)  # noqa: E731
    shape = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)  # noqa: E731
    example = (jax.tree.map(shape, arrays), shape(t), one(x0), jax.tree.map(one, cond))
    leaves, treedef = jax.tree.flatten((static, example))
    try:
        pure, constants = _pure_function(tuple(leaves), treedef)
    except _ClosesOverTracer:
        return field
    return HoistedField(field, constants, pure) if constants else field


class _ClosesOverTracer(Exception):
    pass


# Keyed like jit's own cache: by the functions themselves, shapes and dtypes.
@functools.lru_cache(maxsize=32)
def _pure_function(leaves: tuple[Any, ...], treedef: Any) -> tuple[Callable[..., Any], list[Any]]:
    static, example = jax.tree.unflatten(treedef, leaves)

    def call(arrays: Any, t: Any, x: Any, cond: Any) -> Any:
        return eqx.combine(arrays, static)(t, x, cond)

    traced, output = jax.make_jaxpr(call, return_shape=True)(*example)
    # An inner `jit` keeps its constants to itself: traced again as a part of the whole.
    closed = jax.make_jaxpr(lambda *inputs: _inlined(traced.jaxpr, traced.consts, inputs))(
        *jax.tree.leaves(example)
    )
    if not is_concrete(closed.consts):
        raise _ClosesOverTracer

    def pure(constants: list[Any], inputs: list[Any]) -> Any:
        outputs = jax.core.eval_jaxpr(closed.jaxpr, constants, *inputs)
        return jax.tree.unflatten(jax.tree.structure(output), outputs)

    return pure, [jnp.asarray(constant) for constant in closed.consts]


def _inlined(jaxpr: Any, constants: Any, inputs: Any) -> list[Any]:
    """Evaluates a jaxpr with every inner `jit` as part of it."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *inputs), strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, jax.extend.core.Literal) else values[variable]

    for equation in jaxpr.eqns:
        operands = [read(variable) for variable in equation.invars]
        if equation.primitive.name in ("jit", "pjit"):
            inner = equation.params["jaxpr"]
            outputs = _inlined(inner.jaxpr, inner.consts, operands)
        else:
            # Up to some release of JAX a pair, then the parameters alone.
            found = equation.primitive.get_bind_params(equation.params)
            functions, parameters = found if isinstance(found, tuple) else ((), found)
            outputs = equation.primitive.bind(*functions, *operands, **parameters)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]
