"""`sample`: from noise to data, with the energy of every path."""

from collections.abc import Sequence
from typing import Any

import diffrax
import jax
from jaxtyping import ArrayLike, PyTree

from kinetic_jax._open import call_opened
from kinetic_jax.energy._measure import Frame, Mass
from kinetic_jax.fields import VelocityField
from kinetic_jax.sampling._adaptive import AdaptivePlan, solve_adaptive
from kinetic_jax.sampling._density import Keys, LogDensity, check_density, drawn_probes
from kinetic_jax.sampling._fixed import solve_fixed
from kinetic_jax.sampling._inputs import checked_inputs, mesh_for, restored
from kinetic_jax.sampling._mesh import on_mesh
from kinetic_jax.sampling._planned import Settings, planned
from kinetic_jax.sampling._trajectories import Trajectories


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
    log_density: LogDensity | None = None,
    key: Keys | None = None,
    probes: int = 1,
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
        log_density: "exact" or "hutchinson" also integrates ∂ log p/∂t = −div u along the path (a
            change of variables), by the solver's own weights in the same steps:
            `log p(x1) = log N(x0; 0, I) − ∫ div u dt`, where u is the executed velocity, gains
            and guidance included. Exact, the divergence costs as much as d evaluations, and
            Hutchinson's estimate at most two more per probe; `num_evals` counts neither. A
            controller does not look at it. It needs t0 = 0, flat space, and a `t1` no later than
            the field's `arrival`, if it declares one: at t = 1 the exact flow of finite data has
            gathered all mass on the rows, where log p is infinite. The field must have derivatives
            in forward mode, which `jax.custom_vjp` has not.
        key: of Hutchinson's probes, of independent entries ±1 that stay the same along a path. One
            key, folded with the number of each row, or a key for each row, of shape (batch,): the
            estimate of a sample then depends on its own key alone.
        probes: how many are averaged. The estimate has no bias; its variance falls as 1/probes.

    Returns:
        `Trajectories`. Failures are reported in `status`; this function never raises for them
        (`Trajectories.check` does).

    Raises:
        ValueError: before anything compiles, for settings that are out of range or contradict
            each other, `x0` and `cond` of different batch sizes, a field whose output has not the
            shape and dtype of x, a solver that is not explicit and one-step, a mass or a
            frame that does not fit, a memmap; for a log density where there is none, or a `key` or
            `probes` without "hutchinson".

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField, noise, sample
        >>> x0 = noise(jax.random.key(0), jnp.arange(3), (2,))
        >>> result = sample(GaussianField(jnp.array([2.0, 0.0]), 1.0), x0, num_steps=50)
        >>> result.x1.shape, result.energy.total.shape, result.num_evals
        ((3, 2), (3,), Array([50, 50, 50], dtype=int32))

    References:
        Chen et al., Neural ordinary differential equations, arXiv 1806.07366 (theorem 1);
        Grathwohl et al., FFJORD, arXiv 1810.01367 (the estimate).
    """
    field, x0, given, spec = checked_inputs(field, x0, cond, mass, frame)
    mesh = mesh_for(mesh, x0, given)
    check_density(log_density, key, probes, field, x0.shape[0], mesh)
    settings = Settings(
        *(solver, num_steps, grid, controller, dt0, max_steps, adjoint, t0, t1, tau_split)
    )
    with_density = log_density is not None
    plan = planned(settings, field, x0, given, diffrax.Euler(), with_density, save_at).plan
    given = given._replace(probes=drawn_probes(log_density, key, probes, x0))
    has_own_steps = isinstance(plan, AdaptivePlan)
    solve = solve_adaptive if has_own_steps else solve_fixed
    split = on_mesh(mesh, solve, field, x0, own_steps=has_own_steps)
    return restored(call_opened(split, field, x0, given, plan), spec)
