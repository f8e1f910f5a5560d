"""Pytrees: plain functions as static nodes, results that survive `jax.export`."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import equinox as eqx
import jax
import jax.export

T = TypeVar("T")


class PlainFunction(eqx.Module):
    """A plain function as a pytree without leaves, so that what holds it passes through `jit`."""

    fn: Callable[..., Any] = eqx.field(static=True)

    def __call__(self, *args: Any) -> Any:
        """Calls the function."""
        return self.fn(*args)


def as_pytree(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` itself if it is a pytree (its arrays then stay leaves), else a `PlainFunction`."""
    if jax.tree_util.all_leaves([function]):
        return PlainFunction(function)
    return function


@dataclass_transform(frozen_default=True)
def result(cls: type[T]) -> type[T]:
    """Makes a class of results a frozen dataclass and pytree that `jax.export` can serialise.

    Every field is a child. Like Equinox, and unlike `register_dataclass`, it is rebuilt without
    its constructor: JAX puts objects that are no arrays into pytrees, which runtime shape checks
    of the constructor would refuse.
    """
    frozen = dataclasses.dataclass(frozen=True)(cls)
    names = [field.name for field in dataclasses.fields(frozen)]  # type: ignore[arg-type]

    def flatten(node: T) -> tuple[list[tuple[Any, Any]], None]:
        return [(jax.tree_util.GetAttrKey(name), getattr(node, name)) for name in names], None

    def unflatten(_: None, children: Any) -> T:
        node = object.__new__(frozen)
        for name, child in zip(names, children, strict=True):
            object.__setattr__(node, name, child)
        return node

    jax.tree_util.register_pytree_with_keys(frozen, flatten, unflatten)
    jax.export.register_pytree_node_serialization(
        frozen,
        serialized_name=f"kinetic_jax.{cls.__name__}",
        serialize_auxdata=lambda _: b"",
        deserialize_auxdata=lambda _: None,
    )
    return frozen
