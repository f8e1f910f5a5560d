"""Guidance by another model: autoguidance, mixing, a negative prompt."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import float_scalar, require, require_finite
from kinetic_jax._dtypes import as_time, dtype_of
from kinetic_jax._state import State
from kinetic_jax.fields import Field, VelocityField, WrappedField, as_field
from kinetic_jax.fields._field import has_gain


class GuidedField(WrappedField):
    """The guided velocity field; see `guide`."""

    other: Field
    weight: Float[Array, ""]

    @property
    def takes_cond(self) -> bool:
        """False if both fields ignore their condition."""
        return self.field.takes_cond or self.other.takes_cond

    @property
    def needs_step(self) -> bool:
        """True if one of the fields needs the size of the step."""
        return self.field.needs_step or self.other.needs_step

    def with_step(self, dt: Float[ArrayLike, ""]) -> Field:
        """The same with the step `dt` for both fields."""
        inside = self.field.with_step(dt), self.other.with_step(dt)
        return eqx.tree_at(lambda outer: (outer.field, outer.other), self, inside)

    def arrival(self, dtype: np.dtype) -> ArrayLike | None:
        """The earlier of the last times at which a solver evaluates the two fields."""
        times = [field.arrival(dtype) for field in (self.field, self.other)]
        known = [time for time in times if time is not None]
        return functools.reduce(jnp.minimum, known) if known else None

    def closing_rate(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """Those of the two fields, combined as their velocities are."""
        own, other = self.field.closing_rate(t), self.other.closing_rate(t)
        return other + self.weight.astype(own.dtype) * (own - other)

    def without_gain(self) -> Field:
        """The same of the two fields without their gains."""
        if not has_gain(self.field) and not has_gain(self.other):
            return self
        inside = self.field.without_gain(), self.other.without_gain()
        return eqx.tree_at(lambda outer: (outer.field, outer.other), self, inside)

    def check_cond(self, cond: PyTree[Any], name: str = "cond") -> None:
        """Raises for conditions that one of the fields does not know."""
        self.field.check_cond(cond, name)
        self.other.check_cond(cond, name)

    def __call__(self, t: Float[ArrayLike, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The guided velocity of one sample."""
        t = as_time(t, x)
        weight = self.weight.astype(dtype_of(x))
        own, other = self.field(t, x, cond), self.other(t, x, cond)
        return jax.tree.map(lambda v, o: o + weight * (v - o), own, other)


class Guide(eqx.Module):
    """The transform that `guide` returns."""

    other: Field
    weight: Float[Array, ""]

    def __call__(self, field: VelocityField) -> GuidedField:
        """Wraps `field`."""
        field = as_field(field)
        shapes = self.other.event_shape, field.event_shape
        fits = None in shapes or shapes[0] == shapes[1]
        require(fits, "other", f"event shape {shapes[0]}", f"have the field's, {shapes[1]}")
        other, own = (type(each.manifold).__name__ for each in (self.other, field))
        require(other == own, "other", other, f"be on the field's manifold, {own}")
        return GuidedField(field, self.other, self.weight)


def guide(other: VelocityField, weight: ArrayLike) -> Guide:
    """Guidance by another field: `u = o + w (v − o)`.

    For w > 1 it leads away from `other`: an earlier or smaller checkpoint (autoguidance), or the
    same model with another condition (a negative prompt). For w in [0, 1] it mixes the two: mixing
    with a checkpoint from before the onset of memorisation lowers the share of copies. Both fields
    are evaluated, which `sample` counts as one evaluation.

    Args:
        other: o, a field of the same samples and conditions; its arrays are traced.
        weight: w; 1 is no guidance. Traced.

    Returns:
        The transform of fields, a pytree.

    Raises:
        ValueError: if `other` is not a field, or the weight not finite; when applied, if the
            fields declare samples of different shapes, or move on different manifolds.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.transforms import guide
        >>> weak = lambda t, x, cond=None: jnp.ones_like(x)
        >>> strong = lambda t, x, cond=None: 3 * jnp.ones_like(x)
        >>> guide(weak, 2.0)(strong)(jnp.array(0.5), jnp.zeros(2))
        Array([5., 5.], dtype=float32)

    References:
        Karras et al., Guiding a diffusion model with a bad version of itself, arXiv 2406.02507.
    """
    number = float_scalar(weight, "weight")
    require_finite("weight", number)
    return Guide(as_field(other, "other"), number)
