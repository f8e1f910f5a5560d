"""Dtypes in which sums are kept."""

import jax.numpy as jnp


def at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    """The floating `dtype`, or float32 if it is coarser (or no floating dtype)."""
    # Not by jnp.promote_types, which strict dtype promotion forbids.
    fine = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits >= 32
    return jnp.dtype(dtype) if fine else jnp.dtype(jnp.float32)
