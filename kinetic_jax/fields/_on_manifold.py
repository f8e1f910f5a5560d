"""Fields whose samples move on a manifold."""

from typing import Any

from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import require, short
from kinetic_jax._dtypes import as_time
from kinetic_jax.fields._field import WrappedField
from kinetic_jax.fields._protocol import VelocityField, as_field, checked_velocity
from kinetic_jax.manifolds import Manifold


class ManifoldField(WrappedField):
    """See `on_manifold`."""

    space: Manifold
    untrained = ("space",)
    keeps_pace = True

    @property
    def manifold(self) -> Manifold:
        """The manifold."""
        return self.space

    def __call__(
        self, t: Float[ArrayLike, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Float[Array, "*event"]:
        """The velocity of one sample, tangent to the manifold at x."""
        return self.space.tangent(x, checked_velocity(self.field(as_time(t, x), x, cond), x))


def on_manifold(field: VelocityField, manifold: Manifold) -> ManifoldField:
    """A field whose samples move on a manifold.

    `sample`, `sweep` and `run_job`, also under transforms, then

    - move x0 to the nearest point of the manifold,
    - project velocities onto its tangent spaces,
    - step along geodesics: `x ← exp_x(h u)`, with `Euler()` of first order, and with a solver of
      two stages (`Midpoint()`, `Heun()`) of second,
    - measure speeds by its inner product, `E = ½ ∫ ⟨u, u⟩ dt`, and the displacement by its
      distance, `d(x0, x1)²/(2T)`: a geodesic has the energy d²/(2T) and the excess 0,
    - compare the velocities of two steps (`bend2`) after moving the first along its geodesic.

    Steps are those of a fixed grid; `mass` and `frame` belong to flat space. Sphere and rotations
    may have leading axes, a product of one kind: a pytree of several manifolds is not supported.

    Args:
        field: the velocity field; the network behind it may leave the tangent space.
        manifold: a `kinetic_jax.manifolds.Manifold`.

    Returns:
        The field, with its `manifold`.

    Raises:
        ValueError: if `field` is not a velocity field, `manifold` not a manifold, or the field is
            on a manifold already.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import sample
        >>> from kinetic_jax.fields import on_manifold
        >>> from kinetic_jax.manifolds import Sphere
        >>> turn = lambda t, x, cond=None: jnp.stack([-x[1], x[0], 0 * x[2]])  # 1 radian
        >>> run = sample(on_manifold(turn, Sphere()), jnp.array([[1.0, 0.0, 0.0]]))
        >>> run.x1.round(4)  # (cos 1, sin 1, 0)
        Array([[0.5403, 0.8415, 0.    ]], dtype=float32)
        >>> run.energy.total.round(4), run.energy.excess.round(4)
        (Array([0.5], dtype=float32), Array([0.], dtype=float32))

    References:
        Chen and Lipman, Flow matching on general geometries, arXiv 2302.03660.
    """
    inner = as_field(field)
    is_manifold = isinstance(manifold, Manifold)
    require(is_manifold, "manifold", short(manifold), "be a kinetic_jax.manifolds.Manifold")
    expected = "be in flat space"
    require(inner.manifold is None, "field", "one that is on a manifold already", expected)
    return ManifoldField(inner, manifold)
