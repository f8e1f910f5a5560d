"""The mass of a sample's dimensions, weights of their squared velocities in the energy."""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import float_array, is_concrete, require, require_finite
from kinetic_jax._state import State

Mass: TypeAlias = ArrayLike | PyTree[ArrayLike]


def checked_mass(mass: Mass | None, name: str = "mass") -> PyTree[Float[Array, "..."]] | None:
    """The weights as floating arrays.

    Raises:
        ValueError: if one is negative or not finite, or they are not arrays of numbers.
    """
    if mass is None:
        return None

    def checked(leaf: ArrayLike) -> Array:
        weights = float_array(leaf, name)
        require_finite(name, leaf)
        if is_concrete(weights):
            require(bool(np.all(np.asarray(weights) >= 0)), name, leaf, "not be negative")
        return weights

    require(bool(jax.tree.leaves(mass)), name, mass, "be an array, or a pytree like x")
    return jax.tree.map(checked, mass)


def mass_like(mass: PyTree[Array] | None, x: State) -> State | None:
    """The weights in the structure and the shapes of `x`, one sample or a batch.

    For a batch, an array with as many axes as `x` has a row for each sample, or one row for all;
    one with fewer axes broadcasts to the event.

    Raises:
        ValueError: if they do not fit.
    """
    if mass is None:
        return None
    structure: object = jax.tree.structure(x)
    if jax.tree_util.all_leaves([mass]) and not jax.tree_util.all_leaves([x]):
        expected = f"be one number, or have the structure of x, {structure}"
        require(mass.shape == (), "mass", f"an array of shape {mass.shape}", expected)
        mass = jax.tree.map(lambda _: mass, x)
    got: object = jax.tree.structure(mass)
    require(got == structure, "mass", got, f"have the structure of x, {structure}")

    def spread(leaf: Array, like: Array) -> Array:
        shape = leaf.shape
        padded = (1,) * (like.ndim - len(shape)) + shape
        sides = zip(padded, like.shape, strict=False)
        fits = len(padded) == like.ndim and all(side in (1, of_x) for side, of_x in sides)
        require(fits, "mass", f"shape {shape}", f"broadcast to the shape of x, {like.shape}")
        return jnp.broadcast_to(leaf.reshape(padded), like.shape)

    return jax.tree.map(spread, mass, x)
