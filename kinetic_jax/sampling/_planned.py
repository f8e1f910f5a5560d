"""From the arguments of `sample` and `encode` to the plan of a solve."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import diffrax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from kinetic_jax._checks import float_scalar, require, require_between, short, whole_number
from kinetic_jax._mesh import refuse_varying
from kinetic_jax.fields import Field
from kinetic_jax.fields._field import arrival_of
from kinetic_jax.fields._step import require_step
from kinetic_jax.sampling._adaptive import AdaptivePlan, checked_adaptive_solver
from kinetic_jax.sampling._density import check_span
from kinetic_jax.sampling._explicit import stages_of
from kinetic_jax.sampling._geodesic import check_stages
from kinetic_jax.sampling._grid import checked_save_times, checked_span, nodes_as, time_nodes
from kinetic_jax.sampling._plan import FixedPlan, Given, SavePlan, save_every_node, save_plan
from kinetic_jax.transforms._phases import DEFAULT_TAU_SPLIT, checked_tau_split

SaveAt = bool | ArrayLike | Sequence[float] | None


class Settings(NamedTuple):
    """The arguments of `sample` and `encode` that say how to step, unchecked."""

    solver: diffrax.AbstractSolver | None
    num_steps: int | None
    grid: str | ArrayLike | Sequence[float]
    controller: diffrax.AbstractStepSizeController | None
    dt0: ArrayLike | None
    max_steps: int
    adjoint: diffrax.AbstractAdjoint | None
    t0: ArrayLike | None
    t1: ArrayLike | None
    tau_split: ArrayLike | None


class Planned(NamedTuple):
    """A plan, from noise to data, and the times between which it leads."""

    plan: FixedPlan | AdaptivePlan
    start: float
    end: float


def planned(
    settings: Settings,
    field: Field,
    x: Array,
    given: Given,
    default: diffrax.AbstractSolver,
    with_density: bool,
    save_at: SaveAt = None,
) -> Planned:
    """The plan of a batch; `default` is the solver of a fixed grid.

    Raises:
        ValueError: for settings that are out of range or contradict each other.
    """
    for name, value, kind in (
        ("solver", settings.solver, diffrax.AbstractSolver),
        ("controller", settings.controller, diffrax.AbstractStepSizeController),
        ("adjoint", settings.adjoint, diffrax.AbstractAdjoint),
    ):
        is_kind = value is None or isinstance(value, kind)
        require(is_kind, name, short(value), f"be an instance of a diffrax.{kind.__name__}")
    max_steps = whole_number("max_steps", settings.max_steps, 1)
    tau = field.tau_split if settings.tau_split is None else settings.tau_split
    tau = checked_tau_split(DEFAULT_TAU_SPLIT if tau is None else tau)
    if settings.controller is None:
        made = _fixed(settings, field, tau, x.dtype, default, save_at)
    else:
        refuse_varying("controller", type(settings.controller).__name__, field, x, given)
        made = _adaptive(settings, settings.controller, field, tau, x.dtype, max_steps, save_at)
    if not with_density:
        return made
    check_span(field, made.start, made.end, x.dtype)
    return made._replace(plan=dataclasses.replace(made.plan, with_density=True))


def _fixed(
    settings: Settings,
    field: Field,
    tau: Array,
    dtype: jnp.dtype,
    default: diffrax.AbstractSolver,
    save_at: SaveAt,
) -> Planned:
    dt0, adjoint = settings.dt0, settings.adjoint
    require(dt0 is None, "dt0", dt0, "be left out on a fixed grid, which has num_steps or grid")
    expected = "be left out on a fixed grid, which every kind of derivative passes through"
    require(adjoint is None, "adjoint", type(adjoint).__name__, expected)
    times = settings.grid, settings.num_steps, settings.t0, settings.t1
    nodes, start, end = time_nodes(*times, dtype)
    save = _save_plan(save_at, nodes, start, end, dtype)
    stages = stages_of(default if settings.solver is None else settings.solver)
    check_stages(field, stages)
    plan = FixedPlan(nodes_as(nodes, dtype), tau, stages, arrival_of(field, dtype), save)
    return Planned(plan, start, end)


def _adaptive(
    settings: Settings,
    controller: diffrax.AbstractStepSizeController,
    field: Field,
    tau: Array,
    dtype: jnp.dtype,
    max_steps: int,
    save_at: SaveAt,
) -> Planned:
    expected = "be left out for a field on a manifold, whose steps are those of a fixed grid"
    require(field.manifold is None, "controller", type(controller).__name__, expected)
    require_step(field, "with a controller, which tries steps of many sizes")
    num_steps, grid = settings.num_steps, settings.grid
    require(num_steps is None, "num_steps", num_steps, "be left out with a controller")
    is_default = isinstance(grid, str) and grid == "uniform"
    require(is_default, "grid", grid, "be left out with a controller")
    start, end = checked_span(settings.t0, settings.t1)
    require(save_at is not True, "save_at", save_at, "be an array of times with a controller")
    times = None
    if save_at is not None and save_at is not False:
        times = jnp.asarray(checked_save_times(save_at, start, end), dtype)
    adjoint = settings.adjoint
    plan = AdaptivePlan(
        start=jnp.asarray(start, dtype),
        end=jnp.asarray(end, dtype),
        tau_split=tau,
        solver=checked_adaptive_solver(settings.solver, controller),
        controller=controller,
        dt0=_checked_first_step(settings.dt0, start, end, dtype),
        max_steps=max_steps,
        adjoint=diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint,
        times=times,
        arrival=arrival_of(field, dtype),
    )
    return Planned(plan, start, end)


def _save_plan(
    save_at: SaveAt,
    nodes: Array | np.ndarray,
    start: float,
    end: float,
    dtype: jnp.dtype,
) -> SavePlan | None:
    if save_at is None or save_at is False:
        return None
    if save_at is True:
        return save_every_node(jnp.asarray(nodes, dtype))
    times = checked_save_times(save_at, start, end)
    if not isinstance(nodes, np.ndarray):
        raise ValueError("save_at must be True on a traced grid, got times")
    return save_plan(times, nodes, dtype)


def _checked_first_step(
    dt0: ArrayLike | None, start: float, end: float, dtype: jnp.dtype
) -> Array | None:
    if dt0 is None:
        return None
    step = float_scalar(dt0, "dt0").astype(dtype)
    require_between("dt0", dt0, 0.0, end - start + 1e-6)
    return step
