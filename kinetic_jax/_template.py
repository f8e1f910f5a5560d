"""Templates: functions without their arrays, from which a program builds its own copies.

A template is a graph, held as a table: each value is a node, and nodes refer to each other by
number, so that shared values, cycles and deep nesting need no special case. Objects are held by
weak references; lists, dicts and other objects that have none stay alive with the program.
"""

import builtins
import types
import weakref
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import jax

T = TypeVar("T")

Node = tuple[str, Hashable, tuple[int, ...]]
"""The kind of a value, its static data, and the numbers of the values it holds."""


class Held:
    """An opaque value, compared by `key`, or by identity if there is none."""

    def __init__(self, value: object, key: Hashable = None):
        self.key = id(value) if key is None else key
        self.get = reference(value)
        self._by_identity = key is None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Held) or self.key != other.key:
            return False
        # The id of an object that is gone, whose reference gives None, may be another one's.
        return not self._by_identity or self is other or self.get() is other.get() is not None

    def __hash__(self) -> int:
        return hash(self.key)


def reference(value: object) -> Callable[[], Any]:
    """A weak reference, or a strong one to an object that has no weak references."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


FunctionParts = tuple[types.CodeType, Held | str | None, tuple[tuple[str, Any], ...]]
"""A function's code, its module (by name, if it is the user's), and where each value goes."""


class Template:
    """A function without its arrays; hashable, compared by its nodes.

    Attributes:
        nodes: the function, and then every value that was reached from it.
        originals: mutable values without arrays, by number: used themselves, not copied.
    """

    def __init__(self, nodes: Sequence[Node], originals: dict[int, Callable[[], Any]]):
        self.nodes = tuple(nodes)
        self.originals = originals
        self._hash = hash(self.nodes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.nodes == other.nodes

    def __hash__(self) -> int:
        return self._hash

    def build(self, arrays: Sequence[Any]) -> Any:
        """A copy of the function around `arrays`."""
        built = {number: get() for number, get in self.originals.items()}
        empty = []

        def value_of(number: int) -> Any:
            if number not in built:
                kind, static, children = self.nodes[number]
                if kind in _EMPTY:  # what it holds may refer to it
                    built[number] = _EMPTY[kind](static)
                    empty.append(number)
                else:
                    items = arrays if kind == "array" else list(map(value_of, children))
                    built[number] = _COMPLETE[kind](static, items)
            return built[number]

        function = value_of(0)
        while empty:
            number = empty.pop()
            kind, static, children = self.nodes[number]
            _FILL[kind](built[number], static, list(map(value_of, children)))
        return function


def _partial(static: tuple[Callable[..., T], tuple[str, ...]], items: Sequence[Any]) -> T:
    kind, names = static
    args = items[: len(items) - len(names)]
    return kind(*args, **dict(zip(names, items[len(args) :], strict=True)))


def _empty_function(static: FunctionParts) -> types.FunctionType:
    code, module, _ = static
    own = {"__builtins__": builtins, "__name__": module}
    namespace = module.get() if isinstance(module, Held) else own
    cells = tuple(types.CellType() for _ in code.co_freevars)
    return types.FunctionType(code, namespace, None, None, cells)


def _fill_function(function: types.FunctionType, static: FunctionParts, items: list[Any]) -> None:
    parts: defaultdict[str, dict[Any, Any]] = defaultdict(dict)
    for (part, name), item in zip(static[2], items, strict=True):
        parts[part][name] = item
    cells = function.__closure__ or ()
    for index, item in parts["cells"].items():
        cells[index].cell_contents = item
    function.__globals__.update(parts["globals"])
    function.__defaults__ = tuple(parts["defaults"].values()) or None
    function.__kwdefaults__ = parts["keywords"] or None
    vars(function).update(parts["attributes"])


_COMPLETE: dict[str, Callable[[Any, Sequence[Any]], Any]] = {
    "array": lambda slot, arrays: arrays[slot],
    "held": lambda held, _: held.get(),
    "tuple": lambda _, items: tuple(items),
    "tree": jax.tree.unflatten,
    "partial": _partial,
    "jit": lambda _, items: items[0],  # inside a program an inner `jit` adds nothing
}
_EMPTY: dict[str, Callable[[Any], Any]] = {
    "list": lambda _: [],
    "dict": lambda _: {},
    "object": lambda static: object.__new__(static[0].get()),
    "function": _empty_function,
}
_FILL: dict[str, Callable[[Any, Any, list[Any]], None]] = {
    "list": lambda new, _, items: new.extend(items),
    "dict": lambda new, keys, items: new.update(
        (key.get(), item) for key, item in zip(keys, items, strict=True)
    ),
    "object": lambda new, static, items: vars(new).update(zip(static[1], items, strict=True)),
    "function": _fill_function,
}
