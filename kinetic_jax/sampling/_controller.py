"""A step size controller that ignores the energy and stops at NaN."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PyTree

from kinetic_jax.energy import PathState, energy_state
from kinetic_jax.sampling._diffrax import STOPPED_NOT_FINITE, Scalar, Terms, with_term


class PathControllerState(eqx.Module):
    """The wrapped controller's state, and what the number of evaluations depends on.

    Attributes:
        controller: the wrapped controller's state.
        searched: evaluations of the field spent on the choice of a first step.
        fresh: whether the next step cannot take over the last stage of the one before (FSAL).
        fresh_steps: how many steps so far could not, rejected ones included.
    """

    controller: PyTree[Any]
    searched: Int[Array, ""]
    fresh: Bool[Array, ""]
    fresh_steps: Int[Array, ""]


class PathController(diffrax.AbstractStepSizeController):
    """Shows x alone to the controller it wraps, its choice of a first step included.

    A trajectory that has become NaN, or whose every step becomes so however short, is stopped: a
    controller can only propose NaN or empty steps from there, up to the step limit.
    """

    controller: diffrax.AbstractStepSizeController

    def wrap(self, direction: int | Array | np.ndarray) -> "PathController":
        """As the wrapped controller."""
        return PathController(self.controller.wrap(direction))

    def init(
        self,
        terms: Terms,
        t0: Scalar,
        t1: Scalar,
        y0: PathState,
        dt0: Scalar | None,
        args: PyTree[Any],
        func: Callable[..., PathState],
        error_order: Scalar | None,
    ) -> tuple[Scalar, PathControllerState]:
        """The wrapped controller's first step, for the ODE of x."""
        searches = False

        def func_of_x(_: object, t: Scalar, x: Array, args: PyTree[Any]) -> Array:
            nonlocal searches
            searches = True
            return func(terms, t, energy_state(x), args).x

        term = diffrax.ODETerm(lambda t, x, args: func_of_x(None, t, x, args))
        term = with_term(terms, term)
        first, inner = self.controller.init(term, t0, t1, y0.x, dt0, args, func_of_x, error_order)
        # A controller that looks for a first step does so by two evaluations (Hairer's rule).
        searched, none = jnp.asarray(2 if searches else 0, jnp.int32), jnp.zeros((), jnp.int32)
        return first, PathControllerState(inner, searched, jnp.asarray(True), none)

    def adapt_step_size(
        self,
        t0: Scalar,
        t1: Scalar,
        y0: PathState,
        y1_candidate: PathState,
        args: PyTree[Any],
        y_error: PathState | None,
        error_order: Scalar,
        controller_state: PathControllerState,
    ) -> Any:
        """The wrapped controller's verdict on the step of x."""
        error = None if y_error is None else y_error.x
        keep, next_t0, next_t1, made_jump, inner, result = self.controller.adapt_step_size(
            t0, t1, y0.x, y1_candidate.x, args, error, error_order, controller_state.controller
        )
        nan = jnp.isnan(jnp.sum(y1_candidate.x))
        empty = next_t1 - next_t0 <= jnp.finfo(jnp.result_type(next_t1)).eps ** 2
        lost = jnp.isnan(next_t1) | (nan & (keep | empty))
        result = diffrax.RESULTS.where(lost, STOPPED_NOT_FINITE, result)
        fresh = controller_state.fresh
        state = PathControllerState(
            inner,
            controller_state.searched,
            jnp.where(keep, made_jump, fresh),
            controller_state.fresh_steps + fresh.astype(jnp.int32),
        )
        return keep, next_t0, next_t1, made_jump, state, result
