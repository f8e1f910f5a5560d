"""CFG-Zero*: guidance with an optimised scale of the unconditional velocity."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import float_scalar, is_concrete, require
from kinetic_jax._dtypes import at_least_float32, dtype_of
from kinetic_jax._state import State
from kinetic_jax.fields import VelocityField
from kinetic_jax.transforms._cfg import CFG, CFGField, cfg
from kinetic_jax.transforms._phases import is_landing


class CFGZeroStarField(CFGField):
    """The guided velocity field; see `cfg_zero_star`."""

    zero_until: Float[Array, ""]

    def closing_rate(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """That of the field inside; 0 before `zero_until`."""
        rate = super().closing_rate(t)
        return jnp.where(is_landing(t, self.zero_until), rate, jnp.zeros_like(rate))

    def _guided(self, t: Array, x: State, cond: PyTree[Any]) -> State:
        conditional, unconditional = self.both(t, x, cond)
        dtype = dtype_of(x)
        own, other = (
            ravel_pytree(velocity)[0].astype(at_least_float32(dtype))
            for velocity in (conditional, unconditional)
        )
        square = jnp.sum(other**2)
        projection = jnp.sum(own * other) / jnp.where(square == 0, 1, square)
        is_on, scale = is_landing(t, self.zero_until), self.scale.astype(dtype)

        def guided(c: Array, u: Array) -> Array:
            base = projection.astype(dtype) * u
            return jnp.where(is_on, base + scale * (c - base), jnp.zeros_like(c))

        return jax.tree.map(guided, conditional, unconditional)


class CFGZeroStar(CFG):
    """The transform that `cfg_zero_star` returns."""

    zero_until: Float[Array, ""]

    def __call__(self, field: VelocityField) -> CFGZeroStarField:
        """Wraps `field`."""
        inner = super().__call__(field)
        return CFGZeroStarField(
            inner.field, inner.scale, inner.unconditional, None, self.zero_until
        )


def cfg_zero_star(
    scale: ArrayLike, null_cond: PyTree[Any], *, zero_until: ArrayLike = 0.0
) -> CFGZeroStar:
    """CFG-Zero*: `s v_u + w (v_c − s v_u)` with `s = ⟨v_c, v_u⟩/||v_u||²`, and 0 at first.

    s is the projection of the conditional velocity on the unconditional one, over all dimensions
    of a sample, in float32 or better.

    Args:
        scale: the guidance weight w; traced.
        null_cond: as in `cfg`.
        zero_until: the velocity is 0 before this time, in [0, 1); one step of 50 in the paper,
            0.02. The energy spent there is 0.

    Returns:
        The transform of fields, a pytree.

    Raises:
        ValueError: as `cfg`; if `zero_until` lies outside [0, 1).

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.transforms import cfg_zero_star
        >>> labelled = lambda t, x, cond: x + cond
        >>> guided = cfg_zero_star(3.0, null_cond=0.0)(labelled)
        >>> guided(jnp.array(0.5), jnp.ones(2), jnp.array(1.0))  # parallel: no guidance is left
        Array([2., 2.], dtype=float32)

    References:
        Fan et al., CFG-Zero*, arXiv 2503.18886.
    """
    transform = cfg(scale, null_cond)
    until = float_scalar(zero_until, "zero_until")
    if is_concrete(until):
        require(0 <= float(np.asarray(until)) < 1, "zero_until", zero_until, "lie in [0, 1)")
    return CFGZeroStar(transform.scale, transform.null_cond, None, until)
