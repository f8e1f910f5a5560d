"""Fields of pytrees as fields of flat vectors, which is how they are sampled and trained."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import require
from kinetic_jax._state import StateSpec
from kinetic_jax.fields._field import Field, WrappedField
from kinetic_jax.fields._protocol import checked_velocity


class FlatField(WrappedField):
    """A field of pytrees as a field of flat vectors.

    Attributes:
        spec: the structure of a sample.
    """

    spec: StateSpec = eqx.field(static=True)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of the vector."""
        return (self.spec.size,)

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, " size"], cond: PyTree[Any] | None = None
    ) -> Float[Array, " size"]:
        """The velocity of one sample."""
        state = self.spec.restored(x)
        return self.spec.flat(checked_velocity(self.field(t, state, cond), state))


def flat_field(field: Field, spec: StateSpec, name: str = "x0") -> FlatField:
    """A field of pytrees as one of vectors.

    Raises:
        ValueError: if the field declares samples of another shape.
    """
    shape, got = field.event_shape, f"rows of shape {spec.event_shape}"
    fits = shape is None or shape == spec.event_shape
    require(fits, name, got, f"have the field's event shape, {shape}")
    return FlatField(field, spec)
