"""Adaptive sampling: one Diffrax solve per sample, each with its own steps."""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import require
from kinetic_jax._norms import squared_norm
from kinetic_jax.energy import energy_state
from kinetic_jax.energy._measure import seen_from
from kinetic_jax.energy._path_energy import has_finite_energy, path_energy
from kinetic_jax.energy._term import PathVectorField
from kinetic_jax.fields import Field
from kinetic_jax.sampling._controller import PathController, PathControllerState
from kinetic_jax.sampling._density import log_density_of
from kinetic_jax.sampling._diffrax import STOPPED_NOT_FINITE
from kinetic_jax.sampling._explicit import require_explicit, stages_of
from kinetic_jax.sampling._plan import Given
from kinetic_jax.sampling._split import SplitSolver, SplitState
from kinetic_jax.sampling._trajectories import NOT_FINITE, OK, STEP_LIMIT, Trajectories


def checked_adaptive_solver(
    solver: diffrax.AbstractSolver | None, controller: diffrax.AbstractStepSizeController
) -> diffrax.AbstractSolver:
    """The solver of an adaptive solve, `Tsit5` by default.

    Raises:
        ValueError: if it is not explicit and one-step, or the controller needs an error estimate
            that it has not.
    """
    if solver is None:
        return diffrax.Tsit5()
    require_explicit(_inner(solver))
    adaptive = isinstance(controller, diffrax.AbstractAdaptiveStepSizeController)
    require(
        not adaptive or isinstance(solver, diffrax.AbstractAdaptiveSolver),
        "solver",
        type(solver).__name__,
        f"estimate its error for {type(controller).__name__}: Tsit5, Dopri5, Bosh3, Heun or "
        "diffrax.HalfSolver of a solver without",
    )
    return solver


def _inner(solver: diffrax.AbstractSolver) -> diffrax.AbstractSolver:
    return solver.solver if isinstance(solver, diffrax.HalfSolver) else solver


class AdaptivePlan(eqx.Module):
    """Settings of the adaptive steps of a batch; arrays are traced, Python numbers are not.

    Attributes:
        start: t0.
        end: t1.
        tau_split: where the energy is split.
        solver: the solver.
        controller: the step size controller.
        dt0: the first step, or None.
        max_steps: the step limit.
        adjoint: how the solve is differentiated.
        times: the saved times, or None.
        arrival: the last time at which the field is evaluated, or None.
        with_density: whether the divergence is integrated, for the log density.
        is_backward: whether times are −t, from data to noise; see `BackwardField`.
    """

    start: Float[Array, ""]
    end: Float[Array, ""]
    tau_split: Float[Array, ""]
    solver: diffrax.AbstractSolver
    controller: diffrax.AbstractStepSizeController
    dt0: Float[Array, ""] | None
    max_steps: int = eqx.field(static=True)
    adjoint: diffrax.AbstractAdjoint
    times: Float[Array, " times"] | None
    arrival: Float[Array, ""] | None
    with_density: bool = eqx.field(static=True, default=False)
    is_backward: bool = eqx.field(static=True, default=False)


@eqx.filter_jit
def solve_adaptive(
    field: Field, x0: Float[Array, "batch *event"], given: Given, plan: AdaptivePlan
) -> Trajectories:
    """Trajectories of a batch, each sample stepping on its own."""
    x1, spent, num_evals, status, path = jax.vmap(lambda x, own: _solve_one(field, x, own, plan))(
        x0, given
    )
    totals, frame, log_density = spent.totals, spent.frame, None
    residual = None if plan.is_backward else spent.residual
    if spent.divergence is not None:
        log_density = log_density_of(x0, x1, spent.divergence.value, plan.is_backward)
    axes, duration = tuple(range(1, x0.ndim)), plan.end - plan.start
    moved = seen_from(given.frame, x1 - x0, duration)
    energy = path_energy(totals, squared_norm(moved, axes, given.mass), duration)
    # In the frame the path is about as short as its excess, so that nothing is lost here.
    shift = squared_norm((x1 - x0) / duration - frame, axes, given.mass)
    excess = energy.excess - duration * shift / 2
    if min(stages_of(_inner(plan.solver)).b) >= 0:
        excess = jnp.maximum(excess, jnp.zeros_like(excess))
    energy = dataclasses.replace(energy, excess=excess)
    # Diffrax leaves a partial state or infinities of a failed solve: neither is a sample.
    failed = (status != OK) | ~has_finite_energy(energy)
    if path is not None:
        failed |= ~jnp.all(jnp.isfinite(path), axis=tuple(range(1, path.ndim)))
    if log_density is not None:
        failed |= ~jnp.isfinite(log_density)
    x1, energy, path, residual, log_density = jax.tree.map(
        lambda leaf: jnp.where(
            jnp.expand_dims(failed, tuple(range(1, leaf.ndim))), jnp.full_like(leaf, jnp.nan), leaf
        ),
        (x1, energy, path, residual, log_density),
    )
    status = jnp.where(failed & (status == OK), NOT_FINITE, status).astype(jnp.int32)
    kept = plan.times, path, residual, log_density
    return Trajectories(x1, energy, None, num_evals, status, *kept)


def _solve_one(
    field: Field, x0: Float[Array, "*event"], given: Given, plan: AdaptivePlan
) -> tuple[Array, SplitState, Array, Array, Array | None]:
    """ONE sample: its end, what it spent, number of evaluations, status, and path."""
    saves = {"end": diffrax.SubSaveAt(t1=True)}
    if plan.times is not None:
        saves["path"] = diffrax.SubSaveAt(ts=plan.times, fn=lambda t, y, args: y.x)
    state = energy_state(x0)
    if plan.with_density:
        state = dataclasses.replace(state, divergence=jnp.zeros_like(state.energy))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(PathVectorField(field, *given)),
        SplitSolver(
            plan.solver, plan.tau_split.astype(x0.dtype), plan.arrival, plan.start, x0, given
        ),
        t0=plan.start,
        t1=plan.end,
        dt0=plan.dt0,
        y0=state,
        saveat=diffrax.SaveAt(subs=saves, solver_state=True, controller_state=True),
        stepsize_controller=_blind(plan.controller, field.tau_split, x0.dtype),
        max_steps=plan.max_steps,
        adjoint=plan.adjoint,
        throw=False,
    )
    end = jax.tree.map(lambda leaf: leaf[-1], solution.ys["end"])
    num_evals = _num_evals(plan.solver, solution.stats["num_steps"], solution.controller_state)
    path = None if plan.times is None else solution.ys["path"]
    return end.x, solution.solver_state, num_evals, _status(solution.result), path


def _blind(
    controller: diffrax.AbstractStepSizeController, tau_split: Array | None, dtype: jnp.dtype
) -> diffrax.AbstractStepSizeController:
    """The controller as it would be without the energy; it steps onto a kink of the field's own."""
    if not isinstance(controller, diffrax.AbstractAdaptiveStepSizeController):
        return controller
    if tau_split is not None:
        controller = diffrax.ClipStepSizeController(
            controller, step_ts=jnp.atleast_1d(tau_split).astype(dtype)
        )
    return PathController(controller)


def _status(result: diffrax.RESULTS) -> Array:
    stopped = jnp.where(result == STOPPED_NOT_FINITE, NOT_FINITE, STEP_LIMIT)
    return jnp.where(result == diffrax.RESULTS.successful, OK, stopped)


def _num_evals(
    solver: diffrax.AbstractSolver, num_steps: Array, controller_state: PyTree[Any]
) -> Array:
    inner: Any = _inner(solver)
    calls = 3 if isinstance(solver, diffrax.HalfSolver) else 1
    if isinstance(inner, diffrax.Euler):
        stages, reused = 1, 0
    else:
        stages, reused = inner.tableau.num_stages, int(inner.tableau.fsal)
    searched: Array | int = 0
    fresh_steps: Array | int = 1
    if isinstance(controller_state, PathControllerState):
        searched, fresh_steps = controller_state.searched, controller_state.fresh_steps
    # FSAL: the first stage is the last one of the step before, except in a fresh step (of a
    # HalfSolver: in its whole step and in the first of its two halves).
    first = reused * (2 if calls == 3 else 1) * fresh_steps
    return (num_steps * calls * (stages - reused) + first + searched).astype(jnp.int32)
