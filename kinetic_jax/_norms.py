"""Norms of states: sums over all dimensions, in float32 or better."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._state import State


def squared_norm(x: State, axes: tuple[int, ...] | None = None, mass: State | None = None) -> Array:
    """The sum of (mass times) squares over `axes` (all by default), in float32 or better."""

    def of_array(x: Array, mass: Array | None = None) -> Array:
        x = x.astype(at_least_float32(x.dtype))
        return jnp.sum(x * x if mass is None else mass.astype(x.dtype) * (x * x), axis=axes)

    arrays = (x,) if mass is None else (x, mass)
    return jax.tree.reduce(jnp.add, jax.tree.map(of_array, *arrays))


def norm_from_squared(squared: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Square root whose gradient at 0 is 0, not infinite."""
    at_rest = squared <= 0
    root = jnp.sqrt(jnp.where(at_rest, jnp.ones_like(squared), squared))
    return jnp.where(at_rest, jnp.zeros_like(squared), root)
