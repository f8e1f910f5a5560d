"""Checks of the settings of networks against the annotations of their constructors."""

import inspect
from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from kinetic_jax._checks import require, short, whole_number, whole_numbers
from kinetic_jax._schema import as_kind

MOST = 2**31 - 1  # the largest integer setting
_NOT_SETTINGS = ("self", "event_shape", "num_classes", "rngs")


def check_settings(network: type[nnx.Module], arguments: Mapping[str, object]) -> None:
    """Checks the arguments of the constructor of a network, by name."""
    whole_numbers("event_shape", arguments["event_shape"])
    if arguments["num_classes"] is not None:
        whole_number("num_classes", arguments["num_classes"], 1, MOST)
    rngs = arguments["rngs"]
    require(isinstance(rngs, nnx.Rngs), "rngs", short(rngs), "be flax.nnx.Rngs")
    for name, parameter in settings_of(network).items():
        checked_setting(name, arguments[name], parameter.annotation)


def settings_of(network: type[nnx.Module]) -> dict[str, inspect.Parameter]:
    """The settings of a network other than its event shape and classes."""
    # NNX hides the signature of the class itself.
    parameters = inspect.signature(network.__init__).parameters
    return {name: value for name, value in parameters.items() if name not in _NOT_SETTINGS}


def checked_setting(name: str, value: object, kind: object) -> object:
    """A setting of the kind of its annotation, as JSON types; dtypes become names."""
    if kind == DTypeLike | None:
        return None if value is None else _dtype_name(name, value)
    value = as_kind(value, kind, name)
    for entry in value if isinstance(value, tuple) else (value,):
        in_range = not isinstance(entry, int) or 0 <= entry <= MOST
        require(in_range, name, value, f"lie in [0, {MOST}]")
    return value


def _dtype_name(name: str, value: object) -> str:
    expected = "be None or a floating dtype"
    try:
        dtype = jnp.dtype(value)  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must {expected}, got {short(value)}") from error
    require(jnp.issubdtype(dtype, jnp.floating), name, short(value), expected)
    return dtype.name
