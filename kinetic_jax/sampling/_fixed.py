"""Sampling on a fixed grid: explicit steps inside `lax.scan`, one program for the whole batch."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import scan
from kinetic_jax.energy import (
    PhaseTotals,
    energy_state,
    energy_term,
    no_totals,
    path_energy,
    squared_norm,
)
from kinetic_jax.fields import VelocityField
from kinetic_jax.sampling._explicit import Stages, advance, explicit_step
from kinetic_jax.sampling._grid import nodes_before
from kinetic_jax.sampling._trajectories import NOT_FINITE, OK, KineticProfile, Trajectories
from kinetic_jax.transforms import is_landing


class SavePlan(eqx.Module):
    """Which nodes of a fixed grid to keep, and how to reach the saved times from them.

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
    before = nodes_before(times, nodes)
    kept, which = np.unique(before, return_inverse=True)
    slots = np.full(nodes.size, kept.size, np.int32)
    slots[kept] = np.arange(kept.size)
    between = bool(np.any(times - nodes[before] > 1e-5 * np.diff(nodes).min()))
    return SavePlan(
        jnp.asarray(slots),
        jnp.asarray(which, jnp.int32),
        jnp.asarray(before, jnp.int32),
        jnp.asarray(times if between else nodes[before], dtype),
        kept.size,
        between,
    )


def save_every_node(nodes: Float[Array, " nodes"]) -> SavePlan:
    """The plan that saves the whole path."""
    every = jnp.arange(nodes.size, dtype=jnp.int32)
    return SavePlan(every, every, every, nodes, nodes.size, False)


class Spent(NamedTuple):
    """What one step, or each of many, takes and shows.

    Attributes:
        power: the energy's mean integrand over the step.
        speed: the length's.
        speed2: ||u||² of the step's mean velocity u.
        bend2: ||u − u of the step before||².
    """

    power: Float[Array, "*steps"]
    speed: Float[Array, "*steps"]
    speed2: Float[Array, "*steps"]
    bend2: Float[Array, "*steps"]


def one_step(
    stages: Stages,
    vf: Any,
    ends: tuple[Array, Array],
    x: Float[Array, "*event"],
    previous: Float[Array, "*event"],
    arrival: Float[Array, ""] | None,
) -> tuple[Array, Array, Spent]:
    """One step of ONE sample: where it ends, its velocity, and what it spent.

    Args:
        stages: of the solver.
        vf: the rates of x and of what is spent.
        ends: the times the step begins and ends at.
        x: where it begins.
        previous: the velocity of the step before.
        arrival: see `explicit_step`.
    """
    t0, t1 = ends
    rate = explicit_step(stages, vf, t0, t1, energy_state(x), arrival)
    bend2 = squared_norm(rate.x - previous)
    # Never true. It makes the carried velocity wait for the bend, so that it may overwrite the
    # previous one; else XLA copies the batch in every step, which `benchmarks/overhead` sees.
    velocity = jnp.where(bend2 < 0, jnp.zeros_like(rate.x), rate.x)
    spent = Spent(rate.energy, rate.length, squared_norm(rate.x), bend2)
    return advance(x, velocity, t1 - t0), velocity, spent


def rates_of(field: VelocityField, cond: PyTree[Any]) -> Any:
    """The rates of ONE sample's x, energy and length, as a function of t and their state."""
    rates = energy_term(field, cond).vector_field
    return lambda t, y: rates(t, y, None)


def totals_of(
    spent: Spent, nodes: Float[Array, " nodes"], tau_split: Float[Array, ""]
) -> PhaseTotals:
    """What a batch spent in all, from what each step did (batch, steps)."""
    durations = jnp.diff(nodes).astype(spent.power.dtype)[None, :]
    by_step = no_totals(spent.power.shape, spent.power.dtype).credit(
        spent.power * durations, spent.speed * durations, is_landing(nodes[:-1], tau_split)[None, :]
    )
    return jax.tree.map(lambda steps: jnp.sum(steps, axis=1), by_step)


def completed(
    x0: Float[Array, "batch *event"],
    x1: Float[Array, "batch *event"],
    totals: PhaseTotals,
    profile: tuple[Float[Array, "batch steps"], Float[Array, "batch steps"]],
    nodes: Float[Array, " nodes"],
    evals: int,
) -> Trajectories:
    """The result for a batch: where its paths end, what they spent, ||u||² and bend by step."""
    axes = tuple(range(1, x0.ndim))
    energy = path_energy(totals, squared_norm(x1 - x0, axes), nodes[-1] - nodes[0])
    # An x1 that is not finite makes the displacement so.
    finite = jnp.isfinite(energy.total + energy.displacement + energy.length)
    return Trajectories(
        x1=x1,
        energy=energy,
        profile=KineticProfile(nodes[:-1], *profile),
        num_evals=jnp.full(x0.shape[0], evals, jnp.int32),
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

    def step(carry: Any, xs: Any) -> Any:
        x, previous, totals, profile, saved = carry
        i, t0, t1, slot = xs
        after, velocity, spent = jax.vmap(
            lambda x, v, c: one_step(stages, rates_of(field, c), (t0, t1), x, v, arrival)
        )(x, previous, cond)
        h = (t1 - t0).astype(spent.power.dtype)
        totals = totals.credit(spent.power * h, spent.speed * h, is_landing(t0, tau_split))
        bend2 = jnp.where(i == 0, jnp.zeros_like(spent.bend2), spent.bend2)
        # Into its place, batch first: of stacked steps XLA holds a second, transposed copy.
        profile = tuple(
            jax.lax.dynamic_update_slice(rows, new[:, None], (jnp.zeros_like(i), i))
            for rows, new in zip(profile, (spent.speed2, bend2), strict=True)
        )
        saved = None if saved is None else saved.at[:, slot].set(x, mode="drop")
        return (after, velocity, totals, profile, saved), None

    batch, steps, dtype = x0.shape[0], nodes.size - 1, at_least_float32(x0.dtype)
    saved, slots, evals = None, None, steps
    if plan is not None:
        saved = jnp.zeros((batch, plan.num_slots, *x0.shape[1:]), x0.dtype)
        slots = plan.slots[:-1]
        evals += plan.which.size if plan.between else 0
    profile = (jnp.zeros((batch, steps), dtype),) * 2
    # For the velocity before the first step any numbers do, and x0 costs no kernel to make.
    start = x0, x0, no_totals((batch,), dtype), profile, saved
    (x1, _, totals, profile, saved), _ = scan(
        step, start, (jnp.arange(steps, dtype=jnp.int32), nodes[:-1], nodes[1:], slots)
    )
    found = completed(x0, x1, totals, profile, nodes, evals * len(stages.c))
    if plan is None or saved is None:
        return found
    path = jax.vmap(lambda saved, x1, c: _path(field, saved, x1, c, nodes, stages, plan, arrival))
    return dataclasses.replace(found, ts=plan.times, path=path(saved, x1, cond))


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
