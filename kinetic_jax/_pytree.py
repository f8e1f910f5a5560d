"""Pytrees: plain functions as static nodes, results that survive `jax.export`."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, dataclass_transform

import equinox as eqx
import jax
import jax.export

T = TypeVar("T")


class _Same:
    """A callable compared by identity: one that holds arrays may have no hash and no ==."""

    def __init__(self, fn: Callable[..., Any]):
        self.fn = fn
        # Each lookup makes a new method object.
        self._id = (id(getattr(fn, "__self__", fn)), id(getattr(fn, "__func__", fn)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return repr(self.fn)

    def __reduce__(self) -> Any:
        return _Same, (self.fn,)  # another process has another id


class PlainFunction(eqx.Module):
    """A plain function as a pytree without leaves, so that what holds it passes through `jit`."""

    same: _Same = eqx.field(static=True)

    def __init__(self, fn: Callable[..., Any]):
        self.same = _Same(fn)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Calls the function."""
        return self.same.fn(*args, **named)


def as_pytree(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` itself if it is a pytree (its arrays then stay leaves), else a `PlainFunction`."""
    if jax.tree_util.all_leaves([function]):
        return PlainFunction(function)
    return function


def short_repr(node: object) -> str:
    """The numbers of a result by name; of arrays shape and dtype, as Equinox shows modules."""
    return eqx.tree_pformat(node)


@dataclass_transform(frozen_default=True)
def result(cls: type[T]) -> type[T]:
    """Makes a class of results a frozen dataclass and pytree that `jax.export` can serialise.

    Every field is a child. Like Equinox, and unlike `register_dataclass`, it is rebuilt without
    its constructor: JAX puts objects that are not arrays into pytrees, which runtime shape checks
    of the constructor would refuse.
    """
    frozen: Any = dataclasses.dataclass(frozen=True, repr=False)(cls)
    frozen.__repr__ = short_repr
    names = [field.name for field in dataclasses.fields(frozen)]

    def flatten(node: T) -> tuple[list[tuple[Any, Any]], None]:
        return [(jax.tree_util.GetAttrKey(name), getattr(node, name)) for name in names], None

    def unflatten(_: None, children: Iterable[object]) -> T:
        node: T = object.__new__(frozen)
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
    decorated: type[T] = frozen
    return decorated
