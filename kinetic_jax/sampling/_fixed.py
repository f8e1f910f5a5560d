"""Sampling on a fixed grid: explicit steps inside `lax.scan`, one program for the whole batch."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import varied_as, varying_loop
from kinetic_jax.energy._path_energy import (
    PhaseTotals,
    has_finite_energy,
    kinetic_rates,
    no_totals,
    path_energy,
    squared_norm,
)
from kinetic_jax.fields import Field
from kinetic_jax.fields._protocol import checked_velocity
from kinetic_jax.fields._step import over_step
from kinetic_jax.sampling._explicit import Stages, advance, stage_point, weighted_sum
from kinetic_jax.sampling._grid import snapped
from kinetic_jax.sampling._trajectories import NOT_FINITE, OK, KineticProfile, Trajectories
from kinetic_jax.transforms._phases import is_landing


class SavePlan(eqx.Module):
    """The nodes of a fixed grid to keep, and the way from them to the saved times.

    A time between nodes is reached by one shorter step of the same solver from the node before
    it: of the solver's own order, and without touching the trajectory.

    Attributes:
        slots: for each node the slot it is kept in; `num_slots` for "not kept".
        which: for each saved time the slot of the node before it.
        before: the index of that node.
        times: the saved times.
        num_slots: how many nodes are kept.
        between: whether any saved time lies between nodes.
    """

    slots: Int[Array, " nodes"]
    which: Int[Array, " times"]
    before: Int[Array, " times"]
    times: Float[Array, " times"]
    num_slots: int = eqx.field(static=True)
    between: bool = eqx.field(static=True)


def save_plan(times: np.ndarray, nodes: np.ndarray, dtype: Any) -> SavePlan:
    """The plan that saves `times` on the grid `nodes`."""
    before, times = snapped(times, nodes)
    kept, which = np.unique(before, return_inverse=True)
    slots = np.full(nodes.size, kept.size, np.int32)
    slots[kept] = np.arange(kept.size)
    return SavePlan(
        jnp.asarray(slots),
        jnp.asarray(which, jnp.int32),
        jnp.asarray(before, jnp.int32),
        jnp.asarray(times, dtype),
        kept.size,
        bool(np.any(times != nodes[before])),
    )


def save_every_node(nodes: Float[Array, " nodes"]) -> SavePlan:
    """The plan that saves the whole path."""
    every = jnp.arange(nodes.size, dtype=jnp.int32)
    return SavePlan(every, every, every, nodes, nodes.size, False)


class FixedPlan(eqx.Module):
    """The steps of a batch; arrays are traced.

    Attributes:
        nodes: the times between which it steps.
        tau_split: where the energy is split.
        stages: of the solver.
        arrival: the last time at which the field is evaluated, or None.
        save: what is kept of the path, or None.
    """

    nodes: Float[Array, " nodes"]
    tau_split: Float[Array, ""]
    stages: Stages = eqx.field(static=True)
    arrival: Float[Array, ""] | None
    save: SavePlan | None = None


class Motion(NamedTuple):
    """The state of a batch that steps.

    Attributes:
        x: positions.
        velocity: the mean velocity of the last step.
        totals: energy and length so far.
        finite: True for samples whose profiles are finite so far.
    """

    x: Float[Array, "batch *event"]
    velocity: Float[Array, "batch *event"]
    totals: PhaseTotals
    finite: Bool[Array, " batch"]


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


class Spent(NamedTuple):
    """The energies of one step of one sample.

    Attributes:
        power: the mean of ½||u||² over the step.
        speed: the mean of ||u||.
        excess: the mean integrand of the excess.
        speed2: ||u||² of the step's mean velocity u.
        bend2: ||u − u of the step before||².
    """

    power: Float[Array, ""]
    speed: Float[Array, ""]
    excess: Float[Array, ""]
    speed2: Float[Array, ""]
    bend2: Float[Array, ""]


def at_start(x0: Float[Array, "batch *event"], plan: FixedPlan) -> tuple[Motion, Records]:
    """A batch that has not moved."""
    batch, dtype = x0.shape[:1], at_least_float32(x0.dtype)
    # For the velocity before the first step any numbers do, and x0 costs no kernel to make.
    motion = Motion(x0, x0, no_totals(batch, dtype), jnp.ones(batch, bool))
    profile, saved = jnp.zeros((*batch, plan.nodes.size - 1), dtype), None
    if plan.save is not None:
        saved = jnp.zeros((*batch, plan.save.num_slots, *x0.shape[1:]), x0.dtype)
    return motion, Records(profile, profile, saved)


def loop_over_steps(
    field: Field,
    x0: Float[Array, "batch *event"],
    cond: PyTree[Array],
    plan: FixedPlan,
    start: tuple[Motion, Records],
    active: Bool[Array, " steps"] | None = None,
) -> tuple[Callable[..., Any], tuple[Motion, Records], PyTree[Array]]:
    """The arguments of the `jax.lax.scan` that moves a batch over all steps, or the active ones."""

    def step(carry: tuple[Motion, Records], xs: Any) -> Any:
        motion, records = carry
        i, t0, t1, slot, is_active = xs
        move = jax.vmap(functools.partial(_step_of_one, field, plan, t0, t1))
        inputs = x0, motion.x, motion.velocity, cond

        def stay(x0: Array, x: Array, velocity: Array, cond: PyTree[Array]) -> Any:
            nothing = jnp.zeros_like(records.speed2[:, 0])
            return varied_as((x, velocity, Spent(*[nothing] * 5)), move, x0, x, velocity, cond)

        if active is None:
            x, velocity, spent = move(*inputs)
        else:
            x, velocity, spent = jax.lax.cond(is_active, move, stay, *inputs)
        h = (t1 - t0).astype(spent.power.dtype)
        landing = is_landing(t0, plan.tau_split)
        totals = motion.totals.credit(spent.power * h, spent.speed * h, spent.excess * h, landing)
        bend2 = jnp.where(t0 == plan.nodes[0], jnp.zeros_like(spent.bend2), spent.bend2)
        # Step by step, because a check at the end makes XLA keep a copy of the whole profile.
        finite = motion.finite & jnp.isfinite(spent.speed2) & jnp.isfinite(bend2)
        records = _recorded(records, motion.x, i, slot, (spent.speed2, bend2), is_active)
        return (Motion(x, velocity, totals, finite), records), None

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


def _step_of_one(
    field: Field,
    plan: FixedPlan,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    x0: Float[Array, "*event"],
    x: Float[Array, "*event"],
    previous: Float[Array, "*event"],
    cond: PyTree[Array],
) -> tuple[Float[Array, "*event"], Float[Array, "*event"], Spent]:
    """One step of ONE sample: where it ends, its mean velocity, and what it spent.

    Args:
        field: the velocity field.
        plan: the solver's stages, and when the path began.
        t0: where the step begins.
        t1: where it ends.
        x0: the start of the path.
        x: the start of the step.
        previous: the mean velocity of the step before.
        cond: the condition.
    """
    field = over_step(field, t0, t1)
    stages, velocities = plan.stages, list[Array]()
    for _ in stages.c:
        t, position = stage_point(stages, velocities, t0, t1, x, plan.arrival)
        velocities.append(checked_velocity(field(t, position, cond), x))
    mean = weighted_sum(stages.b, velocities)
    power, speed = weighted_sum(stages.b, [kinetic_rates(velocity) for velocity in velocities])
    before, after = t0 - plan.nodes[0], t1 - plan.nodes[0]
    excess = _excess_rate(stages.b, velocities, mean, x - x0, before, after)
    bend2 = squared_norm(mean - previous)
    # Never true. It makes velocity and x wait for what is measured of them, so that the new ones
    # may overwrite the old; else XLA copies the batch in every step, which shows in
    # `benchmarks/speed/overhead.py`.
    velocity = jnp.where(bend2 + jnp.abs(excess) < 0, jnp.zeros_like(mean), mean)
    spent = Spent(power, speed, excess, squared_norm(mean), bend2)
    return advance(x, velocity, t1 - t0), velocity, spent


def _excess_rate(
    weights: tuple[float, ...],
    velocities: list[Float[Array, "*event"]],
    mean: Float[Array, "*event"],
    moved: Float[Array, "*event"],
    before: Float[Array, ""],
    after: Float[Array, ""],
) -> Float[Array, ""]:
    """The mean integrand ½ (Σ b_i ||k_i − u||² + T/(T + h) ||u − m||²) of the excess over a step.

    Args:
        weights: the solver's b_i.
        velocities: the stages' k_i.
        mean: u, the step's mean velocity.
        moved: the way up to the step, so that m = moved/T is the mean velocity up to there.
        before: T, the time up to the step.
        after: T + h.
    """
    weighted = [(b, k) for b, k in zip(weights, velocities, strict=True) if b != 0]
    so_far = moved / jnp.where(before == 0, jnp.ones_like(before), before)
    unit = weighted[0][0]  # factored out: equal weights then need no product
    squares, share = (mean - so_far) ** 2, before / (unit * after)
    if len(weighted) == 1:  # the one velocity is the mean
        return share / 2 * jnp.sum(squares)
    squares = share * squares
    for weight, velocity in weighted:
        square = (velocity - mean) ** 2
        squares = squares + (square if weight == unit else weight / unit * square)
    return unit / 2 * jnp.sum(squares)


def completed(
    x0: Float[Array, "batch *event"], plan: FixedPlan, motion: Motion, records: Records
) -> Trajectories:
    """The result for a batch that has arrived."""
    batch, axes = x0.shape[0], tuple(range(1, x0.ndim))
    nodes, moved2 = plan.nodes, squared_norm(motion.x - x0, axes)
    energy = path_energy(motion.totals, moved2, nodes[-1] - nodes[0])
    # An x1 that is not finite makes the displacement so.
    finite = motion.finite & has_finite_energy(energy)
    return Trajectories(
        x1=motion.x,
        energy=energy,
        profile=KineticProfile(nodes[:-1], records.speed2, records.bend2),
        num_evals=jnp.full(batch, (nodes.size - 1) * len(plan.stages.c), jnp.int32),
        status=jnp.where(finite, OK, NOT_FINITE).astype(jnp.int32),
    )


@eqx.filter_jit
def solve_fixed(
    field: Field, x0: Float[Array, "batch *event"], cond: PyTree[Array], plan: FixedPlan
) -> Trajectories:
    """Trajectories of a batch on a fixed grid."""
    loop = loop_over_steps(field, x0, cond, plan, at_start(x0, plan))
    motion, records = jax.lax.scan(*loop)[0]
    run = completed(x0, plan, motion, records)
    if plan.save is None or records.saved is None:
        return run
    of_one = functools.partial(_path_of_one, field, plan, plan.save)
    path = jax.vmap(of_one)(records.saved, run.x1, cond)
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
    cond: PyTree[Array],
) -> Float[Array, "times *event"]:
    """ONE sample at the saved times, from the nodes that were kept."""
    path = saved.at[save.slots[-1]].set(x1, mode="drop")[save.which]
    if not save.between:
        return path
    return jax.vmap(lambda t0, t1, x: _step_of_one(field, plan, t0, t1, x, x, x, cond)[0])(
        plan.nodes[save.before], save.times, path
    )
