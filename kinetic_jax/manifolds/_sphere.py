"""Spheres."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from kinetic_jax._checks import require
from kinetic_jax._norms import norm_from_squared
from kinetic_jax.manifolds._manifold import Manifold


class Sphere(Manifold):
    """Unit vectors along the last axis; other axes hold a product of spheres.

    The metric is that of the surrounding space, so that distances are angles. Normal noise is
    moved to the nearest point, which makes it uniform.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.manifolds import Sphere
        >>> north, east = jnp.array([0.0, 0.0, 1.0]), jnp.array([1.0, 0.0, 0.0])
        >>> Sphere().exp(north, jnp.pi / 2 * east).round(6) + 0.0
        Array([1., 0., 0.], dtype=float32)
        >>> Sphere().distance(north, east).round(4)
        Array(1.5708, dtype=float32)
    """

    def exp(self, x: Float[Array, "*event"], v: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """`cos(θ) x + sin(θ)/θ v` with θ = ||v||."""
        angle = _norm(v)
        return self.nearest(jnp.cos(angle) * x + jnp.sinc(angle / jnp.pi) * v)

    def distance(self, x: Float[Array, "*event"], y: Float[Array, "*event"]) -> Float[Array, ""]:
        """The angle, exact to rounding for near and for opposite points."""
        angles = 2 * jnp.arctan2(_norm(x - y), _norm(x + y))
        return norm_from_squared(jnp.sum(angles**2))

    def nearest(self, x: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """`x / ||x||`."""
        return x / _norm(x)

    def tangent(
        self, x: Float[Array, "*event"], v: Float[Array, "*event"]
    ) -> Float[Array, "*event"]:
        """`v − ⟨x, v⟩ x`."""
        return v - jnp.sum(x * v, axis=-1, keepdims=True) * x

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuses numbers without an axis, and vectors of one number."""
        expected = "be vectors of at least two numbers, as a sphere's points are"
        require(len(shape) >= 1 and shape[-1] >= 2, name, f"rows of shape {shape}", expected)


def _norm(x: Float[Array, "*event"]) -> Array:
    return norm_from_squared(jnp.sum(x * x, axis=-1, keepdims=True))
