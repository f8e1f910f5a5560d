"""Sampling on a fixed grid: explicit steps inside `lax.scan`, one program for the whole batch."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import scan
from kinetic_jax.energy import (
    PhaseTotals,
    energy_state,
    energy_term,
    has_finite_energy,
    no_totals,
    path_energy,
    squared_norm,
)
from kinetic_jax.fields import VelocityField
from kinetic_jax.sampling._explicit import (
    Stages,
    advance,
    explicit_step,
    stage_rates,
    weighted_sum,
)
from kinetic_jax.sampling._grid import snapped
from kinetic_jax.sampling._trajectories import NOT_FINITE, OK, KineticProfile, Trajectories
from kinetic_jax.transforms import is_landing


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


class Walk(eqx.Module):
    """A batch and how it is stepped.

    Attributes:
        field: the velocity field.
        cond: the conditions.
        x0: where the paths begin.
        t0: when.
        tau_split: where the energy is split.
        stages: of the solver.
        arrival: the last time at which the field is looked at, or None.
    """

    field: VelocityField
    cond: PyTree[Any]
    x0: Float[Array, "batch *event"]
    t0: Float[Array, ""]
    tau_split: Float[Array, ""]
    stages: Stages = eqx.field(static=True)
    arrival: Float[Array, ""] | None


class Progress(NamedTuple):
    """A batch on its way.

    Attributes:
        x: where the samples are.
        velocity: the mean velocity of the step that brought them there.
        totals: what they have spent.
        finite: whether their profiles are finite up to here.
    """

    x: Float[Array, "batch *event"]
    velocity: Float[Array, "batch *event"]
    totals: PhaseTotals
    finite: Bool[Array, " batch"]


class Spent(NamedTuple):
    """The evaluations and the energies of one step of one sample.

    Attributes:
        power: the energy's mean integrand over the step.
        speed: the length's.
        excess: the excess's.
        speed2: ||u||² of the step's mean velocity u.
        bend2: ||u − u of the step before||².
    """

    power: Float[Array, ""]
    speed: Float[Array, ""]
    excess: Float[Array, ""]
    speed2: Float[Array, ""]
    bend2: Float[Array, ""]


def at_start(x0: Float[Array, "batch *event"]) -> Progress:
    """A batch that has not moved."""
    batch = x0.shape[:1]
    # For the velocity before the first step any numbers do, and x0 costs no kernel to make.
    return Progress(x0, x0, no_totals(batch, at_least_float32(x0.dtype)), jnp.ones(batch, bool))


def next_step(
    walk: Walk, ends: tuple[Array, Array], progress: Progress
) -> tuple[Progress, tuple[Float[Array, " batch"], Float[Array, " batch"]]]:
    """The batch one step further, and the step's entries of the profile: ||u||² and bend."""
    t0, t1 = ends
    x, velocity, spent = jax.vmap(
        lambda x0, x, v, c: _step_of_one(walk, rates_of(walk.field, c), ends, x0, x, v)
    )(walk.x0, progress.x, progress.velocity, walk.cond)
    h = (t1 - t0).astype(spent.power.dtype)
    totals = progress.totals.credit(
        spent.power * h, spent.speed * h, spent.excess * h, is_landing(t0, walk.tau_split)
    )
    bend2 = jnp.where(t0 == walk.t0, jnp.zeros_like(spent.bend2), spent.bend2)
    # Looked at step by step: of 0 · profile at the end XLA keeps a copy of the whole profile.
    finite = progress.finite & jnp.isfinite(spent.speed2) & jnp.isfinite(bend2)
    return Progress(x, velocity, totals, finite), (spent.speed2, bend2)


def _step_of_one(
    walk: Walk,
    vf: Any,
    ends: tuple[Array, Array],
    x0: Float[Array, "*event"],
    x: Float[Array, "*event"],
    previous: Float[Array, "*event"],
) -> tuple[Array, Array, Spent]:
    """One step of ONE sample: where it ends, its velocity, and what it spent.

    Args:
        walk: how it is stepped.
        vf: the rates of x and of what is spent.
        ends: the times the step begins and ends at.
        x0: where its path began.
        x: where it begins.
        previous: the velocity of the step before.
    """
    t0, t1 = ends
    ks = stage_rates(walk.stages, vf, t0, t1, energy_state(x), walk.arrival)
    rate = weighted_sum(walk.stages.b, ks)
    velocities = [(b, k.x) for b, k in zip(walk.stages.b, ks, strict=True) if b != 0]
    excess = _excess_rate(velocities, rate.x, x - x0, t0 - walk.t0, t1 - walk.t0)
    bend2 = squared_norm(rate.x - previous)
    # Never true. It makes velocity and x wait for what is measured of them, so that the new ones
    # may overwrite the old; else XLA copies the batch in every step, which shows in
    # `benchmarks/speed/overhead.py`.
    velocity = jnp.where(bend2 + jnp.abs(excess) < 0, jnp.zeros_like(rate.x), rate.x)
    spent = Spent(rate.energy, rate.length, excess, squared_norm(rate.x), bend2)
    return advance(x, velocity, t1 - t0), velocity, spent


def _excess_rate(
    velocities: list[tuple[float, Array]], mean: Array, moved: Array, before: Array, after: Array
) -> Float[Array, ""]:
    """The mean integrand ½ (Σ b_i ||k_i − u||² + T/(T + h) ||u − m||²) of the excess over a step.

    Args:
        velocities: the solver's weights b_i (but zeros) and the stages' velocities k_i.
        mean: u, the step's mean velocity.
        moved: the way up to the step, so that m = moved/T is the mean velocity up to there.
        before: T, the time up to the step.
        after: T + h.
    """
    so_far = moved / jnp.where(before == 0, jnp.ones_like(before), before)
    unit = velocities[0][0]  # factored out: equal weights then need no product
    squares, share = (mean - so_far) ** 2, before / (unit * after)
    if len(velocities) == 1:  # which is the mean
        return share / 2 * jnp.sum(squares)
    squares = share * squares
    for weight, velocity in velocities:
        square = (velocity - mean) ** 2
        squares = squares + (square if weight == unit else weight / unit * square)
    return unit / 2 * jnp.sum(squares)


def rates_of(field: VelocityField, cond: PyTree[Any]) -> Any:
    """The rates of ONE sample's x, energy and length, as a function of t and their state."""
    rates = energy_term(field, cond).vector_field
    return lambda t, y: rates(t, y, None)


def completed(
    walk: Walk,
    progress: Progress,
    profile: tuple[Float[Array, "batch steps"], Float[Array, "batch steps"]],
    nodes: Float[Array, " nodes"],
) -> Trajectories:
    """The result for a batch that has arrived, and its profile: ||u||² and bend by step."""
    batch, axes = walk.x0.shape[0], tuple(range(1, walk.x0.ndim))
    moved2 = squared_norm(progress.x - walk.x0, axes)
    energy = path_energy(progress.totals, moved2, nodes[-1] - nodes[0])
    # An x1 that is not finite makes the displacement so.
    finite = progress.finite & has_finite_energy(energy)
    return Trajectories(
        x1=progress.x,
        energy=energy,
        profile=KineticProfile(nodes[:-1], *profile),
        num_evals=jnp.full(batch, (nodes.size - 1) * len(walk.stages.c), jnp.int32),
        status=jnp.where(finite, OK, NOT_FINITE).astype(jnp.int32),
    )


@eqx.filter_jit
def solve_fixed(
    field: VelocityField,
    x0: Float[Array, "batch *event"],
    cond: PyTree[Any],
    nodes: Float[Array, " nodes"],
    tau_split: Float[Array, ""],
    stages: Stages,
    plan: SavePlan | None,
    arrival: Float[Array, ""] | None,
) -> Trajectories:
    """Trajectories of a batch on the grid `nodes`."""
    walk = Walk(field, cond, x0, nodes[0], tau_split, stages, arrival)

    def step(carry: Any, xs: Any) -> Any:
        progress, profile, saved = carry
        i, t0, t1, slot = xs
        after, entries = next_step(walk, (t0, t1), progress)
        # Into its place, batch first: of stacked steps XLA holds a second, transposed copy.
        profile = tuple(
            jax.lax.dynamic_update_slice(rows, new[:, None], (jnp.zeros_like(i), i))
            for rows, new in zip(profile, entries, strict=True)
        )
        saved = None if saved is None else saved.at[:, slot].set(progress.x, mode="drop")
        return (after, profile, saved), None

    batch, steps, dtype = x0.shape[0], nodes.size - 1, at_least_float32(x0.dtype)
    saved, slots = None, None
    if plan is not None:
        saved = jnp.zeros((batch, plan.num_slots, *x0.shape[1:]), x0.dtype)
        slots = plan.slots[:-1]
    profile = (jnp.zeros((batch, steps), dtype),) * 2
    (progress, profile, saved), _ = scan(
        step,
        (at_start(x0), profile, saved),
        (jnp.arange(steps, dtype=jnp.int32), nodes[:-1], nodes[1:], slots),
    )
    run = completed(walk, progress, profile, nodes)
    if plan is None or saved is None:
        return run
    path = jax.vmap(lambda saved, x1, c: _path(field, saved, x1, c, nodes, stages, plan, arrival))(
        saved, run.x1, cond
    )
    extra = plan.which.size * len(stages.c) if plan.between else 0
    finite = jnp.all(jnp.isfinite(path), axis=tuple(range(1, path.ndim)))
    return dataclasses.replace(
        run,
        num_evals=run.num_evals + extra,
        status=jnp.where(finite, run.status, NOT_FINITE).astype(jnp.int32),
        ts=plan.times,
        path=path,
    )


def _path(
    field: VelocityField,
    saved: Float[Array, "slots *event"],
    x1: Float[Array, "*event"],
    cond: PyTree[Any],
    nodes: Float[Array, " nodes"],
    stages: Stages,
    plan: SavePlan,
    arrival: Float[Array, ""] | None,
) -> Float[Array, "times *event"]:
    """ONE sample at the saved times, from the nodes that were kept."""
    path = saved.at[plan.slots[-1]].set(x1, mode="drop")[plan.which]
    if not plan.between:
        return path
    vf = rates_of(field, cond)
    return jax.vmap(lambda t0, t1, x: _partial_step(stages, vf, t0, t1, x, arrival))(
        nodes[plan.before], plan.times, path
    )


def _partial_step(
    stages: Stages, vf: Any, t0: Array, t1: Array, x: Array, arrival: Array | None
) -> Array:
    start = energy_state(x)
    return advance(start, explicit_step(stages, vf, t0, t1, start, arrival), t1 - t0).x
