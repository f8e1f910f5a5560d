"""Formulas of the kinetic path energy and its decomposition."""

import functools

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from kinetic_jax._norms import norm_from_squared, squared_norm
from kinetic_jax._pytree import result
from kinetic_jax._state import State


@result
class PathEnergy:
    """The kinetic energy of each sample's path, `E = ½ ∫ ||u(t, x(t))||² dt`.

    The factor ½ is included; norms are SUMS over all dimensions of an event, not means, and over
    all arrays of a pytree; u is the executed velocity (ηv under a gain). Under a mass m, ||u||² is
    Σ m u² in all of them; on a manifold it is the manifold's inner product of u with itself. Every
    field has shape (batch,), in float32 or better.
    With T = t1 − t0:

    Attributes:
        total: E = launch + landing.
        launch: the energy of the steps that begin before tau_split.
        landing: the energy of the steps that begin at or after it.
        displacement: ||x1 − x0||² / (2T), the energy of the straight path between the ends; on a
            manifold the squared geodesic distance takes the place of ||x1 − x0||².
        excess: ½ ∫ ||u − (x1 − x0)/T||² dt, the straightness excess. It equals total −
            displacement, but is summed about the running mean velocity, because that difference
            loses all digits on long, nearly straight paths. (On a manifold it is that difference.)
        length: L = ∫ ||u|| dt (no ½).

    For solvers with non-negative weights (Euler, Midpoint, Heun, Bosh3) excess ≥ 0 and
    length ≤ sqrt(2 T E) hold up to rounding; for others (Tsit5, Dopri5) up to truncation error.
    """

    total: Float[Array, "*batch"]
    launch: Float[Array, "*batch"]
    landing: Float[Array, "*batch"]
    displacement: Float[Array, "*batch"]
    excess: Float[Array, "*batch"]
    length: Float[Array, "*batch"]


class CompensatedSum(eqx.Module):
    """A running sum whose rounding error does not grow with the number of terms (Kahan's).

    Attributes:
        value: the sum.
        surplus: its rounding error, which is subtracted from the next term.
    """

    value: Float[Array, "*shape"]
    surplus: Float[Array, "*shape"]

    def add(self, term: Float[Array, "*shape"]) -> "CompensatedSum":
        """The sum with one more term."""
        term = term - self.surplus
        value = self.value + term
        return CompensatedSum(value, (value - self.value) - term)


def no_sum(shape: tuple[int, ...], dtype: jnp.dtype) -> CompensatedSum:
    """An empty sum."""
    return CompensatedSum(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


class PhaseTotals(eqx.Module):
    """Energy and length of a path so far.

    Attributes:
        sums: launch, landing, length and excess along the last axis; each separate array would
            cost a loop two kernels.
    """

    sums: CompensatedSum

    def add(
        self,
        launch: Float[Array, "*batch"],
        landing: Float[Array, "*batch"],
        length: Float[Array, "*batch"],
        excess: Float[Array, "*batch"],
    ) -> "PhaseTotals":
        """Adds to each of the four."""
        return PhaseTotals(self.sums.add(jnp.stack([launch, landing, length, excess], -1)))

    def credit(
        self,
        energy: Float[Array, "*batch"],
        length: Float[Array, "*batch"],
        excess: Float[Array, "*batch"],
        landing: Bool[Array, "..."],
    ) -> "PhaseTotals":
        """Adds one step, with its energy in the phase that contains its left end."""
        zero = jnp.zeros_like(energy)
        early, late = jnp.where(landing, zero, energy), jnp.where(landing, energy, zero)
        return self.add(early, late, length, excess)


def no_totals(shape: tuple[int, ...], dtype: jnp.dtype) -> PhaseTotals:
    """Totals at the start of a path."""
    return PhaseTotals(no_sum((*shape, 4), dtype))


def kinetic_rates(
    u: State, axes: tuple[int, ...] | None = None, mass: State | None = None
) -> tuple[Array, Array]:
    """The integrands of energy and length, (½||u||², ||u||)."""
    squared = squared_norm(u, axes, mass)
    return squared / 2, norm_from_squared(squared)


def excess_rate(
    weights: tuple[float, ...],
    velocities: list[Float[Array, "*event"]],
    mean: Float[Array, "*event"],
    moved: Float[Array, "*event"],
    before: Float[Array, "*batch"],
    after: Float[Array, "*batch"],
    mass: Float[Array, "*event"] | None,
    axes: tuple[int, ...] | None = None,
) -> Float[Array, "*batch"]:
    """The mean integrand ½ (Σ b_i ||k_i − u||² + T/(T + h) ||u − m||²) of the excess over a step.

    Velocities may be relative to a constant one, and `moved` then to its path.

    Args:
        weights: the solver's b_i.
        velocities: the stages' k_i.
        mean: u, the step's mean velocity.
        moved: the way up to the step, so that m = moved/T is the mean velocity up to there.
        before: T, the time up to the step.
        after: T + h, not 0.
        mass: weights of the squares.
        axes: those of an event, in a batch with times of shape (batch,); None for ONE sample.
    """
    weighted = [(b, k) for b, k in zip(weights, velocities, strict=True) if b != 0]
    elapsed = jnp.where(before == 0, jnp.ones_like(before), before)
    so_far = moved / jnp.expand_dims(elapsed, axes or ())
    unit = weighted[0][0]  # factored out: equal weights then need no product
    squares, share = (mean - so_far) ** 2, before / (unit * after)
    if len(weighted) == 1:  # the one velocity is the mean
        return share / 2 * _sum(squares, mass, axes)
    squares = jnp.expand_dims(share, axes or ()) * squares
    for weight, velocity in weighted:
        square = (velocity - mean) ** 2
        squares = squares + (square if weight == unit else weight / unit * square)
    return unit / 2 * _sum(squares, mass, axes)


def _sum(squares: Array, mass: Array | None, axes: tuple[int, ...] | None) -> Array:
    squares = squares if mass is None else mass.astype(squares.dtype) * squares
    return jnp.sum(squares, axis=axes)


def path_energy(
    totals: PhaseTotals, squared_displacement: Float[Array, "*batch"], duration: Float[Array, "..."]
) -> PathEnergy:
    """The energies of a path, from its totals and its displacement ||x1 − x0||² over a time T."""
    launch, landing, length, excess = (totals.sums.value[..., i] for i in range(4))
    return PathEnergy(
        total=launch + landing,
        launch=launch,
        landing=landing,
        displacement=squared_displacement / (2 * duration),
        excess=excess,
        length=length,
    )


def has_finite_energy(energy: PathEnergy) -> Bool[Array, "*batch"]:
    """True for paths whose energies are all finite."""
    numbers = (energy.total, energy.displacement, energy.excess, energy.length)
    return functools.reduce(jnp.logical_and, map(jnp.isfinite, numbers))
