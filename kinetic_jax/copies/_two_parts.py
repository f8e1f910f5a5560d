"""Paths in two parts: all candidates to a node of the grid, and those that stay to the end.

The state of the loop is carried over from one part to the other, so that the steps of a candidate
that stays, and the sums of its energies, are those of one uninterrupted run.
"""

import dataclasses
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Integer, PyTree

from kinetic_jax._checks import real_number, require, require_known
from kinetic_jax._mesh import gathered
from kinetic_jax._norms import norm_from_squared, squared_norm
from kinetic_jax._open import call_opened
from kinetic_jax._state import StateSpec
from kinetic_jax.copies._guided import condition_of_none
from kinetic_jax.fields import Field, VelocityField, as_field
from kinetic_jax.fields._protocol import checked_velocity
from kinetic_jax.fields._step import over_step
from kinetic_jax.sampling import Trajectories
from kinetic_jax.sampling._fixed import (
    Motion,
    Records,
    at_start,
    finished,
    loop_over_steps,
    solve_fixed,
)
from kinetic_jax.sampling._geodesic import starts_of
from kinetic_jax.sampling._inputs import checked_inputs, restored
from kinetic_jax.sampling._plan import FixedPlan, Given
from kinetic_jax.sampling._planned import Settings, planned
from kinetic_jax.transforms._cfg import CFGField


class Guide(eqx.Module):
    """The other velocity of a guidance difference.

    Attributes:
        none: the condition that means "none"; None for a guided field, which computes both.
    """

    none: PyTree[Array] | None


class Candidates(NamedTuple):
    """Checked inputs of a run in two parts.

    Attributes:
        field: the field.
        x0: where paths begin.
        given: conditions.
        spec: the structure of a state that is a pytree, else None.
        plan: the steps.
        nodes: the times between which they lie, on the host.
        split: the number of steps of the first part.
    """

    field: Field
    x0: Float[Array, "batch *event"]
    given: Given
    spec: StateSpec | None
    plan: FixedPlan
    nodes: np.ndarray
    split: int

    @property
    def calls(self) -> int:
        """Calls of the field in each step."""
        return len(self.plan.stages.c)

    @property
    def rest(self) -> int:
        """The number of steps of the second part."""
        return self.nodes.size - 1 - self.split

    def rows(self, kept: Integer[np.ndarray, " kept"]) -> "Candidates":
        """Some of the candidates."""
        return self._replace(x0=self.x0[kept], given=rows_of(self.given, kept))


class Launch(NamedTuple):
    """All candidates after the first part.

    Attributes:
        run: as `sample` would return it, in the structure of the caller's x0.
        x0: where the paths began.
        motion: the state of the loop.
        records: its records, with room for the second part.
        guidance: ||v_c − v_n|| at the beginning of each step, or None.
    """

    run: Trajectories
    x0: Float[Array, "batch *event"]
    motion: Motion
    records: Records
    guidance: Float[Array, "batch steps"] | None


def rows_of(tree: PyTree[Array], kept: Integer[np.ndarray, " kept"]) -> Any:
    """Some rows of every array."""
    return jax.tree.map(lambda leaf: leaf[jnp.asarray(kept, jnp.int32)], tree)


def steps(
    solver: diffrax.AbstractSolver | None = None,
    num_steps: int | None = None,
    grid: str | ArrayLike = "uniform",
    tau_split: ArrayLike | None = None,
) -> Settings:
    """The settings of steps on a fixed grid from t = 0 to t = 1, unchecked."""
    return Settings(solver, num_steps, grid, None, None, 4096, None, 0.0, 1.0, tau_split)


def candidates(
    field: VelocityField,
    x0: ArrayLike | PyTree[ArrayLike],
    cond: PyTree[Any] | None,
    t_early: float,
    settings: Settings,
    name: str = "t_early",
) -> Candidates:
    """The checked inputs; `t_early` is the argument `name`, `settings` those of `steps`.

    Raises:
        ValueError: as `sample`; or if no step ends by `t_early`, or something is traced.
    """
    require_known("x0", x0)
    require_known("cond", cond)
    require_known("grid", settings.grid)
    x0 = jax.tree.map(lambda leaf: gathered("x0", leaf), x0)
    cond = jax.tree.map(lambda leaf: gathered("cond", leaf), cond)
    model, rows, given, spec = checked_inputs(field, x0, cond)
    plan = planned(settings, model, rows, given, diffrax.Euler(), with_density=False).plan
    assert isinstance(plan, FixedPlan), "no controller is given"
    nodes = np.asarray(plan.nodes, np.float64)
    split = split_of(nodes, t_early, name)
    return Candidates(model, rows, given, spec, plan, nodes, split)


def split_of(nodes: np.ndarray, t_early: float, name: str = "t_early") -> int:
    """The number of steps that end by a time."""
    last = real_number(name, t_early)
    require(bool(nodes[1] - 1e-6 <= last <= 1), name, t_early, f"lie in [{nodes[1]:g}, 1]")
    return int(np.sum(nodes[1:] <= last + 1e-6))


def guide_of(
    field: VelocityField, states: Candidates, cond: PyTree[Any], null_cond: PyTree[Any] | None
) -> tuple[Guide, int]:
    """The guide along the paths of a field, and the calls that it adds to each step.

    Raises:
        ValueError: if a guided field and a `null_cond` are given, a plain field has none, or the
            samples are pytrees or lie on a manifold.
    """
    is_flat = states.spec is None and states.field.manifold is None
    require(is_flat, "x0", "a pytree, or points of a manifold", "be an array for guidance")
    model = as_field(field)
    if not isinstance(model, CFGField):
        return Guide(condition_of_none(model, cond, null_cond)), 1
    expected = "be left out for a guided field, which has its own"
    require(null_cond is None, "null_cond", null_cond, expected)
    # On an interval the field computes one velocity outside of it, and the guide both.
    return Guide(None), 0 if model.interval is None else 1


def launch(states: Candidates, guide: Guide | None = None) -> Launch:
    """Moves all candidates through the first part."""
    own = states.field, states.x0, states.given, states.plan
    begun = call_opened(_launched, *own, guide, states.split)
    return begun._replace(run=restored(begun.run, states.spec))


@eqx.filter_jit
def _launched(
    field: Field, x0: Array, given: Given, plan: FixedPlan, guide: Guide | None, split: int
) -> Launch:
    x0 = starts_of(field, x0)
    step, start, xs = loop_over_steps(field, x0, given, plan, at_start(x0, plan))

    def guided_step(carry: tuple[Motion, Records], xs: PyTree[Array]) -> Any:
        norms = None
        if guide is not None:
            move = jax.vmap(lambda x, cond: _guidance(field, guide, xs[1], xs[2], x, cond))
            norms = move(carry[0].x, given.cond)
        return step(carry, xs)[0], norms

    first = jax.tree.map(lambda leaf: leaf[:split], xs)
    (motion, records), norms = jax.lax.scan(guided_step, start, first)
    part = dataclasses.replace(plan, nodes=plan.nodes[: split + 1])
    ended = Records(records.speed2[:, :split], records.bend2[:, :split], None)
    run = finished(field, x0, given, part, motion, ended)
    return Launch(run, x0, motion, records, None if norms is None else norms.T)


def _guidance(field: Field, guide: Guide, t0: Array, t1: Array, x: Array, cond: Any) -> Array:
    """`||v(t, x, c) − v(t, x, none)||` of ONE sample."""
    stepped = over_step(field, t0, t1)
    if guide.none is None:
        assert isinstance(stepped, CFGField), "that is where there is no condition of none"
        pair = stepped.both(t0, x, cond)
    else:
        pair = stepped(t0, x, cond), stepped(t0, x, guide.none)
    given, none = (checked_velocity(velocity, x) for velocity in pair)
    return norm_from_squared(squared_norm(given - none))


def completed(
    states: Candidates, begun: Launch, kept: Integer[np.ndarray, " kept"]
) -> Trajectories:
    """Moves the candidates that stay through the second part; their whole paths."""
    motion, records = rows_of((begun.motion, begun.records), kept)
    own = states.field, begun.x0[kept], rows_of(states.given, kept), states.plan
    run = call_opened(_arrived, *own, (motion, records), states.split)
    return restored(run, states.spec)


@eqx.filter_jit
def _arrived(
    field: Field,
    x0: Array,
    given: Given,
    plan: FixedPlan,
    state: tuple[Motion, Records],
    split: int,
) -> Trajectories:
    step, start, xs = loop_over_steps(field, x0, given, plan, state)
    rest = jax.tree.map(lambda leaf: leaf[split:], xs)
    motion, records = jax.lax.scan(step, start, rest)[0]
    return finished(field, x0, given, plan, motion, records)


def uninterrupted(states: Candidates) -> Trajectories:
    """The whole paths of all candidates."""
    run = call_opened(solve_fixed, states.field, states.x0, states.given, states.plan)
    return restored(run, states.spec)
