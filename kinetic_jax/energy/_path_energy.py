"""Kinetic path energy of a trajectory and its decomposition: the formulas, in one place."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._pytree import result


@result
class PathEnergy:
    """The kinetic energy of each sample's path, `E = ½ ∫ ||u(t, x(t))||² dt`.

    The factor ½ is in; norms are SUMS over all dimensions of an event, not means; u is the
    velocity actually executed (ηv under a gain). Every field has shape (batch,), in float32 or
    better. With T = t1 − t0:

    Attributes:
        total: E = launch + landing.
        launch: the energy of the steps that begin before tau_split.
        landing: the energy of the steps that begin at or after it.
        displacement: ||x1 − x0||² / (2T), the energy of the straight path between the ends.
        excess: total − displacement = ½ ∫ ||u − (x1 − x0)/T||² dt, the straightness excess.
        length: L = ∫ ||u|| dt (no ½).

    excess ≥ 0 and length ≤ sqrt(2 T E) hold, up to rounding, for solvers with non-negative
    weights (Euler, Midpoint, Heun, Bosh3); with others (Tsit5, Dopri5) up to truncation error.
    """

    total: Float[Array, "*batch"]
    launch: Float[Array, "*batch"]
    landing: Float[Array, "*batch"]
    displacement: Float[Array, "*batch"]
    excess: Float[Array, "*batch"]
    length: Float[Array, "*batch"]


class PhaseTotals(eqx.Module):
    """What a path has spent so far: energy by phase, and length."""

    launch: Float[Array, "*batch"]
    landing: Float[Array, "*batch"]
    length: Float[Array, "*batch"]

    def credit(
        self,
        energy: Float[Array, "*batch"],
        length: Float[Array, "*batch"],
        landing: Bool[Array, "..."],
    ) -> "PhaseTotals":
        """Adds the energy and length of one step to the phase its left end lies in."""
        nothing = jnp.zeros_like(energy)
        return PhaseTotals(
            self.launch + jnp.where(landing, nothing, energy),
            self.landing + jnp.where(landing, energy, nothing),
            self.length + length,
        )


def no_totals(shape: tuple[int, ...], dtype: jnp.dtype) -> PhaseTotals:
    """Totals at the start of a path."""
    zero = jnp.zeros(shape, dtype)
    return PhaseTotals(zero, zero, zero)


def squared_norm(x: Float[Array, "*shape"], axes: tuple[int, ...] | None = None) -> Array:
    """The sum of squares over `axes` (all by default), in float32 or better."""
    x = x.astype(at_least_float32(x.dtype))
    return jnp.sum(x * x, axis=axes)


def norm_from_squared(squared: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Square root whose gradient at 0 is 0 (a field at rest), not infinite."""
    at_rest = squared <= 0
    root = jnp.sqrt(jnp.where(at_rest, jnp.ones_like(squared), squared))
    return jnp.where(at_rest, jnp.zeros_like(squared), root)


def kinetic_rates(
    u: Float[Array, "*shape"], axes: tuple[int, ...] | None = None
) -> tuple[Array, Array]:
    """The integrands of energy and length, (½||u||², ||u||)."""
    squared = squared_norm(u, axes)
    return squared / 2, norm_from_squared(squared)


def path_energy(
    totals: PhaseTotals,
    squared_displacement: Float[Array, "*batch"],
    duration: Float[Array, "..."],
) -> PathEnergy:
    """Completes the totals of a path by its displacement ||x1 − x0||² over a time T."""
    total = totals.launch + totals.landing
    displacement = squared_displacement / (2 * duration)
    return PathEnergy(
        total=total,
        launch=totals.launch,
        landing=totals.landing,
        displacement=displacement,
        excess=total - displacement,
        length=totals.length,
    )
