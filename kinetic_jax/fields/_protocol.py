"""What a velocity field is."""

import inspect
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
from flax import nnx
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import require
from kinetic_jax._pytree import as_pytree


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


def checked_field(field: Any) -> Any:
    """`field` as a pytree that can be called as `field(t, x, cond)`.

    Raises:
        ValueError: if it is no function of three arguments, saying what it may be instead.
    """
    for kind, how in (
        (nnx.Module, "from_nnx(model)"),
        (nn.Module, "from_linen(module, variables)"),
    ):
        if isinstance(field, kind):
            raise ValueError(
                f"field must be a velocity field of one sample, got the network "
                f"{type(field).__name__}: wrap it by kinetic_jax.{how}"
            )
    name = getattr(field, "__name__", type(field).__name__)
    if not callable(field):
        raise ValueError(f"field must be callable as field(t, x, cond), got {name} {field!r:.60}")
    if not _takes(field, 3):
        hint = ": a transform? Apply it to a field first, as kts(...)(field)"
        raise ValueError(
            f"field must be callable as field(t, x, cond), got {name}, which takes other arguments"
            + (hint if _takes(field, 1) else "")
        )
    return as_pytree(field)


def _takes(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a built-in that does not tell
        return True
    return True


def check_inputs(field: Any, name: str, x: Array, cond: PyTree[Any]) -> None:
    """Checks a batch against what the field inside all transforms says of itself.

    A field may have an `event_shape`, and a `check_cond(cond)` that raises for conditions it does
    not know.

    Raises:
        ValueError: if the rows of `x` have another shape, or the field refuses `cond`.
    """
    while (inner := getattr(field, "field", None)) is not None:
        field = inner
    shape = getattr(field, "event_shape", None)
    if shape is not None:
        given = x.shape[1:]
        require(given == shape, name, f"rows of shape {given}", f"have the field's, {shape}")
    check_cond = getattr(field, "check_cond", None)
    if check_cond is not None and cond is not None:
        check_cond(cond)
