"""`sweep`: a whole grid of KTS settings, in one program that shares what they have in common."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from kinetic_jax._checks import (
    as_array,
    float_array,
    is_concrete,
    require,
    require_finite,
    require_flag,
    short,
    whole_number,
)
from kinetic_jax._open import call_opened
from kinetic_jax._pytree import as_pytree
from kinetic_jax._state import StateSpec
from kinetic_jax.energy._measure import Frame, Mass
from kinetic_jax.fields import Field, VelocityField
from kinetic_jax.fields._field import arrival_of
from kinetic_jax.sampling._explicit import Stages, stages_of
from kinetic_jax.sampling._fixed import at_start, finished, loop_over_steps
from kinetic_jax.sampling._geodesic import check_stages, starts_of
from kinetic_jax.sampling._grid import nodes_as, time_nodes
from kinetic_jax.sampling._inputs import checked_inputs, mesh_for, restored
from kinetic_jax.sampling._mesh import on_mesh, solve_together
from kinetic_jax.sampling._plan import FixedPlan, Given
from kinetic_jax.sampling._trajectories import Trajectories
from kinetic_jax.transforms import Gain, kts
from kinetic_jax.transforms._phases import (
    DEFAULT_TAU_SPLIT,
    checked_tau_split,
    is_landing,
    is_within,
)

# Landing shapes that begin at 0: at τ itself the gain is 1, whatever β0.
_BEGIN_AT_ZERO = ("exponential", "linear")

Numbers = ArrayLike | Sequence[float]
Shape = str | Callable[..., Any]


def sweep(
    field: VelocityField,
    x0: ArrayLike | PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    alpha0: Numbers = 0.0,
    beta0: Numbers = 0.0,
    tau_split: Numbers = DEFAULT_TAU_SPLIT,
    launch: str | Callable[..., Any] = "linear",
    landing: str | Callable[..., Any] = "exponential",
    k: ArrayLike = 3.0,
    allow_reversal: bool = False,
    solver: diffrax.AbstractSolver | None = None,
    num_steps: int | None = None,
    grid: str | ArrayLike | Sequence[float] = "uniform",
    t0: ArrayLike | None = None,
    t1: ArrayLike | None = None,
    mass: Mass | None = None,
    frame: Frame | None = None,
    reduce: Callable[[Trajectories], Any] | None = None,
    at_once: int = 1,
    mesh: Mesh | None = None,
) -> Any:
    """Samples `field` under every `kts(alpha0, beta0, tau_split)` of a product grid.

    Every setting gives what `sample(kts(...)(field), x0, cond, ...)` gives. Up to τ the gain
    does not depend on β0: that part of the path is integrated once for each (α0, τ), up to the last
    step whose stages all lie at or before τ (before τ, where the landing does not begin at 0). With
    N Euler steps, A, B and T values and n of the steps shared, the field is called
    T · A · (n + B (N − n)) times a sample, not T · A · B · N.

    Args:
        field: as in `sample`; the gain is put around it.
        x0: as in `sample`, the same for every setting.
        cond: as in `sample`.
        alpha0: strengths of the launch, a number or (A,); traced, like the next two.
        beta0: strengths of the landing, a number or (B,).
        tau_split: ends of the launch, a number or (T,).
        launch: as in `kts`.
        landing: as in `kts`.
        k: as in `kts`.
        allow_reversal: as in `kts`.
        solver: as in `sample`, on a fixed grid.
        num_steps: as in `sample`.
        grid: as in `sample`.
        t0: as in `sample`.
        t1: as in `sample`.
        mass: as in `sample`.
        frame: as in `sample`.
        reduce: from one setting's `Trajectories` to what is kept of it (a pytree of arrays);
            traced, as a part of the program. No more than `at_once` settings are then in memory
            together.
        at_once: how many values of β0 are stepped together; more than one pays where one batch
            does not fill the device.
        mesh: as in `sample`. With `reduce`, which sees the whole batch, the batch must divide by
            the mesh's devices.

    Returns:
        `Trajectories` with axes (alpha0, beta0, tau_split, batch) in the place of batch, or what
        `reduce` returns with leading axes (alpha0, beta0, tau_split).

    Raises:
        ValueError: as `sample` and `kts`, before anything compiles; if strengths or τ are not
            numbers or vectors of them.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField, noise
        >>> from kinetic_jax.sampling import sweep
        >>> x0 = noise(jax.random.key(0), jnp.arange(4), (2,))
        >>> field = GaussianField(jnp.ones(2), 0.5)
        >>> runs = sweep(field, x0, alpha0=[0.0, 0.1], beta0=[0.0, 0.01, 0.02], num_steps=20)
        >>> runs.x1.shape, runs.energy.total.shape
        ((2, 3, 1, 4, 2), (2, 3, 1, 4))
        >>> means = sweep(field, x0, alpha0=[0.0, 0.1], reduce=lambda run: run.energy.total.mean())
        >>> means.shape
        (2, 1, 1)
    """
    field, x0, given, spec = checked_inputs(field, x0, cond, mass, frame)
    is_solver = solver is None or isinstance(solver, diffrax.AbstractSolver)
    require(is_solver, "solver", short(solver), "be an instance of a diffrax.AbstractSolver")
    require(reduce is None or callable(reduce), "reduce", short(reduce), "be a function of one run")
    at_once = whole_number("at_once", at_once, 1)
    require_flag("allow_reversal", allow_reversal)
    mesh = mesh_for(mesh, x0, given)
    nodes, _, _ = time_nodes(grid, num_steps, t0, t1, x0.dtype)
    stages = stages_of(diffrax.Euler() if solver is None else solver)
    check_stages(field, stages)
    plan = SweepPlan(
        alpha0=_vector("alpha0", alpha0),
        beta0=_vector("beta0", beta0),
        tau_split=_taus(tau_split),
        k=float_array(k, "k"),
        nodes=nodes_as(nodes, x0.dtype),
        arrival=arrival_of(field, x0.dtype),
        launch=_gain_shape("launch", launch),
        landing=_gain_shape("landing", landing),
        stages=stages,
        reduce=None if reduce is None else _Reduction(as_pytree(reduce), spec),
        at_once=at_once,
    )
    _check_gains(plan, allow_reversal)
    if mesh is None or reduce is None:
        solve = on_mesh(mesh, _solve, field, x0, axis=3)
    else:
        solve = functools.partial(solve_together, mesh, _solve)
    runs = call_opened(solve, field, x0, given, plan)
    return restored(runs, spec) if reduce is None else runs


class _Reduction(eqx.Module):
    """The user's `reduce`, given runs of the user's states."""

    reduce: Callable[..., Any]
    spec: StateSpec | None = eqx.field(static=True)

    def __call__(self, run: Trajectories) -> Any:
        return self.reduce(restored(run, self.spec))


class SweepPlan(eqx.Module):
    """The grid of settings, and how each is integrated; its arrays are traced."""

    alpha0: Float[Array, " alphas"]
    beta0: Float[Array, " betas"]
    tau_split: Float[Array, " taus"]
    k: Float[Array, ""]
    nodes: Float[Array, " nodes"]
    arrival: Float[Array, ""] | None
    launch: Shape
    landing: Shape
    stages: Stages = eqx.field(static=True)
    reduce: Callable[[Trajectories], Any] | None
    at_once: int = eqx.field(static=True)

    def transform(
        self, alpha0: ArrayLike, beta0: ArrayLike, tau: ArrayLike, reversal: bool = True
    ) -> Gain:
        """The gain of one setting."""
        return kts(
            alpha0,
            beta0,
            tau,
            launch=self.launch,
            landing=self.landing,
            k=self.k,
            allow_reversal=reversal,
        )

    def is_shared(self, tau: Float[Array, ""]) -> Bool[Array, " steps"]:
        """The steps that do not depend on β0: all up to the last whose stages all lie up to τ."""
        left, right = self.nodes[:-1, None], self.nodes[1:, None]
        times = left + jnp.asarray(self.stages.c, left.dtype)[None, :] * (right - left)
        if self.landing in _BEGIN_AT_ZERO:
            inside = is_within(times, jnp.zeros((), times.dtype), tau)
        else:
            inside = ~is_landing(times, tau)
        return jnp.cumprod(jnp.all(inside, axis=1)).astype(bool)


@eqx.filter_jit
def _solve(field: Field, x0: Array, given: Given, plan: SweepPlan) -> Any:
    """All settings, one after the other: τ, then α0, then β0."""
    x0 = starts_of(field, x0)

    def of_tau(tau: Array) -> Any:
        shared = plan.is_shared(tau)
        steps = FixedPlan(plan.nodes, tau, plan.stages, plan.arrival)

        def of_alpha(alpha0: Array) -> Any:
            launch = plan.transform(alpha0, 0.0, tau)(field)
            start = at_start(x0, steps)
            launched = jax.lax.scan(*loop_over_steps(launch, x0, given, steps, start, shared))[0]

            def of_beta(beta0: Array) -> Any:
                landing = plan.transform(alpha0, beta0, tau)(field)
                loop = loop_over_steps(landing, x0, given, steps, launched, ~shared)
                landed = jax.lax.scan(*loop)[0]
                run = finished(landing, x0, given, steps, *landed)
                return run if plan.reduce is None else plan.reduce(run)

            together = None if plan.at_once == 1 else plan.at_once
            return jax.lax.map(of_beta, plan.beta0, batch_size=together)

        return jax.lax.map(of_alpha, plan.alpha0)

    results = jax.lax.map(of_tau, plan.tau_split)
    results = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 2), results)
    if plan.reduce is None:
        return results.map_batch(lambda leaf: leaf, lambda _: plan.nodes[:-1])
    return results


def _vector(name: str, values: Numbers) -> Float[Array, " values"]:
    numbers = float_array(as_array(name, values), name)
    is_vector = numbers.ndim <= 1 and numbers.size >= 1
    require(is_vector, name, f"shape {numbers.shape}", "be a number or a vector of numbers")
    require_finite(name, numbers)
    return jnp.atleast_1d(numbers)


def _gain_shape(name: str, shape: object) -> Shape:
    if isinstance(shape, str):
        return shape
    if not callable(shape):
        raise ValueError(f"{name} must be a shape's name or a callable, got {shape!r}")
    return as_pytree(shape)


def _taus(values: Numbers) -> Float[Array, " taus"]:
    taus = _vector("tau_split", values)
    if is_concrete(taus):
        for tau in np.asarray(taus):
            checked_tau_split(tau)
    return taus


def _check_gains(plan: SweepPlan, allow_reversal: bool) -> None:
    """Refuses what `kts` refuses: the launch depends on α0 alone, the landing on β0 alone."""
    if not is_concrete(plan.alpha0, plan.beta0, plan.tau_split, plan.k):
        return
    for tau in np.asarray(plan.tau_split):
        for alpha0 in np.asarray(plan.alpha0):
            plan.transform(alpha0, 0.0, tau, allow_reversal)
        for beta0 in np.asarray(plan.beta0):
            plan.transform(0.0, beta0, tau, allow_reversal)
