"""The dtypes of sums and of times."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree

from kinetic_jax._state import State


def at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    """`dtype`, or float32 if that is finer or `dtype` is not floating."""
    # jnp.promote_types would be refused under strict dtype promotion.
    is_fine = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits >= 32
    return jnp.dtype(dtype) if is_fine else jnp.dtype(jnp.float32)


def dtype_of(x: PyTree[Any]) -> jnp.dtype:
    """The dtype that all arrays of a state share."""
    return jax.tree.leaves(x)[0].dtype


def as_time(t: ArrayLike, x: State) -> Array:
    """`t` as an array; a hand-written loop may pass a Python number."""
    return t if isinstance(t, jax.Array) else jnp.asarray(t, at_least_float32(dtype_of(x)))
