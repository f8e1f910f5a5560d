"""Plans of the steps on a fixed grid: their inputs, their results, and what is kept of a path."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree

from kinetic_jax.sampling._explicit import Stages
from kinetic_jax.sampling._grid import snapped
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


def save_plan(times: np.ndarray, nodes: np.ndarray, dtype: DTypeLike) -> SavePlan:
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
        with_density: whether the divergence is integrated, for the log density.
        is_backward: whether the nodes are −t, from data to noise; see `BackwardField`.
    """

    nodes: Float[Array, " nodes"]
    tau_split: Float[Array, ""]
    stages: Stages = eqx.field(static=True)
    arrival: Float[Array, ""] | None
    save: SavePlan | None = None
    with_density: bool = eqx.field(static=True, default=False)
    is_backward: bool = eqx.field(static=True, default=False)

    def is_landing(self, t0: Float[Array, ""], t1: Float[Array, ""]) -> Bool[Array, ""]:
        """True for a step whose left end in t lies in the landing phase."""
        return is_landing(-t1 if self.is_backward else t0, self.tau_split)


class Given(NamedTuple):
    """The constants of each sample, with a leading batch axis or of ONE.

    Attributes:
        cond: its condition.
        mass: weights of its dimensions, in the shape of x; None for 1.
        frame: the velocity of the frame that its energy is measured in; None for 0.
        probes: the directions of Hutchinson's estimate of the divergence; None for none, and for
            the exact divergence.
    """

    cond: PyTree[Array]
    mass: Array | None = None
    frame: Array | None = None
    probes: Array | None = None


class Spent(NamedTuple):
    """The energies of one step of one sample.

    Attributes:
        power: the mean of ½||u||² over the step.
        speed: the mean of ||u||.
        excess: the mean integrand of the excess.
        speed2: ||u||² of the step's mean velocity u.
        bend2: ||u − u of the step before||².
        divergence: the mean of div u, or None where it is not integrated.
    """

    power: Float[Array, ""]
    speed: Float[Array, ""]
    excess: Float[Array, ""]
    speed2: Float[Array, ""]
    bend2: Float[Array, ""]
    divergence: Float[Array, ""] | None = None
