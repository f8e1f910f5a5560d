"""The share of its noise that a gain, an early stop or a coarse grid leaves on a sample."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kinetic_jax._dtypes import at_least_float32
from kinetic_jax.fields import Field
from kinetic_jax.sampling._diffrax import Scalar
from kinetic_jax.sampling._explicit import advance, before_arrival, stage_point, weighted_sum
from kinetic_jax.sampling._plan import FixedPlan


def residual_rate(
    field: Field, arrival: Float[Array, ""] | None, t0: Scalar, r0: Array, t: Scalar, r: Array
) -> Float[Array, ""]:
    """dr/dt = −κ(t) r at a stage (t, r) of a step from (t0, r0), with κ = `field.closing_rate`.

    A path towards a sample X is `x = X + r (x0 − X)`, and `u = κ (X − x)` there. Where κ is not
    finite, at t = 1, r is 0: such a stage is moved back along its chord, as those of a field with
    an `arrival` are.
    """
    rate = field.closing_rate(jnp.asarray(t))
    if arrival is None:
        last = jnp.asarray(1 - float(jnp.finfo(r.dtype).eps) ** (1 / 3), rate.dtype)
        time, share = before_arrival(last, t0, r0, t, r)
        is_finite = jnp.isfinite(rate)
        r = jnp.where(is_finite, r, share)
        rate = jnp.where(is_finite, rate, field.closing_rate(time))
    return -rate.astype(r.dtype) * r


def residual_of(field: Field, plan: FixedPlan) -> Float[Array, ""]:
    """The residual r after all steps of a fixed grid, which begin at r = 1 − t0.

    The steps of an explicit Runge–Kutta method multiply r, as the equation is linear: the same
    steps, on the path to one row, end at `X + r (x0 − X)` up to rounding.
    """
    dtype = at_least_float32(plan.nodes.dtype)

    def factor(t0: Array, t1: Array) -> Array:
        one, rates = jnp.ones((), dtype), list[Array]()
        for _ in plan.stages.c:
            t, r = stage_point(plan.stages, rates, t0, t1, one, plan.arrival)
            rates.append(residual_rate(field, plan.arrival, t0, one, t, r))
        return advance(one, weighted_sum(plan.stages.b, rates), t1 - t0)

    factors = jax.vmap(factor)(plan.nodes[:-1], plan.nodes[1:])
    return jnp.prod(factors) * (1 - plan.nodes[0]).astype(dtype)
