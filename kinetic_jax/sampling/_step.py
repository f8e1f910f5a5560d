"""One step of one sample on a fixed grid, and what it spends."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from kinetic_jax._norms import squared_norm
from kinetic_jax.energy._measure import seen_from
from kinetic_jax.energy._path_energy import (
    kinetic_rates,
)
from kinetic_jax.fields import Field
from kinetic_jax.fields._protocol import checked_velocity
from kinetic_jax.fields._step import over_step
from kinetic_jax.sampling._explicit import advance, stage_point, weighted_sum
from kinetic_jax.sampling._geodesic import geodesic_step
from kinetic_jax.sampling._plan import FixedPlan, Given, Spent


def step_of_one(
    field: Field,
    plan: FixedPlan,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    x0: Float[Array, "*event"],
    x: Float[Array, "*event"],
    previous: Float[Array, "*event"],
    given: Given,
) -> tuple[Float[Array, "*event"], Float[Array, "*event"], Spent]:
    """One step of ONE sample: where it ends, its mean velocity, and what it spent.

    Args:
        field: the velocity field.
        plan: the solver's stages, and when the path began.
        t0: where the step begins.
        t1: where it ends.
        x0: the start of the path.
        x: the start of the step.
        previous: the mean velocity of the step before (on a manifold: that of arriving at x).
        given: the condition and the mass.
    """
    field = over_step(field, t0, t1)
    if field.manifold is not None:
        return geodesic_step(field, field.manifold, plan, t0, t1, x, previous, given)
    stages, velocities, mass, frame = plan.stages, list[Array](), given.mass, given.frame
    for _ in stages.c:
        t, position = stage_point(stages, velocities, t0, t1, x, plan.arrival)
        velocities.append(checked_velocity(field(t, position, given.cond), x))
    mean = weighted_sum(stages.b, velocities)
    rates = [kinetic_rates(seen_from(frame, velocity), None, mass) for velocity in velocities]
    power, speed = weighted_sum(stages.b, rates)
    before, after = t0 - plan.nodes[0], t1 - plan.nodes[0]
    excess = _excess_rate(stages.b, velocities, mean, x - x0, before, after, mass)
    bend2 = squared_norm(mean - previous, None, mass)
    # Never true. It makes velocity and x wait for what is measured of them, so that the new ones
    # may overwrite the old; else XLA copies the batch in every step, which shows in
    # `benchmarks/speed/overhead.py`.
    velocity = jnp.where(bend2 + jnp.abs(excess) < 0, jnp.zeros_like(mean), mean)
    spent = Spent(power, speed, excess, squared_norm(seen_from(frame, mean), None, mass), bend2)
    return advance(x, velocity, t1 - t0), velocity, spent


def _excess_rate(
    weights: tuple[float, ...],
    velocities: list[Float[Array, "*event"]],
    mean: Float[Array, "*event"],
    moved: Float[Array, "*event"],
    before: Float[Array, ""],
    after: Float[Array, ""],
    mass: Float[Array, "*event"] | None,
) -> Float[Array, ""]:
    """The mean integrand ½ (Σ b_i ||k_i − u||² + T/(T + h) ||u − m||²) of the excess over a step.

    Args:
        weights: the solver's b_i.
        velocities: the stages' k_i.
        mean: u, the step's mean velocity.
        moved: the way up to the step, so that m = moved/T is the mean velocity up to there.
        before: T, the time up to the step.
        after: T + h.
        mass: weights of the squares.
    """
    weighted = [(b, k) for b, k in zip(weights, velocities, strict=True) if b != 0]
    so_far = moved / jnp.where(before == 0, jnp.ones_like(before), before)
    unit = weighted[0][0]  # factored out: equal weights then need no product
    squares, share = (mean - so_far) ** 2, before / (unit * after)
    if len(weighted) == 1:  # the one velocity is the mean
        return share / 2 * _sum(squares, mass)
    squares = share * squares
    for weight, velocity in weighted:
        square = (velocity - mean) ** 2
        squares = squares + (square if weight == unit else weight / unit * square)
    return unit / 2 * _sum(squares, mass)


def _sum(squares: Float[Array, "*event"], mass: Float[Array, "*event"] | None) -> Array:
    return jnp.sum(squares if mass is None else mass.astype(squares.dtype) * squares)
