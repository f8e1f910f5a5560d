"""A step size controller that is blind to the energy and gives up on NaN."""

from typing import Any

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from kinetic_jax.energy import PathState, energy_state

# Diffrax has no result for this; the solve is never asked to raise, so its words are never seen.
STOPPED_NOT_FINITE = diffrax.RESULTS.internal_error


class PathController(diffrax.AbstractStepSizeController):
    """Shows x alone to the controller it wraps, its choice of a first step included.

    A trajectory that has become NaN is stopped at once: a controller can only propose NaN steps
    from there, up to the step limit.
    """

    controller: diffrax.AbstractStepSizeController

    def wrap(self, direction: Any) -> "PathController":
        """As the wrapped controller."""
        return PathController(self.controller.wrap(direction))

    def init(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: PathState,
        dt0: Any,
        args: PyTree[Any],
        func: Any,
        error_order: Any,
    ) -> Any:
        """The wrapped controller's first step, for the ODE of x."""

        def func_of_x(_: Any, t: Any, x: Array, args: Any) -> Array:
            return func(terms, t, energy_state(x), args).x

        term_of_x = diffrax.ODETerm(lambda t, x, args: func_of_x(None, t, x, args))
        return self.controller.init(term_of_x, t0, t1, y0.x, dt0, args, func_of_x, error_order)

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: PathState,
        y1_candidate: PathState,
        args: PyTree[Any],
        y_error: PathState | None,
        error_order: Any,
        controller_state: Any,
    ) -> Any:
        """The wrapped controller's verdict on the step of x."""
        error = None if y_error is None else y_error.x
        keep, next_t0, next_t1, made_jump, state, result = self.controller.adapt_step_size(
            t0, t1, y0.x, y1_candidate.x, args, error, error_order, controller_state
        )
        lost = jnp.isnan(next_t1) | (keep & jnp.isnan(jnp.sum(y1_candidate.x)))
        result = diffrax.RESULTS.where(lost, STOPPED_NOT_FINITE, result)
        return keep, next_t0, next_t1, made_jump, state, result
