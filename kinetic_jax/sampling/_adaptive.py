"""Adaptive sampling: one Diffrax solve per sample, each with its own steps."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import require
from kinetic_jax.energy import (
    PhaseTotals,
    energy_state,
    energy_term,
    path_energy,
    squared_norm,
)
from kinetic_jax.fields import VelocityField
from kinetic_jax.sampling._controller import (
    STOPPED_NOT_FINITE,
    PathController,
    PathControllerState,
)
from kinetic_jax.sampling._explicit import require_explicit
from kinetic_jax.sampling._split import SplitSolver
from kinetic_jax.sampling._trajectories import NOT_FINITE, OK, STEP_LIMIT, Trajectories
from kinetic_jax.transforms import own_tau_split


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
    inner = solver.solver if isinstance(solver, diffrax.HalfSolver) else solver
    require_explicit(inner)
    adaptive = isinstance(controller, diffrax.AbstractAdaptiveStepSizeController)
    require(
        not adaptive or isinstance(solver, diffrax.AbstractAdaptiveSolver),
        "solver",
        type(solver).__name__,
        f"estimate its error for {type(controller).__name__}: Tsit5, Dopri5, Bosh3, Heun or "
        "diffrax.HalfSolver of a solver without",
    )
    return solver


class AdaptivePlan(eqx.Module):
    """How the samples of a batch are stepped; its arrays are traced (a Python number is not).

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
        arrival: the last time at which the field is looked at, or None.
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


@eqx.filter_jit
def solve_adaptive(
    field: VelocityField, x0: Float[Array, "batch *event"], cond: PyTree[Any], plan: AdaptivePlan
) -> Trajectories:
    """Trajectories of a batch, each sample stepping on its own."""
    one = lambda x, c: _solve_one(field, x, c, plan)  # noqa: E731
    x1, totals, num_evals, status, path = jax.vmap(one)(x0, cond)
    axes = tuple(range(1, x0.ndim))
    energy = path_energy(totals, squared_norm(x1 - x0, axes), plan.end - plan.start)
    return Trajectories(x1, energy, None, num_evals, status, plan.times, path)


def _solve_one(
    field: VelocityField, x0: Float[Array, "*event"], cond: PyTree[Any], plan: AdaptivePlan
) -> tuple[Array, PhaseTotals, Array, Array, Array | None]:
    saves = {"end": diffrax.SubSaveAt(t1=True)}
    if plan.times is not None:
        saves["path"] = diffrax.SubSaveAt(ts=plan.times, fn=lambda t, y, args: y.x)
    solution = diffrax.diffeqsolve(
        energy_term(field, cond),
        SplitSolver(plan.solver, plan.tau_split.astype(x0.dtype), plan.arrival),
        t0=plan.start,
        t1=plan.end,
        dt0=plan.dt0,
        y0=energy_state(x0),
        saveat=diffrax.SaveAt(subs=saves, solver_state=True, controller_state=True),
        stepsize_controller=_blind(plan.controller, own_tau_split(field), x0.dtype),
        max_steps=plan.max_steps,
        adjoint=plan.adjoint,
        throw=False,
    )
    end = jax.tree.map(lambda leaf: leaf[-1], solution.ys["end"])
    x1, launch = end.x, solution.solver_state.launch
    status = _status(solution.result, x1)
    # Of a failed solve Diffrax leaves a partial state or infinities: neither is a sample.
    good = status == OK
    totals = PhaseTotals(launch, end.energy - launch, end.length)
    num_evals = _num_evals(plan.solver, solution.stats["num_steps"], solution.controller_state)
    path = None if plan.times is None else solution.ys["path"]
    x1, totals, path = jax.tree.map(
        lambda leaf: jnp.where(good, leaf, jnp.full_like(leaf, jnp.nan)), (x1, totals, path)
    )
    return x1, totals, num_evals, status, path


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


def _status(result: Any, x1: Array) -> Array:
    stopped = jnp.where(result == STOPPED_NOT_FINITE, NOT_FINITE, STEP_LIMIT)
    status = jnp.where(result == diffrax.RESULTS.successful, OK, stopped)
    finite = jnp.all(jnp.isfinite(x1))
    return jnp.where((status == OK) & ~finite, NOT_FINITE, status).astype(jnp.int32)


def _num_evals(solver: diffrax.AbstractSolver, num_steps: Array, controller_state: Any) -> Array:
    inner: Any = solver.solver if isinstance(solver, diffrax.HalfSolver) else solver
    calls = 3 if isinstance(solver, diffrax.HalfSolver) else 1
    if isinstance(inner, diffrax.Euler):
        stages, reused = 1, 0
    else:
        stages, reused = inner.tableau.num_stages, int(inner.tableau.fsal)
    searched: Any = 0
    fresh_steps: Any = 1
    if isinstance(controller_state, PathControllerState):
        searched, fresh_steps = controller_state.searched, controller_state.fresh_steps
    # FSAL: the first stage is the last one of the step before, except in a fresh step (of a
    # HalfSolver: in its whole step and in the first of its two halves).
    first = reused * (2 if calls == 3 else 1) * fresh_steps
    return (num_steps * calls * (stages - reused) + first + searched).astype(jnp.int32)
