"""A solver that notes the energy spent when it comes past `tau_split`."""

from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from kinetic_jax.energy import PathState
from kinetic_jax.sampling._explicit import before_arrival


class SplitState(eqx.Module):
    """The wrapped solver's state, and the energy spent up to now or to tau_split."""

    solver: PyTree[Any]
    launch: Float[Array, ""]


class _ArrivingVectorField(eqx.Module):
    """The vector field of one step, which looks at no time past `arrival`."""

    field: Any
    arrival: Float[Array, ""]
    t0: Any
    y0: PathState

    def __call__(self, t: Any, y: PathState, args: Any) -> Any:
        t, y = before_arrival(self.arrival, self.t0, self.y0, t, y)
        return self.field(t, y, args)


class SplitSolver(diffrax.AbstractWrappedSolver):
    """Takes the steps of the solver it wraps; on the way reads the launch energy off them.

    A step is never cut where a field has no kink, so that measuring leaves the trajectory as it
    is. Inside the step that passes tau_split the energy is the solver's own interpolant of it.
    """

    solver: diffrax.AbstractSolver  # type: ignore[misc]
    tau_split: Float[Array, ""]
    arrival: Float[Array, ""] | None

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
        """That of the Runge–Kutta method inside, which Diffrax sets for forward mode."""
        inner: Any = self.solver
        return (inner.solver if isinstance(inner, diffrax.HalfSolver) else inner).scan_kind

    def order(self, terms: Any) -> int | None:
        """As the wrapped solver."""
        return self.solver.order(terms)

    def strong_order(self, terms: Any) -> Any:
        """As the wrapped solver."""
        return self.solver.strong_order(terms)

    def error_order(self, terms: Any) -> Any:
        """As the wrapped solver."""
        return self.solver.error_order(terms)

    def init(self, terms: Any, t0: Any, t1: Any, y0: PathState, args: Any) -> SplitState:
        """The wrapped solver's state, and no energy."""
        return SplitState(self.solver.init(terms, t0, t1, y0, args), y0.energy)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: PathState,
        args: Any,
        solver_state: SplitState,
        made_jump: Any,
    ) -> Any:
        """The wrapped solver's step."""
        if self.arrival is not None:
            # Diffrax wraps the term for the direction of time, which is forward here.
            field = _ArrivingVectorField(terms.term.vector_field, self.arrival, t0, y0)
            terms = eqx.tree_at(lambda wrap: wrap.term, terms, diffrax.ODETerm(field))
        y1, error, dense_info, inner, result = self.solver.step(
            terms, t0, t1, y0, args, solver_state.solver, made_jump
        )
        # Never evaluated outside of its step, where it would be huge and so would its gradient.
        within = jnp.clip(self.tau_split, t0, t1)
        inside = self.interpolation_cls(t0=t0, t1=t1, **dense_info).evaluate(within).energy
        launch = jnp.where(self.tau_split > t0, inside, solver_state.launch)
        launch = jnp.where(self.tau_split >= t1, y1.energy, launch)
        return y1, error, dense_info, SplitState(inner, launch), result

    def func(self, terms: Any, t0: Any, y0: PathState, args: Any) -> Any:
        """As the wrapped solver."""
        return self.solver.func(terms, t0, y0, args)
