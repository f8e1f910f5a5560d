"""Dtypes in which sums are kept."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    """The floating `dtype`, or float32 if it is coarser (or no floating dtype)."""
    # Not by jnp.promote_types, which strict dtype promotion forbids.
    fine = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits >= 32
    return jnp.dtype(dtype) if fine else jnp.dtype(jnp.float32)


def as_time(t: Any, x: Array) -> Array:
    """`t` as an array: a hand-written loop may count its time in plain numbers."""
    return t if isinstance(t, jax.Array) else jnp.asarray(t, at_least_float32(x.dtype))
