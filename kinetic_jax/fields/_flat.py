"""Fields of pytrees as fields of flat vectors, which is how they are sampled and trained."""

from typing import Any, TypeVar

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import require
from kinetic_jax._state import StateSpec, flat_rows, is_pytree_state, spec_of
from kinetic_jax.fields._field import Field, WrappedField
from kinetic_jax.fields._protocol import checked_velocity

T = TypeVar("T")


class FlatField(WrappedField):
    """A field of pytrees as a field of flat vectors.

    Attributes:
        spec: the structure of a sample.
    """

    keeps_pace = True
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


def flattened(name: str, field: Field, states: T) -> tuple[Field, T | Array, StateSpec | None]:
    """A field of pytrees and a batch of them as a field of vectors, their rows and structure.

    Of arrays nothing is changed, and the structure is None.

    Raises:
        ValueError: naming the argument, if its leaves do not share a batch axis and a dtype, one
            is a memmap, the field declares samples of another shape, or moves on a manifold.
    """
    if not is_pytree_state(states):
        return field, states, None
    spec = spec_of(name, states)
    got = f"rows of shape {spec.event_shape}"
    require(field.manifold is None, name, got, "be an array on a manifold, not a pytree")
    shape = field.event_shape
    fits = shape is None or shape == spec.event_shape
    require(fits, name, got, f"have the field's event shape, {shape}")
    return FlatField(field, spec), flat_rows(name, states, spec), spec
