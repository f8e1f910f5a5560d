"""Calls of batch-first networks with a batch of one, shared by the fields of Flax networks."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, PyTree

from kinetic_jax._checks import require
from kinetic_jax._pytree import as_pytree
from kinetic_jax._state import State
from kinetic_jax.fields._protocol import (
    noting,
    require_function,
    require_one_array,
    takes_step,
    traced_args,
)


def batch_of_one(tree: PyTree[Any]) -> PyTree[Any]:
    # Under the library's vmap this axis of size one folds into the batch at no cost, so the
    # network sees what it was written for: a leading batch axis on t, x and every leaf of cond.
    return jax.tree.map(lambda leaf: jax.numpy.asarray(leaf)[None], tree)


def one_velocity(output: PyTree[Any], x: State, name: str) -> State:
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


def hint(call: str) -> AbstractContextManager[None]:
    """Adds to an error of a network what to do if its arguments come in another order."""
    return noting(
        "kinetic_jax called the network as (t, x), with cond after x where there is one; "
        f"if it takes its arguments otherwise, pass {call}, say"
    )


def checked_call(
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


def untrained(tree: PyTree[Any]) -> PyTree[Any]:
    return jax.tree.map(lambda leaf: False, tree)


def summary(field: Any, model: str) -> str:
    """The short form of a field around a network, whose weights and graph would fill pages."""
    arrays = [leaf for leaf in jax.tree.leaves(field) if eqx.is_array(leaf)]
    size = sum(leaf.size for leaf in arrays)
    return f"{type(field).__name__}({model}, {len(arrays)} arrays of {size:,} numbers)"
