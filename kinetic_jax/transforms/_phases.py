"""The two phases of a trajectory, launch and landing, and the time that separates them."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from kinetic_jax._checks import float_scalar, require_between
from kinetic_jax._dtypes import at_least_float32

DEFAULT_TAU_SPLIT = 0.6

# A time at most this many rounding steps below tau_split counts as tau_split: enough for a time
# summed over a few hundred float32 steps, and far less than a step.
_ROUNDING_STEPS = 16


def is_landing(t: Float[Array, "*times"], tau_split: Float[Array, ""]) -> Bool[Array, "*times"]:
    """True in the landing phase: t ≥ tau_split, up to rounding.

    Decides both the gain (at the time of an evaluation) and the split of the energy (at the left
    end of a step).
    """
    return t >= tau_split.astype(t.dtype) - _rounding(t, tau_split)


def is_within(
    t: Float[Array, "*times"], low: Float[Array, ""], high: Float[Array, ""]
) -> Bool[Array, "*times"]:
    """True where low ≤ t ≤ high, up to the same rounding."""
    return is_landing(t, low) & (t <= high.astype(t.dtype) + _rounding(t, high))


def _rounding(t: Array, bound: Array) -> float:
    # At least float32, because half precision would count much of the launch as τ; a float32
    # bound needs float32's rounding under a float64 time too.
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
