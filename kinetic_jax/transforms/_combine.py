"""Transforms of velocity fields, and their composition."""

from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx

from kinetic_jax._checks import require, short
from kinetic_jax._pytree import as_pytree
from kinetic_jax.fields import VelocityField, as_field

#: A function from a velocity field to a velocity field, such as `kts`, `gain`, `cfg`, `guide` and
#: `chain` return; a function of your own is one too.
Transform: TypeAlias = Callable[[VelocityField], VelocityField]


class Chain(eqx.Module):
    """The transform that `chain` returns."""

    transforms: tuple[Transform, ...]

    def __call__(self, field: VelocityField) -> VelocityField:
        """Wraps `field` by each transform in turn."""
        for transform in self.transforms:
            field = transform(field)
        return field


def chain(*transforms: Transform) -> Chain:
    """Composes transforms from left to right: the first wraps the field first.

    `chain(a, b)(field)` is `b(a(field))`: with `chain(cfg(...), kts(...))` the gain acts on the
    guided velocity. `chain()` is the identity.

    Args:
        *transforms: functions from a field to a field.

    Returns:
        The transform that applies all of them.

    Raises:
        ValueError: if an argument is not callable.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import chain, gain, kts
        >>> double, shape = gain(lambda t: 2.0), kts(alpha0=0.5)
        >>> drift = lambda t, x, cond=None: jnp.ones_like(x)
        >>> t, x = jnp.array(0.3), jnp.zeros(1)
        >>> bool(chain(double, shape)(drift)(t, x) == shape(double(drift))(t, x))
        True
    """
    for position, transform in enumerate(transforms):
        require(callable(transform), f"transforms[{position}]", short(transform), "be callable")
    return Chain(tuple(as_pytree(transform) for transform in transforms))


class Identity(eqx.Module):
    """The transform that `identity` returns."""

    def __call__(self, field: VelocityField) -> VelocityField:
        """Returns `field`."""
        as_field(field)
        return field


def identity() -> Identity:
    """The transform that changes nothing.

    Returns:
        The transform; it returns the field itself.

    Example:
        >>> from kinetic_jax import identity
        >>> field = lambda t, x, cond=None: x
        >>> identity()(field) is field
        True
    """
    return Identity()
