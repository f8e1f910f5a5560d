"""`encode`: from data to noise, with the energy and the log density of given samples."""

from collections.abc import Sequence
from typing import Any

import diffrax
import jax
from jaxtyping import ArrayLike, PyTree

from kinetic_jax._open import call_opened
from kinetic_jax.energy._measure import Frame, Mass
from kinetic_jax.fields import VelocityField
from kinetic_jax.fields._step import require_step
from kinetic_jax.sampling._adaptive import AdaptivePlan
from kinetic_jax.sampling._backward import solve_adaptive_backward, solve_fixed_backward
from kinetic_jax.sampling._density import Keys, LogDensity, check_density, check_end, drawn_probes
from kinetic_jax.sampling._inputs import checked_inputs, mesh_for, restored
from kinetic_jax.sampling._mesh import on_mesh
from kinetic_jax.sampling._planned import Settings, planned
from kinetic_jax.sampling._trajectories import Trajectories


def encode(
    field: VelocityField,
    x1: ArrayLike | PyTree[ArrayLike],
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
    mass: Mass | None = None,
    frame: Frame | None = None,
    mesh: jax.sharding.Mesh | None = None,
    log_density: LogDensity | None = None,
    key: Keys | None = None,
    probes: int = 1,
) -> Trajectories:
    """Integrates dx/dt = u(t, x) from given samples at t1 back to noise at t0.

    The energies, the profile and the log density of a GIVEN sample, such as an image. They are
    read from noise to data, so that they compare with those of `sample`: times rise in
    `profile.ts`, and the launch is the energy of the steps whose left end in t lies before
    `tau_split`.

    Args:
        field: as in `sample`. One that declares an `arrival`, as exact flows of finite data do, is
            singular at t = 1: its paths can be followed back from a `t1` no later than that.
        x1: the samples, shape (batch, *event), in the scaling of the field; or a pytree.
        cond: as in `sample`.
        solver: as in `sample`. Default: `Heun()` on a fixed grid, as Euler's steps back do not
            undo its steps forward: a path there and back is off by O(1/num_steps).
        num_steps: as in `sample`.
        grid: as in `sample`; times rise, from noise to data.
        controller: as in `sample`.
        dt0: as in `sample`; positive.
        max_steps: as in `sample`.
        adjoint: as in `sample`.
        t0: as in `sample`, where the paths end here.
        t1: as in `sample`, the time of the given samples.
        tau_split: as in `sample`.
        mass: as in `sample`.
        frame: as in `sample`.
        mesh: as in `sample`.
        log_density: as in `sample`: log p of `x1` at t1 under the model. Its gradient in x1 is
            the model's score there.
        key: as in `sample`.
        probes: as in `sample`.

    Returns:
        `Trajectories` with the given `x1`, and the noise `x0`. The x0 of a sample that failed is
        NaN.

    Raises:
        ValueError: as `sample`; for a field with an `arrival` before t1.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import GaussianField
        >>> from kinetic_jax.sampling import encode
        >>> field = GaussianField(jnp.array([2.0, 0.0]), 0.5)
        >>> run = encode(field, jnp.array([[2.0, 0.0], [2.5, 0.0]]), log_density="exact")
        >>> run.x0.round(2) + 0  # (x1 − mean)/scale
        Array([[0., 0.],
               [1., 0.]], dtype=float32)
        >>> run.log_density.round(2)  # −log(2π 0.5²) − ||x0||²/2
        Array([-0.45, -0.95], dtype=float32)
    """
    field, x1, given, spec = checked_inputs(field, x1, cond, mass, frame, name="x1")
    mesh = mesh_for(mesh, x1, given, name="x1")
    check_density(log_density, key, probes, field, x1.shape[0], mesh)
    require_step(field, "to be encoded: its velocities are means over steps forward")
    settings = Settings(
        *(solver, num_steps, grid, controller, dt0, max_steps, adjoint, t0, t1, tau_split)
    )
    with_density = log_density is not None
    plan, _, end = planned(settings, field, x1, given, diffrax.Heun(), with_density)
    check_end(field, end, x1.dtype, "encode")
    given = given._replace(probes=drawn_probes(log_density, key, probes, x1))
    has_own_steps = isinstance(plan, AdaptivePlan)
    solve = solve_adaptive_backward if has_own_steps else solve_fixed_backward
    split = on_mesh(mesh, solve, field, x1, own_steps=has_own_steps)
    return restored(call_opened(split, field, x1, given, plan), spec)
