"""The two phases of a trajectory, launch and landing, and the time between them."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from kinetic_jax._checks import float_scalar, require_between
from kinetic_jax._dtypes import at_least_float32

DEFAULT_TAU_SPLIT = 0.6

# How many rounding steps below tau_split a time may lie and still count as tau_split: enough for
# a time summed up in a loop of some hundred float32 steps, far less than any step.
_ROUNDING_STEPS = 16


def is_landing(t: Float[Array, "*times"], tau_split: Float[Array, ""]) -> Bool[Array, "*times"]:
    """Whether time `t` belongs to the landing phase: t ≥ tau_split, up to rounding.

    The one rule for both the gain (at the time the field is evaluated) and the split of the
    energy (at the left end of a step).
    """
    return t >= tau_split.astype(t.dtype) - _rounding(t, tau_split)


def is_within(
    t: Float[Array, "*times"], low: Float[Array, ""], high: Float[Array, ""]
) -> Bool[Array, "*times"]:
    """Whether low ≤ t ≤ high, up to the same rounding."""
    return is_landing(t, low) & (t <= high.astype(t.dtype) + _rounding(t, high))


def _rounding(t: Array, bound: Array) -> float:
    # A coarser clock than float32 would call much of the launch "τ up to rounding"; a float32
    # bound is as coarse under a float64 clock.
    precision = max(float(jnp.finfo(at_least_float32(a.dtype)).eps) for a in (t, bound))
    return _ROUNDING_STEPS * precision


def checked_tau_split(tau_split: ArrayLike) -> Float[Array, ""]:
    """`tau_split` as a traced scalar.

    Raises:
        ValueError: if a concrete value lies outside (0, 1).
    """
    tau = float_scalar(tau_split, "tau_split")
    require_between("tau_split", tau, 0.0, 1.0)
    return tau


def own_tau_split(field: Any) -> Float[Array, ""] | None:
    """The `tau_split` a field carries (one shaped by `kts` does), or None."""
    return getattr(field, "tau_split", None)
