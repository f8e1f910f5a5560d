"""Sampling on a fixed grid: explicit steps inside `lax.scan`, one program for the whole batch."""

from typing import Any

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
    batch = x0.shape[0]
    one = lambda x, c: _solve_one(field, x, c, nodes, tau_split, stages, plan, arrival)  # noqa: E731
    x1, totals, (speed2, bend2), path = jax.vmap(one)(x0, cond)
    axes = tuple(range(1, x0.ndim))
    energy = path_energy(totals, squared_norm(x1 - x0, axes), nodes[-1] - nodes[0])
    # An x1 that is not finite makes the displacement so.
    finite = jnp.isfinite(energy.total + energy.displacement + energy.length)
    steps = nodes.size - 1 + (plan.which.size if plan is not None and plan.between else 0)
    return Trajectories(
        x1=x1,
        energy=energy,
        profile=KineticProfile(nodes[:-1], speed2, bend2),
        num_evals=jnp.full(batch, steps * len(stages.c), jnp.int32),
        status=jnp.where(finite, OK, NOT_FINITE).astype(jnp.int32),
        ts=None if plan is None else plan.times,
        path=path,
    )


def _solve_one(
    field: VelocityField,
    x0: Float[Array, "*event"],
    cond: PyTree[Any],
    nodes: Float[Array, " nodes"],
    tau_split: Float[Array, ""],
    stages: Stages,
    plan: SavePlan | None,
    arrival: Float[Array, ""] | None,
) -> tuple[Array, Any, tuple[Array, Array], Array | None]:
    rates = energy_term(field, cond).vector_field
    vf = lambda t, y: rates(t, y, None)  # noqa: E731

    def step(carry: Any, xs: Any) -> Any:
        x, previous, saved = carry
        t0, t1, slot = xs
        rate = explicit_step(stages, vf, t0, t1, energy_state(x), arrival)
        bend2 = squared_norm(rate.x - previous)
        # Never true. It makes the carried velocity wait for the bend, so that it may overwrite the
        # previous one; else XLA copies the batch in every step, which `benchmarks/overhead` sees.
        velocity = jnp.where(bend2 < 0, jnp.zeros_like(rate.x), rate.x)
        spent = rate.energy, rate.length, squared_norm(rate.x), bend2
        saved = None if saved is None else saved.at[slot].set(x, mode="drop")
        return (advance(x, velocity, t1 - t0), velocity, saved), spent

    saved = None if plan is None else jnp.zeros((plan.num_slots, *x0.shape), x0.dtype)
    slots = None if plan is None else plan.slots[:-1]
    (x1, _, saved), (power, speed, speed2, bend2) = jax.lax.scan(
        step, (x0, jnp.zeros_like(x0), saved), (nodes[:-1], nodes[1:], slots)
    )
    durations = jnp.diff(nodes).astype(power.dtype)
    by_step = no_totals(power.shape, power.dtype).credit(
        power * durations, speed * durations, is_landing(nodes[:-1], tau_split)
    )
    totals = jax.tree.map(jnp.sum, by_step)
    profile = speed2, bend2.at[0].set(0)
    if plan is None or saved is None:
        return x1, totals, profile, None
    saved = saved.at[plan.slots[-1]].set(x1, mode="drop")
    path = saved[plan.which]
    if plan.between:
        path = jax.vmap(lambda t0, t1, x: _partial_step(stages, vf, t0, t1, x, arrival))(
            nodes[plan.before], plan.times, path
        )
    return x1, totals, profile, path


def _partial_step(
    stages: Stages, vf: Any, t0: Array, t1: Array, x: Array, arrival: Array | None
) -> Array:
    start = energy_state(x)
    return advance(start, explicit_step(stages, vf, t0, t1, start, arrival), t1 - t0).x
