"""A solver that adds up, step by step, what a path spends before and after `tau_split`."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from kinetic_jax._norms import squared_norm
from kinetic_jax.energy import PathState
from kinetic_jax.energy._measure import seen_from
from kinetic_jax.energy._path_energy import (
    CompensatedSum,
    PhaseTotals,
    no_sum,
    no_totals,
)
from kinetic_jax.energy._term import PathVectorField
from kinetic_jax.fields import Field
from kinetic_jax.sampling._diffrax import Scalar, Terms, scan_kind_of, term_of, with_term
from kinetic_jax.sampling._explicit import before_arrival, stages_of
from kinetic_jax.sampling._plan import Given
from kinetic_jax.sampling._residual import residual_factor


class FramedState(eqx.Module):
    """The state of a step.

    Attributes:
        path: the sample, and what it has spent since the step began.
        relative: ½ ∫ ||u − frame||² dt since the step began.
    """

    path: PathState
    relative: Float[Array, ""]

    @property
    def x(self) -> Array:
        """The sample."""
        return self.path.x


class SplitState(eqx.Module):
    """The state of the solver.

    Attributes:
        solver: the wrapped solver's state.
        totals: what the path has spent; in place of the excess ½ ∫ ||u − frame||² dt.
        frame: the mean velocity of the first step (0 within it).
        residual: the share of noise that would be left on the path to one row.
        divergence: ∫ div u dt so far, or None where it is not integrated.
    """

    solver: PyTree[Any]
    totals: PhaseTotals
    frame: Float[Array, "*event"]
    residual: Float[Array, ""]
    divergence: CompensatedSum | None


class _StepField(eqx.Module):
    """The vector field of one step, with the energy in a frame that moves along.

    The first step measures against its own mean velocity up to the stage (see `_first_excess`), all
    later ones against that of the first step; the last stage of a step, which the next one reuses
    (FSAL), fits. It evaluates the field at no time past `arrival`.
    """

    field: Callable[..., PathState]
    arrival: Float[Array, ""] | None
    begin: Float[Array, ""]
    x0: Float[Array, "*event"]
    frame: Float[Array, "*event"]
    mass: Float[Array, "*event"] | None
    t0: Scalar
    y0: FramedState

    def __call__(self, t: Scalar, y: FramedState, args: PyTree[Any]) -> FramedState:
        if self.arrival is not None:
            t, y = before_arrival(self.arrival, self.t0, self.y0, t, y)
        rates = self.field(t, y.path, args)
        elapsed = t - self.begin
        started = elapsed > 0
        chord = (y.x - self.x0) / jnp.where(started, elapsed, jnp.ones_like(elapsed))
        frame = jnp.where(self.t0 > self.begin, self.frame, chord)
        relative = squared_norm(rates.x - frame, None, self.mass) / 2
        return FramedState(rates, jnp.where(started, relative, jnp.zeros_like(relative)))


def _first_excess(
    energy: Float[Array, ""], displacement: Float[Array, ""], by_stages: Float[Array, ""]
) -> Float[Array, ""]:
    """The excess of the first step: E − displacement where that exceeds rounding.

    Otherwise the step is nearly straight, and the sum over stages about the mean is exact.
    """
    rounding = 16 * float(jnp.finfo(energy.dtype).eps) * jnp.abs(energy)
    exact = energy - displacement
    exact = jnp.where(jnp.abs(exact) <= rounding, jnp.maximum(exact, 0), exact)
    return jnp.where(jnp.abs(exact - by_stages) > rounding, exact, by_stages)


def field_of(terms: Terms) -> Field:
    """The velocity field inside the term of `energy_term`."""
    rates = term_of(terms).vector_field
    assert isinstance(rates, PathVectorField), "sample solves the term of energy_term"
    return rates.field


class SplitSolver(diffrax.AbstractWrappedSolver):
    """Takes the steps of the solver it wraps and splits their energy at tau_split.

    A step is never cut where a field has no kink, so that measuring does not change the
    trajectory. Inside the step that passes tau_split the energy is the solver's own interpolant.

    Attributes:
        solver: the wrapped solver.
        tau_split: where the energy is split.
        arrival: the last time at which the field is evaluated, or None.
        begin: when the path begins.
        x0: where it begins.
        given: the mass of its dimensions, and the frame of its energy.
    """

    solver: diffrax.AbstractSolver  # type: ignore[misc]
    tau_split: Float[Array, ""]
    arrival: Float[Array, ""] | None
    begin: Float[Array, ""]
    x0: Float[Array, "*event"]
    given: Given

    @property
    def term_structure(self) -> Any:
        """As the wrapped solver."""
        return self.solver.term_structure

    @property
    def interpolation_cls(self) -> Any:  # type: ignore[override]
        """As the wrapped solver."""
        return self.solver.interpolation_cls

    @property
    def term_compatible_contr_kwargs(self) -> Any:
        """As the wrapped solver."""
        return self.solver.term_compatible_contr_kwargs

    @property
    def scan_kind(self) -> Any:
        """That of the solver inside."""
        return scan_kind_of(self.solver)

    def order(self, terms: Terms) -> int | None:
        """As the wrapped solver."""
        return self.solver.order(terms)

    def strong_order(self, terms: Terms) -> Scalar | None:
        """As the wrapped solver."""
        return self.solver.strong_order(terms)

    def error_order(self, terms: Terms) -> Scalar | None:
        """As the wrapped solver."""
        return self.solver.error_order(terms)

    def init(
        self, terms: Terms, t0: Scalar, t1: Scalar, y0: PathState, args: PyTree[Any]
    ) -> SplitState:
        """The wrapped solver's state, and nothing spent."""
        frame, residual = jnp.zeros_like(self.x0), 1 - jnp.asarray(t0, y0.energy.dtype)
        terms, start = self._framed(terms, t0, y0, frame)
        dtype, inner = y0.energy.dtype, self.solver.init(terms, t0, t1, start, args)
        divergence = None if y0.divergence is None else no_sum((), dtype)
        return SplitState(inner, no_totals((), dtype), frame, residual, divergence)

    def step(
        self,
        terms: Terms,
        t0: Scalar,
        t1: Scalar,
        y0: PathState,
        args: PyTree[Any],
        solver_state: SplitState,
        made_jump: bool | Array | np.ndarray,
    ) -> Any:
        """The wrapped solver's step."""
        field = field_of(terms)
        terms, start = self._framed(terms, t0, y0, solver_state.frame)
        end, error, dense_info, inner, result = self.solver.step(
            terms, t0, t1, start, args, solver_state.solver, made_jump
        )
        # Never evaluated outside of its step, where it would be huge and so would its gradient.
        within = jnp.clip(self.tau_split, t0, t1)
        inside = self.interpolation_cls(t0=t0, t1=t1, **dense_info).evaluate(within).path.energy
        spent = end.path
        launch = jnp.where(self.tau_split > t0, inside, jnp.zeros_like(inside))
        launch = jnp.where(self.tau_split >= t1, spent.energy, launch)
        is_first = t0 <= self.begin
        moved = end.x - self.x0
        frame = jnp.where(is_first, moved / (t1 - self.begin), solver_state.frame)
        seen = seen_from(self.given.frame, moved, t1 - self.begin)
        displacement = squared_norm(seen, None, self.given.mass) / (2 * (t1 - self.begin))
        own = _first_excess(spent.energy, displacement, end.relative)
        relative = jnp.where(is_first, own, end.relative)
        totals = solver_state.totals.add(launch, spent.energy - launch, spent.length, relative)
        divergence = solver_state.divergence
        if divergence is not None:
            divergence = divergence.add(spent.divergence)
        sums = (y0.energy + spent.energy, y0.length + spent.length)
        # The state's own sum has no reader: the compensated one takes its place.
        y1 = PathState(end.x, *sums, y0.divergence)
        error = None if error is None else error.path
        residual = solver_state.residual * self._residual_factor(field, t0, t1)
        state = SplitState(inner, totals, frame, residual, divergence)
        return y1, error, dense_info, state, result

    def _residual_factor(self, field: Field, t0: Scalar, t1: Scalar) -> Array:
        """The factor of one step, or of the two halves that a `HalfSolver` takes."""
        start, end = (jnp.asarray(t, self.x0.dtype) for t in (t0, t1))
        inner, times = self.solver, [start, end]
        if isinstance(inner, diffrax.HalfSolver):
            inner, times = inner.solver, [start, start + (end - start) / 2, end]
        factors = [
            residual_factor(field, stages_of(inner), self.arrival, *pair)
            for pair in itertools.pairwise(times)
        ]
        return functools.reduce(jnp.multiply, factors)

    def _framed(
        self, terms: Terms, t0: Scalar, y0: PathState, frame: Array
    ) -> tuple[Terms, FramedState]:
        """The term and the initial state of a step."""
        zero = jnp.zeros_like(y0.energy)
        no_divergence = None if y0.divergence is None else zero
        start = FramedState(PathState(y0.x, zero, zero, no_divergence), zero)
        rates = term_of(terms).vector_field  # forward in time, as the whole solve
        held = self.arrival, self.begin, self.x0, frame, self.given.mass
        field = _StepField(rates, *held, t0, start)
        return with_term(terms, diffrax.ODETerm(field)), start

    def func(self, terms: Terms, t0: Scalar, y0: PathState, args: PyTree[Any]) -> PathState:
        """As the wrapped solver."""
        return self.solver.func(terms, t0, y0, args)
