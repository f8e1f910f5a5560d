"""The share of its noise that a gain, an early stop or a coarse grid leaves on a sample."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kinetic_jax._checks import as_array, require
from kinetic_jax._dtypes import at_least_float32, clock_stop, last_stage
from kinetic_jax.fields import Field
from kinetic_jax.sampling._explicit import (
    Stages,
    advance,
    stage_point,
    stage_time,
    weighted_sum,
)
from kinetic_jax.sampling._plan import FixedPlan


def residual_factor(
    field: Field,
    stages: Stages,
    arrival: Float[Array, ""] | None,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
) -> Float[Array, ""]:
    """The factor by which a step from t0 to t1 multiplies the residual r, dr/dt = −κ(t) r.

    On the path to a row X, `x = X + r (x0 − X)` and `u = κ (X − x)`, with κ = `field.closing_rate`.
    A field that declares an `arrival` before 1 is of that kind, singular at its end, and the solver
    takes its own step. Velocities of other fields, such as networks, stay finite at t = 1: over a
    step they are like those at its left end times the gain, and r falls by the mean gain
    Σ b_i η(t_i) over the share h/(1 − t0) of the way that is left. For Euler's steps both are one.
    """
    dtype = at_least_float32(jnp.result_type(t0))
    one, rates, gains = jnp.ones((), dtype), list[Array](), list[Array]()
    for c in stages.c:
        t, r = stage_point(stages, rates, t0, t1, one, arrival)
        rates.append(-_rate(field, t).astype(dtype) * r)
        time = _before_end(stage_time(c, t0, t1))
        gains.append((_rate(field, time) * (1 - time)).astype(dtype))
    left = _before_end(t0)
    mean = weighted_sum(stages.b, gains)
    smooth = one - ((t1 - t0) / (1 - left)).astype(dtype) * mean
    if arrival is None:
        return smooth
    by_stages = advance(one, weighted_sum(stages.b, rates), t1 - t0)
    rounding = 16 * float(jnp.finfo(arrival.dtype).eps)
    return jnp.where(arrival <= last_stage(arrival.dtype) + rounding, by_stages, smooth)


def _before_end(t: Float[Array, ""]) -> Float[Array, ""]:
    """t, or the last time before 1 at which κ has digits left."""
    return jnp.minimum(t, 1 - clock_stop(t.dtype))


def _rate(field: Field, t: Float[Array, ""]) -> Float[Array, ""]:
    """The field's closing rate, at a time where it is finite.

    Raises:
        ValueError: if it is not one real number.
    """
    t = _before_end(t)
    rate = as_array("the output of closing_rate", field.closing_rate(t))
    is_real = not jnp.issubdtype(rate.dtype, jnp.complexfloating)
    got = f"shape {rate.shape} and dtype {rate.dtype}"
    require(rate.shape == () and is_real, "closing_rate", got, "return one number for one time")
    return rate.astype(t.dtype)


def residual_of(field: Field, plan: FixedPlan) -> Float[Array, ""]:
    """The residual after all steps of a fixed grid, which begin at r = 1 − t0."""

    def factor(t0: Array, t1: Array) -> Array:
        return residual_factor(field, plan.stages, plan.arrival, t0, t1)

    factors = jax.vmap(factor)(plan.nodes[:-1], plan.nodes[1:])
    return jnp.prod(factors) * (1 - plan.nodes[0]).astype(factors.dtype)
