"""The measure of a velocity: the mass of its dimensions, and the frame that it is seen from."""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import float_array, refuse_memmap, require, require_finite
from kinetic_jax._state import State, StateSpec, broadcast_like, broadcasts, flat_rows

Mass: TypeAlias = ArrayLike | PyTree[ArrayLike]
Frame: TypeAlias = ArrayLike | PyTree[ArrayLike]


def checked_mass(mass: Mass | None) -> PyTree[Float[Array, "..."]] | None:
    """Weights of squared velocities as floating arrays.

    Raises:
        ValueError: if one is negative or not finite (on the host), or they are not arrays of
            numbers in memory.
    """
    weights = _checked("mass", mass)
    for leaf in _known_on_host(mass):
        require(bool(np.all(np.asarray(leaf) >= 0)), "mass", leaf, "not be negative")
    return weights


def checked_frame(frame: Frame | None) -> PyTree[Float[Array, "..."]] | None:
    """A constant velocity as floating arrays.

    Raises:
        ValueError: if a number is not finite (on the host), or it is no array in memory.
    """
    return _checked("frame", frame)


def _checked(name: str, values: PyTree[ArrayLike] | None) -> PyTree[Float[Array, "..."]] | None:
    if values is None:
        return None

    require(bool(jax.tree.leaves(values)), name, values, "be an array, or a pytree like x")
    refuse_memmap(name, values)
    arrays = jax.tree.map(lambda leaf: float_array(leaf, name), values)
    for leaf in _known_on_host(values):
        require_finite(name, leaf)
    return arrays


def _known_on_host(values: PyTree[ArrayLike]) -> list[ArrayLike]:
    """The arrays whose numbers are checked: looking at others would wait for the device."""
    return [leaf for leaf in jax.tree.leaves(values) if not isinstance(leaf, jax.Array)]


def spread_like(name: str, values: PyTree[Array] | None, x: PyTree[ArrayLike]) -> State | None:
    """`values` in the structure and the shapes of `x`, one sample or a batch.

    For a batch, an array with as many axes as `x` has a row for each sample, or one row for all;
    one with fewer axes broadcasts to the event.

    Raises:
        ValueError: if they do not fit.
    """
    if values is None:
        return None
    structure: object = jax.tree.structure(x)
    if jax.tree_util.all_leaves([values]) and not jax.tree_util.all_leaves([x]):
        expected = f"be one number, or have the structure of x, {structure}"
        require(values.shape == (), name, f"an array of shape {values.shape}", expected)
        values = jax.tree.map(lambda _: values, x)
    got: object = jax.tree.structure(values)
    require(got == structure, name, got, f"have the structure of x, {structure}")

    def spread(leaf: Array, like: Array) -> Array:
        expected = f"broadcast to the shape of x, {like.shape}"
        if leaf.ndim < like.ndim and leaf.shape == like.shape[: leaf.ndim]:
            expected += " (from the last axis on: add axes behind, as by values[..., None])"
        require(broadcasts(leaf.shape, like.shape), name, f"shape {leaf.shape}", expected)
        return broadcast_like(leaf, like)

    return jax.tree.map(spread, values, x)


def spread_rows(
    name: str, values: PyTree[Array] | None, states: PyTree[ArrayLike], spec: StateSpec | None
) -> Array | None:
    """`spread_like` a batch of states, as the rows that stand for them where they are pytrees."""
    spread = spread_like(name, values, states)
    return spread if spec is None or spread is None else flat_rows(name, spread, spec)


def seen_from(frame: State | None, u: State, time: ArrayLike = 1.0) -> State:
    """`u − time · frame`, leaf by leaf, or `u` itself without a frame."""
    if frame is None:
        return u
    return jax.tree.map(lambda a, m: a - jnp.asarray(time, a.dtype) * m.astype(a.dtype), u, frame)
