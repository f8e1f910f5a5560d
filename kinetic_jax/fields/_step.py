"""The size of the step, for models that take it: shortcut models, MeanFlow."""

from typing import TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import float_scalar, is_concrete, require, require_finite
from kinetic_jax._dtypes import as_time
from kinetic_jax._state import State
from kinetic_jax.fields._field import Field

T = TypeVar("T")


class SteppedField(Field):
    """A field around a function that may take the size of the step as its argument `dt`.

    Attributes:
        dt: the size of the step, or None before `with_step`.
        takes_dt: True for a function that takes it.
    """

    dt: Float[Array, ""] | None = eqx.field(default=None, kw_only=True)
    takes_dt: bool = eqx.field(static=True, default=False, kw_only=True)
    untrained = ("dt",)

    @property
    def needs_step(self) -> bool:
        """True if the function takes the step and has none."""
        return self.takes_dt and self.dt is None

    def with_step(self, dt: Float[ArrayLike, ""]) -> Field:
        """The field at steps of size `dt`, if it needs one."""
        if not self.needs_step:
            return self
        step = checked_step(dt)
        return eqx.tree_at(lambda field: field.dt, self, step, is_leaf=lambda node: node is None)

    def step_argument(self, t: ArrayLike, x: State) -> dict[str, Array]:
        """The argument `dt` in the dtype of t, for a function that takes it."""
        require_step(self, "when it is called")
        return {} if self.dt is None else {"dt": self.dt.astype(as_time(t, x).dtype)}

    def without_training_step(self, mask: T) -> T:
        """A mask of the field's trained arrays, its step not among them."""
        return mask if self.dt is None else eqx.tree_at(lambda field: field.dt, mask, False)


def checked_step(dt: ArrayLike) -> Float[Array, ""]:
    """`dt` as an array.

    Raises:
        ValueError: if it is not a finite number, or negative.
    """
    step = float_scalar(dt, "dt")
    require_finite("dt", step)
    if is_concrete(step):
        require(float(step) >= 0, "dt", dt, "not be negative")
    return step


def require_step(field: Field, when: str) -> None:
    """Raises for a field that still needs the size of a step, where there is none."""
    expected = (
        f"have its step bound {when}, as by kinetic_jax.fields.as_field(field).with_step(0.01) "
        "(`sample` on a fixed grid and `sweep` bind that of each step, also inside a WrappedField)"
    )
    require(not field.needs_step, "field", "a model that takes dt and has none", expected)


def over_step(field: Field, t0: Float[Array, ""], t1: Float[Array, ""]) -> Field:
    """The field with the step from t0 to t1, if it needs one; for others this costs nothing."""
    if not field.needs_step:
        return field
    size = t1 - t0
    # Saving at a node takes a step of no length, at which a model of log dt would be infinite.
    return field.with_step(jnp.where(size > 0, size, jnp.ones_like(size)))
