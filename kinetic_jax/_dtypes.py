"""The dtypes of sums and of times."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
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


def clock_stop(dtype: DTypeLike) -> float:
    """√ε, the time before t = 1 at which a clock stops: x − t x_i keeps half its digits."""
    return float(jnp.finfo(dtype).eps) ** 0.5


def last_stage(dtype: DTypeLike) -> float:
    """1 − ε^(1/3), the last time at which a stage may look at a field that is singular at t = 1.

    Earlier than the clock stops: a solver's weights multiply the rounding of x, which is divided
    by 1 − t.
    """
    return 1 - float(jnp.finfo(dtype).eps) ** (1 / 3)
