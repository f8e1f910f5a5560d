"""Paths from data to noise: the solves of `sample`, on a clock s = −t that rises."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._dtypes import as_time
from kinetic_jax._state import State
from kinetic_jax.fields import Field, WrappedField
from kinetic_jax.sampling._adaptive import AdaptivePlan, solve_adaptive
from kinetic_jax.sampling._fixed import solve_fixed
from kinetic_jax.sampling._geodesic import starts_of
from kinetic_jax.sampling._plan import FixedPlan, Given
from kinetic_jax.sampling._trajectories import OK, KineticProfile, Trajectories


class BackwardField(WrappedField):
    """The velocity w(s, x) = −u(−s, x), whose paths are those of u from data to noise.

    The clock is −t, not 1 − t, which would round the times near t = 0.
    """

    def __call__(self, t: Float[ArrayLike, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The velocity of one sample."""
        return jax.tree.map(jnp.negative, self.field(-as_time(t, x), x, cond))

    def closing_rate(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """0: a path to noise closes in on no sample."""
        return jnp.zeros_like(t)

    @property
    def tau_split(self) -> Float[Array, ""] | None:
        """The kink of the field inside, on this clock."""
        tau = self.field.tau_split
        return None if tau is None else -tau


@eqx.filter_jit
def solve_fixed_backward(
    field: Field, x1: Float[Array, "batch *event"], given: Given, plan: FixedPlan
) -> Trajectories:
    """Trajectories of a batch that ends at x1, by the steps of `plan` from its end."""
    x1, nodes = starts_of(field, x1), -plan.nodes[::-1]
    backward = dataclasses.replace(plan, nodes=nodes, arrival=None, is_backward=True)
    run = solve_fixed(BackwardField(field), x1, _seen_backward(given), backward)
    assert run.profile is not None  # a fixed grid has one
    speed2, bend2 = run.profile.speed2[:, ::-1], run.profile.bend2[:, ::-1]
    # Recorded between a step and the next one: each moves on by one, the last 0 to the first.
    profile = KineticProfile(plan.nodes[:-1], speed2, jnp.roll(bend2, 1, axis=1))
    return dataclasses.replace(run, x1=x1, x0=_noise_of(run), profile=profile)


@eqx.filter_jit
def solve_adaptive_backward(
    field: Field, x1: Float[Array, "batch *event"], given: Given, plan: AdaptivePlan
) -> Trajectories:
    """Trajectories of a batch that ends at x1, each sample stepping on its own from its end."""
    backward = dataclasses.replace(
        plan,
        start=-plan.end,
        end=-plan.start,
        tau_split=-plan.tau_split,
        arrival=None,
        is_backward=True,
    )
    run = solve_adaptive(BackwardField(field), x1, _seen_backward(given), backward)
    first, last = run.energy.launch, run.energy.landing  # on this clock
    energy = dataclasses.replace(run.energy, launch=last, landing=first)
    return dataclasses.replace(run, x1=x1, x0=_noise_of(run), energy=energy)


def _noise_of(run: Trajectories) -> Array:
    """Where the paths arrived; NaN for those that failed."""
    is_valid = jnp.expand_dims(run.status == OK, tuple(range(1, run.x1.ndim)))
    return jnp.where(is_valid, run.x1, jnp.full_like(run.x1, jnp.nan))


def _seen_backward(given: Given) -> Given:
    """The same with the velocity of the frame on the clock −t."""
    return given if given.frame is None else given._replace(frame=-given.frame)
