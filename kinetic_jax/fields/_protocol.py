"""What a velocity field is."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, PyTree


@runtime_checkable
class VelocityField(Protocol):
    """A velocity field `v(t, x)` of ONE sample: anything callable as `field(t, x, cond=None)`.

    Time runs from noise (t = 0) to data (t = 1). The library maps a field over a batch with
    `jax.vmap`. A field is best a pytree whose leaves are its arrays (every field of this package
    is an `equinox.Module`): it then passes through `jit`, `vmap` and `grad` as an argument, and a
    changed weight never recompiles. A plain function works too;
    the arrays it closes over become arguments as well, read anew by each `sample`. Other values it
    closes over are read once, as under `jit`.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import VelocityField
        >>> def towards_one(t, x, cond=None):
        ...     return jnp.ones_like(x) - x
        >>> isinstance(towards_one, VelocityField)
        True
    """

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Float[Array, "*event"]:
        """The velocity at time `t` and position `x`, of the shape and dtype of `x`."""
        ...
