"""Plain functions opened: the arrays they hold become arguments of the compiled program.

A function is read into a template, which is static and compared by value, and the arrays that it
holds, which are traced. Called inside a program, it is built around the traced arrays. Templates
hold objects by weak references only, so that no cache of programs keeps them alive.
"""

import dis
import functools
import sys
import sysconfig
import types
import weakref
from abc import ABC, ABCMeta
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from kinetic_jax._checks import is_concrete
from kinetic_jax._pytree import PlainFunction
from kinetic_jax._template import (
    NNX,
    Again,
    Array,
    Function,
    Items,
    Method,
    Object,
    Partial,
    Parts,
    Same,
    Template,
    Tree,
    Value,
    reference,
)

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(...), range)
_JITTED = type(jax.jit(lambda x: x))
_FUNCTIONS = (PlainFunction, types.FunctionType, types.MethodType, functools.partial, _JITTED)
_PATHS = ("stdlib", "platstdlib", "purelib", "platlib")
_INSTALLED = (*map(sysconfig.get_path, _PATHS), str(Path(__file__).parent), "<frozen")


class Reader:
    """Reads values into templates, and collects the arrays that they hold."""

    def __init__(self, *, constants: bool = False, streams: bool = True) -> None:
        self.arrays: list[Any] = []
        self._constants, self._streams = constants, streams
        self._slots: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._open: set[int] = set()
        self._count = 0  # arrays and references seen so far: more after a value that holds some

    def read(self, value: Any) -> Template:
        if _is_traced(value):
            self._count += 1
            if self._constants and is_concrete(value):
                return _constant(value)
            slot = self._slots.setdefault(id(value), len(self.arrays))
            if slot == len(self.arrays):
                self.arrays.append(value)
            return Array(slot)
        if id(value) in self._numbers:
            self._count += 1
            return Again(self._numbers[id(value)])
        if isinstance(value, _ATOMS) or id(value) in self._open:
            return _static(value)
        self._open.add(id(value))
        try:
            return self._opened(value)
        finally:
            self._open.discard(id(value))

    def call_of(self, value: Any) -> Template:
        """The template of what a call of `value` runs: a function, or its class's `__call__`."""
        call = getattr(type(value), "__call__", None)  # noqa: B004
        if isinstance(call, types.FunctionType) and not _is_installed(call.__code__.co_filename):
            return Method(self.read(call), self.read(value))
        return self.read(value)

    def holds_arrays(self) -> bool:
        return self._count > 0

    def _opened(self, value: Any) -> Template:
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return Method(self.read(value.__func__), self.read(value.__self__))
        if isinstance(value, PlainFunction):
            return self.call_of(value.same.fn)
        if isinstance(value, functools.partial):
            function, args = self.read(value.func), self._items(value.args)
            return Partial(type(value), function, args, self._items(value.keywords))
        if isinstance(value, _JITTED):
            # Inside a program an inner `jit` adds nothing to the function that it wraps.
            return self._unless_empty(value, lambda: self.read(vars(value)["__wrapped__"]))
        if type(value) in (list, dict):
            return self._unless_empty(value, lambda: self._items(value))
        if type(value) is tuple:
            return self._items(value)
        if isinstance(value, nnx.Pytree):
            graphdef, state = nnx.split(value)
            state = state if self._streams else nnx.filter_state(state, nnx.Not(nnx.RngState))
            return NNX(graphdef, self._tree(*jax.tree.flatten(nnx.as_pure(state))))
        if not jax.tree_util.all_leaves([value]):
            leaves, treedef = jax.tree.flatten(value, is_leaf=_is_function)
            return self._tree(leaves, treedef) if _has_hash(treedef) else _static(value)
        if _is_copied(type(value)):
            return self._unless_empty(value, lambda: self._object(value))
        return _static(value)

    def _unless_empty(self, value: Any, read: Callable[[], Template]) -> Template:
        """`read()` if `value` holds arrays, else `value` itself, which is not copied."""
        count, numbers = self._count, dict(self._numbers)
        template = read()
        if self._count > count:
            return template
        self._numbers = numbers
        # Items and attributes are settings, which may be changed; a list may be a log.
        settings = isinstance(template, Object) or type(value) is dict
        return Value(template, reference(value)) if settings else Same(value)

    def _tree(self, leaves: list[Any], treedef: Any) -> Tree:
        return Tree(treedef, tuple(map(self.read, leaves)))

    def _items(self, values: Any) -> Items:
        if isinstance(values, dict):
            keys = tuple(map(_static, values))
            return Items(dict, keys, tuple(map(self.read, values.values())))
        return Items(type(values), None, tuple(map(self.read, values)))

    def _number(self, value: Any) -> int:
        return self._numbers.setdefault(id(value), len(self._numbers))

    def _object(self, value: Any) -> Object:
        number = self._number(value)
        return Object(number, Same(type(value)), self._items(vars(value)))

    def _function(self, function: types.FunctionType) -> Template:
        code, module = function.__code__, function.__globals__
        installed = _is_installed(code.co_filename)
        if installed and not function.__closure__:
            return Same(function)
        names = () if installed else _global_names(code)
        attributes = {k: v for k, v in vars(function).items() if k != "__wrapped__"}
        return Function(
            self._number(function),
            code,
            function.__name__,
            Same(module) if installed else module.get("__name__"),
            self._items({name: module[name] for name in names if name in module}),
            self._items(function.__defaults__ or ()),
            self._items(function.__kwdefaults__ or {}),
            self._items(attributes),
            tuple(map(self._cell, function.__closure__ or ())),
        )

    def _cell(self, cell: types.CellType) -> Template | None:
        try:
            content = cell.cell_contents
        except ValueError:  # empty so far
            return None
        return self.read(content)


class OpenFunction(eqx.Module):
    """A function that takes the arrays it holds from its leaves.

    Attributes:
        arrays: the arrays.
        template: the function around them; static.
    """

    arrays: tuple[Any, ...]
    template: Any = eqx.field(static=True)

    def __call__(self, *args: Any) -> Any:
        """Calls the function."""
        return self._built()(*args)

    @property
    def tau_split(self) -> Any:
        """That of the object whose call this is."""
        return getattr(getattr(self._built(), "__self__", None), "tau_split", None)

    def _built(self) -> Any:
        return self.template.build(Parts(self.arrays))


# Raised where Python itself needs the numbers of an array: by NumPy's functions, `if`, `range`.
_NEEDS_NUMBERS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
_HELD_CONSTANT: set[Any] = set()  # structures of arguments whose functions do


def call_opened(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, a compiled one, with the plain functions in `args` opened.

    The arrays of a function that computes with them outside of JAX become constants of the
    program, and other arrays compile another one.
    """
    traced = opened(args)
    structure: Any = jax.tree.structure(traced)
    if structure not in _HELD_CONSTANT:
        try:
            return function(*traced)
        except _NEEDS_NUMBERS:
            constant = opened(args, constants=True)
            if jax.tree.structure(constant) == structure:
                raise
            _HELD_CONSTANT.add(structure)
    return function(*opened(args, constants=True))


def opened(tree: Any, *, constants: bool = False, streams: bool = True) -> Any:
    """`tree` with every plain function in it as an `OpenFunction`.

    Read: closures, defaults, attributes of the function, and globals that it names (of installed
    packages none); what these hold in lists, dicts, pytrees, NNX modules, partials, methods, inner
    `jit`s and objects of a user's class. Other objects are compared by identity.

    Args:
        tree: the pytree.
        constants: keep the arrays in the templates.
        streams: read the random streams of NNX modules, without which none can be called.
    """
    read = functools.partial(Reader, constants=constants, streams=streams)
    return _opened_by(read, tree)


def _opened_by(read: Callable[[], Reader], tree: Any) -> Any:
    return jax.tree.map(lambda node: _open_node(node, read), tree, is_leaf=_may_hold)


def _open_node(node: Any, read: Callable[[], Reader]) -> Any:
    if not _may_hold(node):
        return node
    reader = read()
    if not _is_function(node):
        # A module, which stays one unless its class closes over arrays.
        reader.read(type(node).__call__)
        if not reader.holds_arrays():
            children, treedef = jax.tree.flatten(node, is_leaf=lambda child: child is not node)
            return jax.tree.unflatten(treedef, _opened_by(read, children))
        reader = read()
    template = reader.call_of(node.same.fn if isinstance(node, PlainFunction) else node)
    if isinstance(template, Same) and isinstance(node, types.FunctionType):
        return node  # an installed one, which holds nothing
    return OpenFunction(tuple(reader.arrays), template)


def _is_function(node: Any) -> bool:
    return isinstance(node, _FUNCTIONS)


def _may_hold(node: Any) -> bool:
    """Whether a node of a pytree is a function, or a module whose call has a closure."""
    call = getattr(type(node), "__call__", None)  # noqa: B004
    return _is_function(node) or (
        isinstance(node, eqx.Module)
        and isinstance(call, types.FunctionType)
        and call.__closure__ is not None
        and not _is_installed(call.__code__.co_filename)
    )


def _is_traced(value: Any) -> bool:
    if type(value) is not np.ndarray:
        return isinstance(value, jax.Array)
    dtype = value.dtype
    return dtype.isnative and (dtype.kind == "b" or jnp.issubdtype(dtype, np.number))


def _constant(array: Any) -> Template:
    """An array compared by identity, or by value if it is NumPy's, whose numbers may change."""
    if isinstance(array, jax.Array):
        return Same(array)
    return Value((array.shape, array.dtype, array.tobytes()), reference(array))


def _static(value: Any) -> Template:
    """By value where `value` has one, by identity where not."""
    kind = type(value)
    if isinstance(value, float | complex | np.generic):
        return Value((kind, np.asarray(value).tobytes()), lambda: value)  # −0.0 is not 0.0
    by_identity = kind.__eq__ is object.__eq__ and value is not None
    if by_identity or not _has_hash(value):
        return Same(value)
    return Value((kind, value), lambda: value)


def _has_hash(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    """The globals that a function's code names, the functions inside it included."""
    names = {
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return tuple(sorted(names.union(*map(_global_names, inner))))


@functools.lru_cache(maxsize=4096)
def _is_installed(path: str) -> bool:
    """Whether a file belongs to an installed package, this one or the standard library."""
    return path.startswith(_INSTALLED)


# Keyed weakly: a class may close over arrays.
_COPIED: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def _is_copied(kind: type) -> bool:
    """Whether a class is a user's own and plain, so that its attributes are all of an object."""
    if kind not in _COPIED:
        bases = [base for base in kind.__mro__ if base not in (object, ABC, Generic, Protocol)]
        files = [getattr(sys.modules.get(base.__module__), "__file__", None) for base in bases]
        _COPIED[kind] = (
            type(kind) in (type, ABCMeta)
            and kind.__dictoffset__ != 0
            and kind.__new__ is object.__new__
            and kind.__reduce_ex__ is object.__reduce_ex__
            and not any(hasattr(kind, name) for name in ("__del__", "__copy__"))
            and not any(vars(base).get("__slots__") for base in bases)
            and not any(_is_installed(file) for file in files if file)
        )
    return _COPIED[kind]
