"""The base class of manifolds."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class Manifold(eqx.Module):
    """A Riemannian manifold in flat space, whose points are arrays; all methods take ONE point.

    `kinetic_jax.fields.on_manifold(field, manifold)` makes a field move on it: steps follow
    geodesics, and energies are in its inner product. A subclass of your own overrides what is
    abstract here. Its metric is that of the surrounding space, up to a factor: then projections and
    `exp` keep the order of a solver of two stages. Of coordinates with a metric of their own (a
    chart), Euler alone keeps its order.
    """

    @abc.abstractmethod
    def exp(self, x: Float[Array, "*event"], v: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """The end of the geodesic that leaves `x` with velocity `v`, after a time of 1."""

    @abc.abstractmethod
    def distance(self, x: Float[Array, "*event"], y: Float[Array, "*event"]) -> Float[Array, ""]:
        """The length of the shortest path between two points."""

    @abc.abstractmethod
    def nearest(self, x: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """The point of the manifold nearest to an array."""

    def from_normal(self, z: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """The point that a job makes of normal noise: uniform on the manifolds here."""
        return self.nearest(z)

    def tangent(
        self, x: Float[Array, "*event"], v: Float[Array, "*event"]
    ) -> Float[Array, "*event"]:
        """The part of an array `v` that is tangent to the manifold at `x`, its projection."""
        del x
        return v

    def inner(
        self, x: Float[Array, "*event"], u: Float[Array, "*event"], v: Float[Array, "*event"]
    ) -> Float[Array, ""]:
        """The inner product of two tangent vectors at `x`, a sum over all dimensions."""
        del x
        return jnp.sum(u * v)

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Raises a ValueError, naming the argument, if no point has this shape."""
