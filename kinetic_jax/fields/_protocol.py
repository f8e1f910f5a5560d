"""Velocity fields: the protocol, and `as_field`, which converts any callable."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import float_array, require, short
from kinetic_jax._pytree import as_pytree
from kinetic_jax._state import State
from kinetic_jax.fields._field import Field
from kinetic_jax.fields._step import SteppedField


@runtime_checkable
class VelocityField(Protocol):
    """A velocity field `v(t, x)` of ONE sample: anything callable as `field(t, x, cond=None)`.

    Time runs from noise (t = 0) to data (t = 1). A function `v(t, x, cond, dt)` also receives the
    size of the step; see `Field.with_step`. The library maps a field over a batch with `jax.vmap`;
    `equinox.filter_jit(field)` compiles one. A field is best a pytree whose leaves are its arrays
    (every field of this package is an `equinox.Module`): it then passes through `jit`, `vmap` and
    `grad` as an argument, and a changed weight never recompiles.

    A plain function works too. Each `sample` reads its closure, its defaults and the globals that
    it names, through functions, partials, methods, inner `jit`s, lists, dicts, pytrees and plain
    objects of your own classes. Arrays become arguments of the program. NumPy arrays of up to
    1,024 elements, Python numbers and arrays that Python itself computes with (`float(w)`,
    `range(n)`) are constants: another value compiles another program, and JAX keeps each program
    and its constants until `jax.clear_caches()`. All else is read once, as under `jit`: installed
    packages, attributes of classes and modules, `__slots__`, namespaces, containers of more than
    200 items that begin with 200 plain ones, and lists and dicts that the function itself changes.
    The program calls a copy of the function: writes to variables, and to containers and objects
    that hold arrays, are lost. An NNX model in a closure is read faster by `from_nnx`.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import VelocityField
        >>> def towards_one(t, x, cond=None):
        ...     return jnp.ones_like(x) - x
        >>> isinstance(towards_one, VelocityField)
        True
    """

    def __call__(self, t: Float[Array, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The velocity at time `t` and position `x`, of the shape and dtype of `x`."""
        ...


class FunctionField(SteppedField):
    """A callable of the user's as a field that declares nothing."""

    function: Callable[..., Any]

    def __call__(self, t: Float[Array, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The velocity of one sample, in the dtype of x."""
        try:
            step = self.step_argument(t, x)
            with hint_of_cond(cond):
                velocity = self.function(t, x, cond, **step)
            return checked_velocity(velocity, x)
        except Exception as error:
            name = getattr(self.function, "__name__", type(self.function).__name__)
            shapes = jax.tree.map(jnp.shape, x)
            advice = "has a batch axis that a function may map over with jax.vmap"
            if isinstance(self.function, nn.Module | nnx.Module):
                advice = "is wrapped by kinetic_jax.from_nnx or from_linen"
            error.add_note(
                f"{name} was called as a velocity field of ONE sample, (t, x, cond) with t of "
                f"shape () and x of shape {shapes}; a network written for batches {advice}"
            )
            raise


@contextmanager
def noting(note: str) -> Iterator[None]:
    """Adds a note to an error."""
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise


def hint_of_cond(cond: PyTree[Any]) -> AbstractContextManager[None]:
    """Adds to an error of a model that was called without a condition that it may need one."""
    if cond is not None:
        return nullcontext()
    return noting(
        "cond is None: a model that takes labels, or another condition, is called as "
        "sample(field, x0, cond)"
    )


def as_field(field: object, name: str = "field") -> Field:
    """`field`, the argument `name`, as a `Field`; its arrays are leaves.

    A function may have a fourth argument, named `dt`: see `Field.with_step`.

    Args:
        field: a `Field`, or a callable as field(t, x, cond).
        name: the argument's name in messages.

    Returns:
        The field; `field` itself if it is a `Field`.

    Raises:
        ValueError: if it is not a function of three arguments, saying what it may be instead.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.fields import as_field
        >>> field = as_field(lambda t, x, cond: t * x)
        >>> field(jnp.array(0.5), jnp.ones(2)), as_field(field) is field
        (Array([0.5, 0.5], dtype=float32), True)
    """
    if isinstance(field, Field):
        return field
    kind = getattr(field, "__name__", type(field).__name__)
    expected = f"{name} must be callable as field(t, x, cond), got {kind}"
    unbound = isinstance(field, nn.Module) and field.scope is None
    if not callable(field):
        raise ValueError(f"{expected} {field!r:.60}")
    _refuse_misnamed(name, field)
    if not unbound and _takes(field, 3):
        return FunctionField(as_pytree(field))
    if not unbound and takes_step(field, 3):
        return FunctionField(as_pytree(field), takes_dt=True)
    for network, how in (
        (nnx.Module, "from_nnx(model)"),
        (nn.Module, "from_linen(module, variables)"),
    ):
        if isinstance(field, network):
            raise ValueError(
                f"{name} must be a velocity field of one sample, got the network "
                f"{type(field).__name__}: wrap it by kinetic_jax.{how}"
            )
    advice = "a transform is applied to a field first, as in kts(...)(field)"
    if _takes(field, 2):
        advice = "add a third parameter, cond=None"
    elif _takes(field, 4):
        advice = "the size of the step comes last, and is named dt"
    raise ValueError(f"{expected}, which takes other arguments ({advice})")


def _refuse_misnamed(name: str, function: Any) -> None:
    """Refuses a plain function whose parameters say that it means others than (t, x, cond)."""
    if not inspect.isfunction(function):
        return
    parameters = inspect.signature(function).parameters
    names = list(parameters)
    got = f"{function.__name__}({', '.join(names)})"
    expected = "be callable as field(t, x, cond)"
    require(names[:2] != ["x", "t"], name, got, f"{expected}, with the time first")
    require(names[2:3] != ["dt"], name, got, f"{expected} or field(t, x, cond, dt)")
    step = parameters.get("dt")
    is_free = step is None or step.default is inspect.Parameter.empty
    wanted = "have no default for dt, to receive the step (functools.partial binds a number)"
    require(is_free, name, got, wanted)


def unwrapped(field: Field) -> VelocityField:
    """The callable that `as_field` wrapped, or the field itself: both are pytrees."""
    return field.function if isinstance(field, FunctionField) and field.dt is None else field


def takes_step(function: Callable[..., Any], count: int) -> bool:
    """True if `function` takes `count` arguments, and needs one more that is named `dt`.

    A `dt` with a default is the user's own number, as in `functools.partial(f, dt=0.1)`.
    """
    return not _takes(function, count) and _takes(function, count, dt=None)


def _takes(function: Callable[..., Any], count: int, **named: None) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count, **named)
    except TypeError:
        return False
    except ValueError:  # a built-in without a signature
        return True
    return True


def velocity_of(field: Field, t: Float[Array, ""], cond: PyTree[Any], x: State) -> State:
    """The checked velocity at x."""
    return checked_velocity(field(t, x, cond), x)


def checked_velocity(velocity: PyTree[Any], x: State) -> State:
    """`velocity`, what a field returned at `x`, in the dtype of x: half precision is cast.

    Raises:
        ValueError: if it is not an array of the shape and dtype of x, or a pytree of such arrays.
    """
    if isinstance(x, jax.Array | np.ndarray):
        return _checked_array(velocity, x)
    expected: object = jax.tree.structure(x)
    got: object = jax.tree.structure(velocity)
    require(got == expected, "the field's output", got, f"have the structure of x, {expected}")
    return jax.tree.map(_checked_array, velocity, x)


def _checked_array(velocity: PyTree[Any], x: Array | np.ndarray) -> Array:
    name, wanted = "the field's output", f"have the shape {x.shape} and dtype {x.dtype} of x"
    require_one_array(name, velocity, wanted)
    shape, dtype = velocity.shape, velocity.dtype
    is_half = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4
    fits = shape == x.shape and (dtype == x.dtype or is_half)
    got = f"shape {shape} and dtype {dtype} (it is called as field(t, x, cond) on ONE sample)"
    require(fits, name, got, wanted)
    return velocity if dtype == x.dtype else velocity.astype(x.dtype)


def require_one_array(name: str, output: object, wanted: str) -> None:
    """Checks that a model's output is an array, not a tuple, a dict or a number of Python's."""
    is_array = isinstance(output, jax.Array | np.ndarray | np.generic)
    require(is_array, name, f"a {type(output).__name__}", wanted)


def require_function(name: str, function: object, *arguments: str) -> None:
    """Checks that `function` can be called with so many arguments."""
    takes = callable(function) and _takes(function, len(arguments))
    require(takes, name, short(function), f"be callable as {name}({', '.join(arguments)})")


def traced_args(args: PyTree[Any]) -> PyTree[Any]:
    """A pytree of arguments, its Python floats as arrays and its plain functions as pytrees."""

    def traced(leaf: object) -> object:
        if isinstance(leaf, float):
            return float_array(leaf, "args")
        return as_pytree(leaf) if callable(leaf) else leaf

    return jax.tree.map(traced, args)
