"""Flat tori."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import float_array, is_concrete, require, require_finite
from kinetic_jax._norms import norm_from_squared
from kinetic_jax._state import broadcast_like, broadcasts
from kinetic_jax.manifolds._manifold import Manifold


class FlatTorus(Manifold):
    """Numbers modulo a period, in [0, period): angles, fractional coordinates of crystals.

    Normal noise modulo a period of 1 is uniform (to 1e-8); for other periods see `from_normal`.

    Args:
        period: the period, one positive number or an array that broadcasts to the event; traced.

    Raises:
        ValueError: if a period is not finite and positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.manifolds import FlatTorus
        >>> torus = FlatTorus()
        >>> torus.distance(jnp.array([0.125]), jnp.array([0.875]))
        Array(0.25, dtype=float32)
    """

    period: Float[Array, "..."]

    def __init__(self, period: ArrayLike = 1.0):
        self.period = float_array(period, "period")
        require_finite("period", period)
        if is_concrete(self.period):
            require(bool(jnp.all(self.period > 0)), "period", period, "be positive")

    def exp(self, x: Float[Array, "*event"], v: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """`x + v` modulo the period."""
        return self.nearest(x + v)

    def distance(self, x: Float[Array, "*event"], y: Float[Array, "*event"]) -> Float[Array, ""]:
        """The norm of the difference, the shorter way round."""
        period = self._period(x)
        difference = y - x
        shortest = difference - period * jnp.round(difference / period)
        return norm_from_squared(jnp.sum(shortest**2))

    def nearest(self, x: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """`x` modulo the period."""
        period = self._period(x)
        point = jnp.mod(x, period)
        return jnp.where(point >= period, jnp.zeros_like(point), point)  # of −1e-9 by rounding

    def from_normal(self, z: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """`period z` modulo the period, uniform to 1e-8."""
        return self.nearest(self._period(z) * z)

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuses events to which the periods do not broadcast."""
        expected = f"be arrays to which periods of shape {self.period.shape} broadcast"
        require(broadcasts(self.period.shape, shape), name, f"rows of shape {shape}", expected)

    def _period(self, x: Float[Array, "*event"]) -> Float[Array, "*event"]:
        return broadcast_like(self.period, x).astype(x.dtype)
