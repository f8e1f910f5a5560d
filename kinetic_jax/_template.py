"""Templates: values without their arrays, from which a program builds its own copies.

A template is static: hashable, and compared by value. It holds objects by weak references, so
that a cache of programs does not keep them alive.
"""

import builtins
import dataclasses
import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import jax
from flax import nnx


class Parts:
    """What a template is built from: the arrays, and the functions that are already built."""

    def __init__(self, arrays: tuple[Any, ...]):
        self.arrays = arrays
        self.built: dict[int, Any] = {}


class Template:
    """A value without its arrays; hashable, compared by value."""

    def build(self, parts: Parts) -> Any:
        """The value, with the arrays of `parts`."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Array(Template):
    slot: int

    def build(self, parts: Parts) -> Any:
        return parts.arrays[self.slot]


@dataclasses.dataclass(frozen=True)
class Again(Template):
    """A function or an object that was read before: shared, or part of a cycle."""

    number: int

    def build(self, parts: Parts) -> Any:
        return parts.built[self.number]


@dataclasses.dataclass(frozen=True)
class Value(Template):
    """A value compared by `key`, and got from `reference`."""

    key: Hashable
    reference: Callable[[], Any] = dataclasses.field(compare=False)

    def build(self, parts: Parts) -> Any:
        return self.reference()


class Same(Template):
    """An object compared by identity."""

    def __init__(self, value: Any):
        self._id = id(value)
        self._reference = reference(value)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Same) or self._id != other._id:
            return False
        value = self._reference()
        return value is not None and value is other._reference()

    def __hash__(self) -> int:
        return self._id

    def build(self, parts: Parts) -> Any:
        return self._reference()


def reference(value: Any) -> Callable[[], Any]:
    """A weak reference where there can be one; numbers, strings, lists and dicts have none."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


@dataclasses.dataclass(frozen=True)
class Items(Template):
    """A list, tuple or dict, copied."""

    kind: type
    keys: tuple[Any, ...] | None
    items: tuple[Template, ...]

    def build(self, parts: Parts) -> Any:
        items = [item.build(parts) for item in self.items]
        if self.keys is None:
            return self.kind(items)
        return dict(zip((key.build(parts) for key in self.keys), items, strict=True))


@dataclasses.dataclass(frozen=True)
class Tree(Template):
    """A registered pytree."""

    treedef: Any
    leaves: tuple[Template, ...]

    def build(self, parts: Parts) -> Any:
        return jax.tree.unflatten(self.treedef, [leaf.build(parts) for leaf in self.leaves])


@dataclasses.dataclass(frozen=True)
class NNX(Template):
    """A copy of an NNX module: what a call does to it does not reach the caller's."""

    graphdef: Any
    state: Tree

    def build(self, parts: Parts) -> Any:
        return nnx.merge(self.graphdef, self.state.build(parts))


@dataclasses.dataclass(frozen=True)
class Partial(Template):
    kind: type
    function: Template
    args: Items
    keywords: Items

    def build(self, parts: Parts) -> Any:
        function, args = self.function.build(parts), self.args.build(parts)
        return self.kind(function, *args, **self.keywords.build(parts))


@dataclasses.dataclass(frozen=True)
class Method(Template):
    function: Template
    owner: Template

    def build(self, parts: Parts) -> Any:
        return types.MethodType(self.function.build(parts), self.owner.build(parts))


@dataclasses.dataclass(frozen=True)
class Object(Template):
    """An object of a user's class, copied as `copy.copy` does."""

    number: int
    kind: Same
    attributes: Items

    def build(self, parts: Parts) -> Any:
        kind = self.kind.build(parts)
        new = parts.built[self.number] = object.__new__(kind)
        vars(new).update(self.attributes.build(parts))
        return new


@dataclasses.dataclass(frozen=True)
class Function(Template):
    """A function: its code, and what it holds.

    Attributes:
        number: by which `Again` refers to it.
        code: its code.
        name: its name.
        module: the name of its module, or that module's globals.
        names: the globals that it names, a dict; of an installed function none.
        defaults: the defaults of its arguments, a tuple.
        keywords: the defaults of its keyword-only arguments, a dict.
        attributes: its own attributes, a dict.
        cells: the contents of its closure; None for an empty cell.
    """

    number: int
    code: types.CodeType
    name: str
    module: Any
    names: Items
    defaults: Items
    keywords: Items
    attributes: Items
    cells: tuple[Template | None, ...]

    def build(self, parts: Parts) -> Any:
        namespace: dict[str, Any] = {"__builtins__": builtins, "__name__": self.module}
        if isinstance(self.module, Same):
            namespace = self.module.build(parts)
        cells = tuple(types.CellType() for _ in self.cells)
        new = types.FunctionType(self.code, namespace, self.name, None, cells)
        parts.built[self.number] = new
        for cell, content in zip(cells, self.cells, strict=True):
            if content is not None:
                cell.cell_contents = content.build(parts)
        namespace.update(self.names.build(parts))
        new.__defaults__ = self.defaults.build(parts) or None
        new.__kwdefaults__ = self.keywords.build(parts) or None
        vars(new).update(self.attributes.build(parts))
        return new
