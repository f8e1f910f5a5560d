"""Fields made of other people's vector fields: Diffrax signatures, other clocks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import positive_scalar
from kinetic_jax._dtypes import as_time
from kinetic_jax._pytree import as_pytree
from kinetic_jax._state import EventShape, State, optional_event_shape
from kinetic_jax.fields._field import (
    Field,
    ModelField,
    WrappedField,
    has_gain,
    unknown_rate,
)
from kinetic_jax.fields._protocol import (
    VelocityField,
    as_field,
    checked_velocity,
    require_function,
    traced_args,
)
from kinetic_jax.fields._step import checked_step


class VectorFieldAdapter(ModelField):
    """See `from_vector_field`."""

    vf: Callable[..., Any]
    args: PyTree[Any]
    takes_cond = False

    def __call__(self, t: Float[Array, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """`vf(t, x, args)`; `cond` is not used."""
        del cond
        return checked_velocity(self.vf(t, x, self.args), x)


def from_vector_field(
    vf: Callable[..., Any],
    args: PyTree[Any] = None,
    *,
    event_shape: EventShape | None = None,
) -> VectorFieldAdapter:
    """Turns a Diffrax vector field `vf(t, y, args)` into a velocity field of one sample.

    Args:
        vf: a function of time, state and `args`; the state is one sample, an array or a pytree.
        args: a pytree; its arrays and Python floats are traced, not baked in: weights belong
            here. Neither a condition per sample, so that `cfg` refuses the field, nor the size of
            the step reaches `vf`.
        event_shape: the shape of one sample, where it is known; `sample` then checks `x0`.

    Returns:
        A field whose leaves are those of `args`.

    Raises:
        ValueError: if `vf` is not a function of three arguments, or `event_shape` not a shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import from_vector_field
        >>> decay = lambda t, y, args: -args["rate"] * y
        >>> field = from_vector_field(decay, {"rate": jnp.array(2.0)})
        >>> field(jnp.array(0.0), jnp.array([1.0, 3.0]))
        Array([-2., -6.], dtype=float32)
    """
    require_function("vf", vf, "t", "y", "args")
    return VectorFieldAdapter(optional_event_shape(event_shape), as_pytree(vf), traced_args(args))


class OtherClockField(WrappedField):
    """A field whose model's time argument is not t.

    Times that the field inside declares are of its own clock.
    """

    time_scale: Float[Array, ""]
    tau_split = None
    is_adapter = True
    untrained = ("time_scale",)

    def with_step(self, dt: Float[ArrayLike, ""]) -> Field:
        """The step of the model's own clock, `time_scale dt`, positive in both directions."""
        if not self.needs_step:
            return self
        step = checked_step(dt)
        return super().with_step(self.time_scale.astype(step.dtype) * step)

    def arrival(self, dtype: np.dtype) -> None:
        """None."""
        del dtype

    def closing_rate(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """1/(1 − t), that of a model; NaN with a gain inside, which is of another clock."""
        rate = Field.closing_rate(self, t)
        return unknown_rate(rate) if has_gain(self.field) else rate

    def without_gain(self) -> Field:
        """Itself."""
        return self


class ReversedTimeField(OtherClockField):
    """See `from_reversed_time`."""

    def __call__(self, t: Float[ArrayLike, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """`-field(time_scale (1 − t), x, cond)`."""
        t = as_time(t, x)
        reading = self.time_scale.astype(t.dtype) * (1 - t)
        return jax.tree.map(jnp.negative, self.field(reading, x, cond))


def from_reversed_time(field: VelocityField, *, time_scale: ArrayLike = 1.0) -> ReversedTimeField:
    """A model that runs from data (time 0) to noise, as a field that runs from noise to data.

    With s = 1 − t the model's own time in [0, 1] and v = dx/ds its velocity,
    `u(t, x) = −v(time_scale (1 − t), x)`. `time_scale` is only the clock the network reads (often
    0 to 1,000): the velocity stays per unit of s. A model that takes the size of the step (see
    `Field.with_step`) receives that of its own clock, `time_scale dt`, positive though s falls.

    Args:
        field: the model, a field of its own clock.
        time_scale: the largest reading of that clock, positive; traced, and not trained by `fit`.

    Returns:
        The field; its arrays are those of the model and `time_scale`.

    Raises:
        ValueError: if `time_scale` is not finite and positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import from_reversed_time
        >>> clock = lambda t, x, cond=None: t * jnp.ones_like(x)
        >>> from_reversed_time(clock, time_scale=1000.0)(jnp.array(0.25), jnp.zeros(2))
        Array([-750., -750.], dtype=float32)
    """
    return ReversedTimeField(as_field(field), positive_scalar(time_scale, "time_scale"))


class ScaledTimeField(OtherClockField):
    """See `from_scaled_time`."""

    def __call__(self, t: Float[ArrayLike, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """`field(time_scale t, x, cond)`."""
        t = as_time(t, x)
        return self.field(self.time_scale.astype(t.dtype) * t, x, cond)


def from_scaled_time(field: VelocityField, *, time_scale: ArrayLike) -> ScaledTimeField:
    """A model that runs from noise to data on a clock from 0 to `time_scale`.

    `u(t, x) = v(time_scale t, x)`: `time_scale` is only the clock the network reads (often 0 to
    1,000); the velocity stays per unit of t. A model that takes the size of the step receives
    `time_scale dt`. `from_reversed_time` is for models that run from
    data to noise.

    Args:
        field: the model, a field of its own clock.
        time_scale: the largest reading of that clock, positive; traced, and not trained by `fit`.

    Returns:
        The field; its arrays are those of the model and `time_scale`.

    Raises:
        ValueError: if `field` is not a velocity field, or `time_scale` not finite and positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.fields import from_scaled_time
        >>> clock = lambda t, x, cond=None: t * jnp.ones_like(x)
        >>> from_scaled_time(clock, time_scale=1000.0)(jnp.array(0.25), jnp.zeros(2))
        Array([250., 250.], dtype=float32)
    """
    return ScaledTimeField(as_field(field), positive_scalar(time_scale, "time_scale"))
