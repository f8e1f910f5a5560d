"""Sampling on a fixed grid: explicit steps inside `lax.scan`, one program for the whole batch."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import varied_as, varying_loop
from kinetic_jax._norms import squared_norm
from kinetic_jax.energy._measure import seen_from
from kinetic_jax.energy._path_energy import (
    CompensatedSum,
    PhaseTotals,
    has_finite_energy,
    no_sum,
    no_totals,
    path_energy,
)
from kinetic_jax.fields import Field
from kinetic_jax.sampling._density import log_density_of
from kinetic_jax.sampling._geodesic import geodesic_energy, starts_of
from kinetic_jax.sampling._plan import FixedPlan, Given, SavePlan, Spent
from kinetic_jax.sampling._residual import residual_of
from kinetic_jax.sampling._step import step_of_one
from kinetic_jax.sampling._trajectories import NOT_FINITE, OK, KineticProfile, Trajectories


class Motion(NamedTuple):
    """The state of a batch that steps.

    Attributes:
        x: positions.
        velocity: the mean velocity of the last step.
        totals: energy and length so far.
        finite: True for samples whose profiles are finite so far.
        divergence: ∫ div u dt so far, or None where it is not integrated.
    """

    x: Float[Array, "batch *event"]
    velocity: Float[Array, "batch *event"]
    totals: PhaseTotals
    finite: Bool[Array, " batch"]
    divergence: CompensatedSum | None = None


class Records(NamedTuple):
    """The quantities recorded at each step.

    Attributes:
        speed2: ||u||² of each step's mean velocity u.
        bend2: ||u − u of the step before||².
        saved: positions at the nodes of a `SavePlan`, or None.
    """

    speed2: Float[Array, "batch steps"]
    bend2: Float[Array, "batch steps"]
    saved: Float[Array, "batch slots *event"] | None


def at_start(x0: Float[Array, "batch *event"], plan: FixedPlan) -> tuple[Motion, Records]:
    """A batch that has not moved."""
    batch, dtype = x0.shape[:1], at_least_float32(x0.dtype)
    # For the velocity before the first step any numbers do, and x0 costs no kernel to make.
    divergence = no_sum(batch, dtype) if plan.with_density else None
    motion = Motion(x0, x0, no_totals(batch, dtype), jnp.ones(batch, bool), divergence)
    profile, saved = jnp.zeros((*batch, plan.nodes.size - 1), dtype), None
    if plan.save is not None:
        saved = jnp.zeros((*batch, plan.save.num_slots, *x0.shape[1:]), x0.dtype)
    return motion, Records(profile, profile, saved)


def loop_over_steps(
    field: Field,
    x0: Float[Array, "batch *event"],
    given: Given,
    plan: FixedPlan,
    start: tuple[Motion, Records],
    active: Bool[Array, " steps"] | None = None,
) -> tuple[Callable[..., Any], tuple[Motion, Records], PyTree[Array]]:
    """The arguments of the `jax.lax.scan` that moves a batch over all steps, or the active ones."""

    def step(carry: tuple[Motion, Records], xs: PyTree[Array]) -> Any:
        motion, records = carry
        i, t0, t1, slot, is_active = xs
        move = jax.vmap(functools.partial(step_of_one, field, plan, t0, t1))
        inputs = x0, motion.x, motion.velocity, given

        def stay(x0: Array, x: Array, velocity: Array, given: Given) -> Any:
            nothing = jnp.zeros_like(records.speed2[:, 0])
            return varied_as((x, velocity, Spent(*[nothing] * 5)), move, x0, x, velocity, given)

        if active is None:
            x, velocity, spent = move(*inputs)
        else:
            x, velocity, spent = jax.lax.cond(is_active, move, stay, *inputs)
        h = (t1 - t0).astype(spent.power.dtype)
        landing = plan.is_landing(t0, t1)
        totals = motion.totals.credit(spent.power * h, spent.speed * h, spent.excess * h, landing)
        bend2 = jnp.where(t0 == plan.nodes[0], jnp.zeros_like(spent.bend2), spent.bend2)
        # Step by step, because a check at the end makes XLA keep a copy of the whole profile.
        finite = motion.finite & jnp.isfinite(spent.speed2) & jnp.isfinite(bend2)
        records = _recorded(records, motion.x, i, slot, (spent.speed2, bend2), is_active)
        divergence = motion.divergence
        if divergence is not None:
            divergence = divergence.add(spent.divergence * h)
        return (Motion(x, velocity, totals, finite, divergence), records), None

    steps = jnp.arange(plan.nodes.size - 1, dtype=jnp.int32)
    slots = None if plan.save is None else plan.save.slots[:-1]
    xs = steps, plan.nodes[:-1], plan.nodes[1:], slots, active
    return *varying_loop(step, start, xs), xs


def _recorded(
    records: Records,
    x: Float[Array, "batch *event"],
    i: Int[Array, ""],
    slot: Int[Array, ""] | None,
    entries: tuple[Float[Array, " batch"], Float[Array, " batch"]],
    is_active: Bool[Array, ""] | None,
) -> Records:
    """The records after step `i`, if that is active, from position `x`."""

    def into(rows: Array, entry: Array) -> Array:
        # Into its place, batch first: of stacked steps XLA holds a second, transposed copy.
        column, place = entry[:, None], (jnp.zeros_like(i), i)
        if is_active is not None:
            old = jax.lax.dynamic_slice(rows, place, column.shape)
            column = jnp.where(is_active, column, old)
        return jax.lax.dynamic_update_slice(rows, column, place)

    speed2, bend2 = into(records.speed2, entries[0]), into(records.bend2, entries[1])
    if records.saved is None:
        return Records(speed2, bend2, None)
    return Records(speed2, bend2, records.saved.at[:, slot].set(x, mode="drop"))


def finished(
    field: Field,
    x0: Float[Array, "batch *event"],
    given: Given,
    plan: FixedPlan,
    motion: Motion,
    records: Records,
) -> Trajectories:
    """The result for a batch that has arrived."""
    batch, nodes = x0.shape[0], plan.nodes
    duration = nodes[-1] - nodes[0]
    if field.manifold is None:
        moved = seen_from(given.frame, motion.x - x0, duration)
        moved2 = squared_norm(moved, tuple(range(1, x0.ndim)), given.mass)
        energy = path_energy(motion.totals, moved2, duration)
    else:
        energy = geodesic_energy(field.manifold, x0, motion.x, motion.totals, duration)
    # An x1 that is not finite makes the displacement so.
    finite, log_density = motion.finite & has_finite_energy(energy), None
    if motion.divergence is not None:
        ends = (x0, motion.x)
        log_density = log_density_of(*ends, motion.divergence.value, plan.is_backward)
        finite &= jnp.isfinite(log_density)
    return Trajectories(
        x1=motion.x,
        energy=energy,
        profile=KineticProfile(nodes[:-1], records.speed2, records.bend2),
        num_evals=jnp.full(batch, (nodes.size - 1) * len(plan.stages.c), jnp.int32),
        status=jnp.where(finite, OK, NOT_FINITE).astype(jnp.int32),
        residual=None if plan.is_backward else jnp.full(batch, residual_of(field, plan)),
        log_density=log_density,
    )


@eqx.filter_jit
def solve_fixed(
    field: Field, x0: Float[Array, "batch *event"], given: Given, plan: FixedPlan
) -> Trajectories:
    """Trajectories of a batch on a fixed grid."""
    x0 = starts_of(field, x0)
    loop = loop_over_steps(field, x0, given, plan, at_start(x0, plan))
    motion, records = jax.lax.scan(*loop)[0]
    run = finished(field, x0, given, plan, motion, records)
    if plan.save is None or records.saved is None:
        return run
    of_one = functools.partial(_path_of_one, field, plan, plan.save)
    path = jax.vmap(of_one)(records.saved, run.x1, given)
    finite = jnp.all(jnp.isfinite(path), axis=tuple(range(1, path.ndim)))
    extra = plan.save.which.size * len(plan.stages.c) if plan.save.between else 0
    return dataclasses.replace(
        run,
        num_evals=run.num_evals + extra,
        status=jnp.where(finite, run.status, NOT_FINITE).astype(jnp.int32),
        ts=plan.save.times,
        path=path,
    )


def _path_of_one(
    field: Field,
    plan: FixedPlan,
    save: SavePlan,
    saved: Float[Array, "slots *event"],
    x1: Float[Array, "*event"],
    given: Given,
) -> Float[Array, "times *event"]:
    """ONE sample at the saved times, from the nodes that were kept."""
    path = saved.at[save.slots[-1]].set(x1, mode="drop")[save.which]
    if not save.between:
        return path
    return jax.vmap(lambda t0, t1, x: step_of_one(field, plan, t0, t1, x, x, x, given)[0])(
        plan.nodes[save.before], save.times, path
    )
