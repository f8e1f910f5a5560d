"""Sampling on a fixed grid: explicit steps inside `lax.scan`, one program for the whole batch."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from kinetic_jax.energy import (
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


def completed(
    x0: Float[Array, "batch *event"],
    x1: Float[Array, "batch *event"],
    spent: Spent,
    nodes: Float[Array, " nodes"],
    tau_split: Float[Array, ""],
    evals: int,
) -> Trajectories:
    """The result for a batch, from where its paths end and what each step spent (batch, steps)."""
    durations = jnp.diff(nodes).astype(spent.power.dtype)[None, :]
    by_step = no_totals(spent.power.shape, spent.power.dtype).credit(
        spent.power * durations, spent.speed * durations, is_landing(nodes[:-1], tau_split)[None, :]
    )
    totals = jax.tree.map(lambda steps: jnp.sum(steps, axis=1), by_step)
    axes = tuple(range(1, x0.ndim))
    energy = path_energy(totals, squared_norm(x1 - x0, axes), nodes[-1] - nodes[0])
    # An x1 that is not finite makes the displacement so.
    finite = jnp.isfinite(energy.total + energy.displacement + energy.length)
    return Trajectories(
        x1=x1,
        energy=energy,
        profile=KineticProfile(nodes[:-1], spent.speed2, spent.bend2.at[:, 0].set(0)),
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
    one = lambda x, c: _solve_one(field, x, c, nodes, stages, plan, arrival)  # noqa: E731
    x1, spent, path = jax.vmap(one)(x0, cond)
    steps = nodes.size - 1 + (plan.which.size if plan is not None and plan.between else 0)
    found = completed(x0, x1, spent, nodes, tau_split, steps * len(stages.c))
    return dataclasses.replace(found, ts=None if plan is None else plan.times, path=path)


def _solve_one(
    field: VelocityField,
    x0: Float[Array, "*event"],
    cond: PyTree[Any],
    nodes: Float[Array, " nodes"],
    stages: Stages,
    plan: SavePlan | None,
    arrival: Float[Array, ""] | None,
) -> tuple[Array, Spent, Array | None]:
    vf = rates_of(field, cond)

    def step(carry: Any, xs: Any) -> Any:
        x, previous, saved = carry
        t0, t1, slot = xs
        after, velocity, spent = one_step(stages, vf, (t0, t1), x, previous, arrival)
        saved = None if saved is None else saved.at[slot].set(x, mode="drop")
        return (after, velocity, saved), spent

    saved = None if plan is None else jnp.zeros((plan.num_slots, *x0.shape), x0.dtype)
    slots = None if plan is None else plan.slots[:-1]
    (x1, _, saved), spent = jax.lax.scan(
        step, (x0, jnp.zeros_like(x0), saved), (nodes[:-1], nodes[1:], slots)
    )
    if plan is None or saved is None:
        return x1, spent, None
    saved = saved.at[plan.slots[-1]].set(x1, mode="drop")
    path = saved[plan.which]
    if plan.between:
        path = jax.vmap(lambda t0, t1, x: _partial_step(stages, vf, t0, t1, x, arrival))(
            nodes[plan.before], plan.times, path
        )
    return x1, spent, path


def _partial_step(
    stages: Stages, vf: Any, t0: Array, t1: Array, x: Array, arrival: Array | None
) -> Array:
    start = energy_state(x)
    return advance(start, explicit_step(stages, vf, t0, t1, start, arrival), t1 - t0).x
