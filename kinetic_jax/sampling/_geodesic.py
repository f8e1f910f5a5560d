"""One step of one sample on a manifold, along a geodesic."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kinetic_jax._checks import require
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._norms import norm_from_squared
from kinetic_jax.energy._path_energy import PathEnergy, PhaseTotals, path_energy
from kinetic_jax.fields import Field
from kinetic_jax.fields._protocol import checked_velocity
from kinetic_jax.manifolds import Manifold
from kinetic_jax.sampling._explicit import Stages, share_before, stage_time, weighted_sum
from kinetic_jax.sampling._plan import FixedPlan, Given, Spent


def starts_of(field: Field, x0: Float[Array, "batch *event"]) -> Float[Array, "batch *event"]:
    """Where a batch of paths begins: on a manifold, at the points nearest to `x0`."""
    return x0 if field.manifold is None else jax.vmap(field.manifold.nearest)(x0)


def geodesic_energy(
    manifold: Manifold,
    x0: Float[Array, "batch *event"],
    x1: Float[Array, "batch *event"],
    totals: PhaseTotals,
    duration: Float[Array, ""],
) -> PathEnergy:
    """The energies of paths on a manifold, whose excess is what no geodesic needs.

    A path of geodesic steps is never shorter than the geodesic between its ends, so that only
    rounding makes the difference negative.
    """
    energy = path_energy(totals, jax.vmap(manifold.distance)(x0, x1) ** 2, duration)
    excess = energy.total - energy.displacement
    rounding = 16 * float(jnp.finfo(excess.dtype).eps) * energy.total
    excess = jnp.where(excess >= -rounding, jnp.maximum(excess, 0), excess)
    return dataclasses.replace(energy, excess=excess)


def check_stages(field: Field, stages: Stages) -> None:
    """Refuses more stages than exp and projections alone keep the order of."""
    is_low = field.manifold is None or len(stages.c) <= 2
    expected = "have at most two stages (Euler, Midpoint, Heun, Ralston) on a manifold"
    require(is_low, "solver", f"one of {len(stages.c)} stages", expected)


def geodesic_step(
    field: Field,
    manifold: Manifold,
    plan: FixedPlan,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    x: Float[Array, "*event"],
    previous: Float[Array, "*event"],
    given: Given,
) -> tuple[Float[Array, "*event"], Float[Array, "*event"], Spent]:
    """One step of ONE sample: where it ends, its velocity there, and what it spent.

    A mean of velocities of several stages is projected onto the tangent space where the step
    begins. That, and exp, keep the second order of a solver of two stages: the part that the
    projection removes is of first order in the step, and is what exp puts back.

    Args:
        field: the velocity field.
        manifold: where it moves.
        plan: the solver's stages, and the last time at which the field is evaluated.
        t0: where the step begins.
        t1: where it ends.
        x: the start of the step.
        previous: the velocity with which the step before arrived at x.
        given: the condition.
    """
    step, stages, velocities, squares = t1 - t0, plan.stages, list[Array](), list[Array]()
    for c, weights in zip(stages.c, stages.a, strict=True):
        time, rate, length = stage_time(c, t0, t1), weighted_sum(weights, velocities), step
        if plan.arrival is not None and c != 0:  # back along the geodesic
            time, share = share_before(plan.arrival, t0, time)
            length = share * step
        position = x if rate is None else manifold.exp(x, length * manifold.tangent(x, rate))
        output = field(time, position, given.cond)
        velocity = manifold.tangent(position, checked_velocity(output, x))
        velocities.append(velocity)
        squares.append(_square(manifold, position, velocity))
    mean = manifold.tangent(x, weighted_sum(stages.b, velocities))
    power = weighted_sum(stages.b, [square / 2 for square in squares])
    speed = weighted_sum(stages.b, [norm_from_squared(square) for square in squares])
    end, arriving = jax.jvp(
        lambda time: manifold.exp(x, time * mean), (step,), (jnp.ones_like(step),)
    )
    bend = manifold.tangent(x, mean - previous)
    spent = Spent(
        power,
        speed,
        jnp.zeros_like(power),  # the excess is known at the end, from the distance
        _square(manifold, x, mean),
        _square(manifold, x, bend),
    )
    return end, arriving, spent


def _square(manifold: Manifold, x: Array, v: Array) -> Array:
    wide = at_least_float32(x.dtype)
    return manifold.inner(x.astype(wide), v.astype(wide), v.astype(wide))
