"""`sample`: from noise to data, with the energy of every path."""

from collections.abc import Sequence
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree

from kinetic_jax._checks import float_scalar, require, require_between, short, whole_number
from kinetic_jax._mesh import refuse_varying
from kinetic_jax._open import call_opened
from kinetic_jax.energy._measure import Frame, Mass
from kinetic_jax.fields import VelocityField
from kinetic_jax.fields._field import arrival_of
from kinetic_jax.fields._step import require_step
from kinetic_jax.sampling._adaptive import (
    AdaptivePlan,
    checked_adaptive_solver,
    solve_adaptive,
)
from kinetic_jax.sampling._explicit import stages_of
from kinetic_jax.sampling._fixed import solve_fixed
from kinetic_jax.sampling._geodesic import check_stages
from kinetic_jax.sampling._grid import checked_save_times, checked_span, nodes_as, time_nodes
from kinetic_jax.sampling._inputs import checked_inputs, mesh_for, restored
from kinetic_jax.sampling._mesh import on_mesh
from kinetic_jax.sampling._plan import FixedPlan, SavePlan, save_every_node, save_plan
from kinetic_jax.sampling._trajectories import Trajectories
from kinetic_jax.transforms._phases import DEFAULT_TAU_SPLIT, checked_tau_split


def sample(
    field: VelocityField,
    x0: ArrayLike | PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    solver: diffrax.AbstractSolver | None = None,
    num_steps: int | None = None,
    grid: str | ArrayLike | Sequence[float] = "uniform",
    controller: diffrax.AbstractStepSizeController | None = None,
    dt0: ArrayLike | None = None,
    max_steps: int = 4096,
    adjoint: diffrax.AbstractAdjoint | None = None,
    t0: ArrayLike | None = None,
    t1: ArrayLike | None = None,
    tau_split: ArrayLike | None = None,
    save_at: bool | ArrayLike | Sequence[float] | None = None,
    mass: Mass | None = None,
    frame: Frame | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Trajectories:
    """Integrates dx/dt = u(t, x) from `x0` at t0 to t1, and measures each path's energy.

    The energy rides along with the solver's own weights and never changes the trajectory. On a
    fixed grid (the default) all samples share the steps; with a `controller` each sample steps on
    its own, as a plain `diffrax.diffeqsolve` of it alone would.

    Args:
        field: the velocity field of ONE sample, `field(t, x, cond)`; its arrays are traced. For a
            model from elsewhere call `kinetic_jax.training.identify_convention` first.
        x0: where the paths begin, shape (batch, *event), float32 or float64; see `noise`. Or a
            pytree of such arrays, of one dtype: the field then takes and returns pytrees.
        cond: a pytree with a leading batch axis on every leaf, or None. A leaf of one row is the
            condition of every sample.
        solver: an explicit one-step Diffrax solver. Default: `Euler()`; `Tsit5()` with a
            controller.
        num_steps: steps of a fixed grid, 100 by default.
        grid: "uniform", "cosine" (½(1 − cos πi/N)), "shifted:3" (`shifted_grid`; any number > 0),
            or an array of N + 1 times, such as `grid_from_profile` makes.
        controller: a Diffrax step size controller, for adaptive steps per sample. Steps end on
            `field.tau_split` if the field carries one (its gain has a kink there). A norm of its
            own sees the arrays of a pytree as one vector.
        dt0: the first step of an adaptive solve; None lets the controller choose.
        max_steps: step limit of an adaptive solve, accepted and rejected steps together.
        adjoint: how an adaptive solve is differentiated. `diffrax.RecursiveCheckpointAdjoint()`,
            the default, serves `jax.grad`, `jax.vjp` and `jax.jacrev`; `diffrax.ForwardMode()`
            `jax.jvp` and `jax.jacfwd`; `diffrax.DirectAdjoint()` all of them and `jax.hessian`, in
            memory and time that grow with `max_steps`. A fixed grid needs none: all work there.
        t0: start, a number in [0, 1). Default: where an array of times begins, else 0.
        t1: end, a number in (t0, 1]. Default: where an array of times ends, else 1.
        tau_split: where the energy is split into launch and landing. Default: the field's own
            (`kts` sets one), else 0.6. A step of a fixed grid belongs to the phase of its left
            end; with a controller the step that passes it is divided where it passes.
        save_at: True saves every node of a fixed grid, an array of ascending times saves those.
            A time between the nodes of a fixed grid is reached by one shorter step of the same
            solver (counted in `num_evals`); an adaptive solve interpolates as Diffrax does, with
            its run-time check of the times, a host callback.
        mass: weights m >= 0 of the energy, `½ ∫ Σ m u² dt`, such as a mask of padding or weights by
            latitude; in every norm of the result, and nowhere else. An array that broadcasts to
            the event, or to `x0` (a row for each sample); for a pytree of the same structure.
        frame: m, the velocity of the frame in which energies are measured, `½ ∫ ||u − m||² dt`, in
            the shapes that `mass` may have. On the linear path the mean velocity of an exact flow
            is the mean of the data: in that frame, or in the one of each sample's class, energy
            does not depend on where the data lie. The excess is the same in every frame; `length`
            and `profile.speed2` are of u − m.
        mesh: split the batch over the devices of this mesh, those of other processes included
            (`jax.distributed`; every process passes the same arguments). The results stay split
            over the mesh, with no exchange between devices; if the batch does not divide by their
            number, a program after gathers them whole on each. An `x0` that is split over Explicit
            axes (those of `jax.make_mesh`) needs it.
            Samples are the same up to rounding, which with a controller can decide whether a step
            is taken, and then moves a sample by as much as the solve is off.

    Returns:
        `Trajectories`. Failures are reported in `status`; this function never raises for them
        (`Trajectories.check` does).

    Raises:
        ValueError: before anything compiles, for settings that are out of range or contradict
            each other, `x0` and `cond` of different batch sizes, a field whose output has not the
            shape and dtype of x, a solver that is not explicit and one-step, a mass or a
            frame that does not fit, a memmap.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField, noise, sample
        >>> x0 = noise(jax.random.key(0), jnp.arange(3), (2,))
        >>> result = sample(GaussianField(jnp.array([2.0, 0.0]), 1.0), x0, num_steps=50)
        >>> result.x1.shape, result.energy.total.shape, result.num_evals
        ((3, 2), (3,), Array([50, 50, 50], dtype=int32))
    """
    field, x0, given, spec = checked_inputs(field, x0, cond, mass, frame)
    dtype = x0.dtype
    for name, value, kind in (
        ("solver", solver, diffrax.AbstractSolver),
        ("controller", controller, diffrax.AbstractStepSizeController),
        ("adjoint", adjoint, diffrax.AbstractAdjoint),
    ):
        is_kind = value is None or isinstance(value, kind)
        require(is_kind, name, short(value), f"be an instance of a diffrax.{kind.__name__}")
    max_steps = whole_number("max_steps", max_steps, 1)
    mesh = mesh_for(mesh, x0, given)
    tau = field.tau_split if tau_split is None else tau_split
    tau = checked_tau_split(DEFAULT_TAU_SPLIT if tau is None else tau)
    arrival = arrival_of(field, dtype)
    if controller is None:
        require(dt0 is None, "dt0", dt0, "be left out on a fixed grid, which has num_steps or grid")
        expected = "be left out on a fixed grid, which every kind of derivative passes through"
        require(adjoint is None, "adjoint", type(adjoint).__name__, expected)
        nodes, start, end = time_nodes(grid, num_steps, t0, t1, dtype)
        save = _save_plan(save_at, nodes, start, end, dtype)
        stages = stages_of(diffrax.Euler() if solver is None else solver)
        check_stages(field, stages)
        plan = FixedPlan(nodes_as(nodes, dtype), tau, stages, arrival, save)
        solve = on_mesh(mesh, solve_fixed, field, x0)
        return restored(call_opened(solve, field, x0, given, plan), spec)
    expected = "be left out for a field on a manifold, whose steps are those of a fixed grid"
    require(field.manifold is None, "controller", type(controller).__name__, expected)
    refuse_varying("controller", type(controller).__name__, field, x0, given)
    require_step(field, "with a controller, which tries steps of many sizes")
    require(num_steps is None, "num_steps", num_steps, "be left out with a controller")
    is_default = isinstance(grid, str) and grid == "uniform"
    require(is_default, "grid", grid, "be left out with a controller")
    start, end = checked_span(t0, t1)
    require(save_at is not True, "save_at", save_at, "be an array of times with a controller")
    times = None
    if save_at is not None and save_at is not False:
        times = jnp.asarray(checked_save_times(save_at, start, end), dtype)
    adaptive = AdaptivePlan(
        start=jnp.asarray(start, dtype),
        end=jnp.asarray(end, dtype),
        tau_split=tau,
        solver=checked_adaptive_solver(solver, controller),
        controller=controller,
        dt0=_checked_first_step(dt0, start, end, dtype),
        max_steps=max_steps,
        adjoint=diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint,
        times=times,
        arrival=arrival,
    )
    solve = on_mesh(mesh, solve_adaptive, field, x0, own_steps=True)
    return restored(call_opened(solve, field, x0, given, adaptive), spec)


def _save_plan(
    save_at: bool | ArrayLike | Sequence[float] | None,
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
