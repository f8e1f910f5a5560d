"""One step of one sample on a fixed grid, and what it spends."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float

from kinetic_jax._norms import squared_norm
from kinetic_jax.energy._measure import seen_from
from kinetic_jax.energy._path_energy import excess_rate, kinetic_rates
from kinetic_jax.fields import Field
from kinetic_jax.fields._divergence import velocity_and_divergence
from kinetic_jax.fields._protocol import velocity_of
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
    divergences = list[Array]()
    for _ in stages.c:
        t, position = stage_point(stages, velocities, t0, t1, x, plan.arrival)
        velocity_at = functools.partial(velocity_of, field, t, given.cond)
        if plan.with_density:
            velocity, divergence = velocity_and_divergence(velocity_at, position, given.probes)
            divergences.append(divergence)
        else:
            velocity = velocity_at(position)
        velocities.append(velocity)
    mean = weighted_sum(stages.b, velocities)
    rates = [kinetic_rates(seen_from(frame, velocity), None, mass) for velocity in velocities]
    power, speed = weighted_sum(stages.b, rates)
    before, after = t0 - plan.nodes[0], t1 - plan.nodes[0]
    excess = excess_rate(stages.b, velocities, mean, x - x0, before, after, mass)
    bend2 = squared_norm(mean - previous, None, mass)
    # Never true. It makes velocity and x wait for what is measured of them, so that the new ones
    # may overwrite the old; else XLA copies the batch in every step, which shows in
    # `benchmarks/speed/overhead.py`.
    velocity = jnp.where(bend2 + jnp.abs(excess) < 0, jnp.zeros_like(mean), mean)
    speed2 = squared_norm(seen_from(frame, mean), None, mass)
    growth = weighted_sum(stages.b, divergences) if plan.with_density else None
    spent = Spent(power, speed, excess, speed2, bend2, growth)
    return advance(x, velocity, t1 - t0), velocity, spent
