"""Arrays that a field's plain functions close over, as arguments of the compiled program."""

import functools
import types
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.extend.core
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import is_concrete
from kinetic_jax._pytree import PlainFunction
from kinetic_jax.fields import VelocityField
from kinetic_jax.transforms import own_tau_split


class HoistedField(eqx.Module):
    """A field as a pure function of arrays; it holds on to nothing else of the original.

    Attributes:
        arrays: the original's own arrays.
        constants: the arrays that its functions close over.
        tau_split: what the original says.
        pure: from constants and inputs to the velocity; static.
    """

    arrays: list[Array]
    constants: list[Array]
    tau_split: Float[Array, ""] | None
    pure: Callable[..., Any] = eqx.field(static=True)

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Any:
        """What the original returns: the velocity of one sample, which is checked later."""
        return self.pure(self.constants, [*self.arrays, *jax.tree.leaves((t, x, cond))])


def hoist(field: VelocityField, t: Any, x0: Array, cond: PyTree[Any]) -> VelocityField:
    """Makes leaves of the arrays that `field` closes over, if it does.

    `jax.jit` would bake them into the program as constants: slow to compile, twice in memory, and
    never looked at again. Here a function that closes over arrays is traced, though not compiled,
    anew each time, so that it is sampled with what it closes over now. What it closes over of an
    outer trace is that trace's business, and `field` is returned as it is.

    Args:
        field: a field of one sample.
        t: a scalar of the time's dtype, of which only shape and dtype are used.
        x0: a batch of samples, of which only shape and dtype are used.
        cond: their conditions.
    """
    arrays, static = eqx.partition(field, eqx.is_array)
    one = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)  # noqa: E731
    shape = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)  # noqa: E731
    example = (jax.tree.map(shape, arrays), shape(t), one(x0), jax.tree.map(one, cond))
    leaves, treedef = jax.tree.flatten((static, example))
    programs = _programs(tuple(leaves), treedef)
    if programs.closed and not any(map(_may_change, jax.tree.leaves(field, is_leaf=_is_plain))):
        return field

    # Traced on a flat list: JAX remembers the structures it was shown, and this one holds the
    # field's functions.
    inputs, structure = jax.tree.flatten(example)

    def call(*inputs: Any) -> Any:
        arrays, t, x, cond = jax.tree.unflatten(structure, inputs)
        return eqx.combine(arrays, static)(t, x, cond)

    traced, output = jax.make_jaxpr(call, return_shape=True)(*inputs)
    if not traced.consts and not _held(traced.jaxpr):
        programs.closed = True
        return field
    # An inner `jit` keeps its constants to itself: traced again as a part of the whole. (Those of
    # an inner loop stay in the program; another array there is another program.)
    inlined = lambda *inputs: _inlined(traced.jaxpr, traced.consts, inputs)  # noqa: E731
    closed = jax.make_jaxpr(inlined)(*inputs)
    if not is_concrete(closed.consts):
        return field
    pure = programs.pure(closed.jaxpr, jax.tree.structure(output))
    constants = [jnp.asarray(constant) for constant in closed.consts]
    return HoistedField(jax.tree.leaves(arrays), constants, own_tau_split(field), pure)


class _Programs:
    """What is known of a field's functions: whether they close over arrays, and their programs.

    One function object per program, because that is what `jit` compares.
    """

    def __init__(self) -> None:
        self.closed = False
        self._by_text: dict[str, Callable[..., Any]] = {}
        self._last: tuple[Any, Callable[..., Any]] | None = None

    def pure(self, jaxpr: Any, output: Any) -> Callable[..., Any]:
        def pure(constants: list[Any], inputs: list[Any]) -> Any:
            return jax.tree.unflatten(output, jax.core.eval_jaxpr(jaxpr, constants, *inputs))

        # What the rule of a `custom_vmap` holds, its program holds too: enough to look at it here.
        held = _held(jaxpr, functions=("callback_func", "rule"))
        if not held:
            return self._by_text.setdefault(str(jaxpr), pure)
        # Only the last one, as it keeps what it holds alive (so that no id is given again).
        key = str(jaxpr), tuple(map(id, held))
        if self._last is None or self._last[0] != key:
            self._last = key, pure
        return self._last[1]


# Keyed like jit's own cache, by the functions themselves, shapes and dtypes. The key keeps the
# functions alive with all they close over, so the cache is small.
@functools.lru_cache(maxsize=16)
def _programs(leaves: tuple[Any, ...], treedef: Any) -> _Programs:
    return _Programs()


def _is_plain(node: Any) -> bool:
    return isinstance(node, PlainFunction)


def _may_change(node: Any) -> bool:
    """Whether what held no array may hold one now: an object, or a function with a closure."""
    if not _is_plain(node):
        return False
    fn = node.same.fn
    return not isinstance(fn, types.FunctionType) or fn.__closure__ is not None


def _held(jaxpr: Any, functions: tuple[str, ...] = ("callback_func",)) -> list[Any]:
    """What a program's inner ones hold, and its text does not show: arrays, and host functions.

    Of functions, those that are such an attribute of a parameter and close over something.
    """
    held: list[Any] = []
    for equation in jaxpr.eqns:
        for param in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if isinstance(param, jax.extend.core.ClosedJaxpr):
                held += [*param.consts, *_held(param.jaxpr, functions)]
            elif isinstance(param, jax.extend.core.Jaxpr):
                held += _held(param, functions)
            else:
                given = (getattr(param, name, None) for name in functions)
                held += [fn for fn in given if getattr(fn, "__closure__", None)]
    return held


def _is_program(node: Any) -> bool:
    return isinstance(node, jax.extend.core.ClosedJaxpr | jax.extend.core.Jaxpr)


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
