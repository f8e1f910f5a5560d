"""The measure of a velocity: the mass of its dimensions, and the frame that it is seen from."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import float_array, is_concrete, require, require_finite
from kinetic_jax._state import State, StateSpec, flat_rows

Mass: TypeAlias = ArrayLike | PyTree[ArrayLike]
Frame: TypeAlias = ArrayLike | PyTree[ArrayLike]


def checked_mass(mass: Any) -> PyTree[Float[Array, "..."]] | None:
    """Weights of squared velocities as floating arrays.

    Raises:
        ValueError: if one is negative or not finite, or they are not arrays of numbers.
    """
    weights = _checked("mass", mass)
    for leaf in jax.tree.leaves(weights):
        if is_concrete(leaf):
            require(bool(np.all(np.asarray(leaf) >= 0)), "mass", mass, "not be negative")
    return weights


def checked_frame(frame: Any) -> PyTree[Float[Array, "..."]] | None:
    """A constant velocity as floating arrays.

    Raises:
        ValueError: if a number is not finite, or it is not an array of numbers.
    """
    return _checked("frame", frame)


def _checked(name: str, values: Any) -> PyTree[Float[Array, "..."]] | None:
    if values is None:
        return None

    def checked(leaf: Any) -> Array:
        array = float_array(leaf, name)
        require_finite(name, leaf)
        return array

    require(bool(jax.tree.leaves(values)), name, values, "be an array, or a pytree like x")
    return jax.tree.map(checked, values)


def spread_like(name: str, values: PyTree[Array] | None, x: State) -> State | None:
    """`values` in the structure and the shapes of `x`, one sample or a batch.

    For a batch, an array with as many axes as `x` has a row for each sample, or one row for all;
    one with fewer axes broadcasts to the event.

    Raises:
        ValueError: if they do not fit.
    """
    if values is None:
        return None
    structure: Any = jax.tree.structure(x)
    if jax.tree_util.all_leaves([values]) and not jax.tree_util.all_leaves([x]):
        expected = f"be one number, or have the structure of x, {structure}"
        require(values.shape == (), name, f"an array of shape {values.shape}", expected)
        values = jax.tree.map(lambda _: values, x)
    got: Any = jax.tree.structure(values)
    require(got == structure, name, got, f"have the structure of x, {structure}")

    def spread(leaf: Array, like: Array) -> Array:
        shape = leaf.shape
        padded = (1,) * (like.ndim - len(shape)) + shape
        sides = zip(padded, like.shape, strict=False)
        fits = len(padded) == like.ndim and all(side in (1, of_x) for side, of_x in sides)
        require(fits, name, f"shape {shape}", f"broadcast to the shape of x, {like.shape}")
        return jnp.broadcast_to(leaf.reshape(padded), like.shape)

    return jax.tree.map(spread, values, x)


def spread_rows(
    name: str, values: PyTree[Array] | None, states: State, spec: StateSpec | None
) -> Array | None:
    """`spread_like` a batch of states, as the rows that stand for them where they are pytrees."""
    spread = spread_like(name, values, states)
    return spread if spec is None or spread is None else flat_rows(name, spread, spec)


def seen_from(frame: State | None, u: State, time: ArrayLike = 1.0) -> State:
    """`u − time · frame`, leaf by leaf, or `u` itself without a frame."""
    if frame is None:
        return u
    return jax.tree.map(lambda a, m: a - jnp.asarray(time, a.dtype) * m.astype(a.dtype), u, frame)
