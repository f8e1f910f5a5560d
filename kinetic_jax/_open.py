"""Arrays that plain functions hold become arguments of the compiled program.

A function is read into a template, which is static and compared by value, and the arrays that it
holds, which are traced. The program builds a copy of the function around the traced arrays.
"""

import dis
import functools
import hashlib
import itertools
import os
import sys
import sysconfig
import types
from abc import ABC
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeGuard, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from kinetic_jax._checks import is_concrete
from kinetic_jax._pytree import PlainFunction
from kinetic_jax._template import Held, Node, Template, reference

T = TypeVar("T")

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(...), range, np.generic)
_JITTED = type(jax.jit(lambda x: x))
_FUNCTIONS = (PlainFunction, types.FunctionType, types.MethodType, functools.partial, _JITTED)
_FOLDERS = (*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")),)
_INSTALLED = (*(os.path.join(folder, "") for folder in (*_FOLDERS, os.path.dirname(__file__))),)
_ORIGINAL = ("object", "jit", "list", "dict")  # kinds that are not copied without arrays
_SMALL = 1024  # elements of a NumPy array that is a constant, compared by its numbers
_LONG = 200  # items of a container that are read before it is taken to hold no arrays

# Arrays that become constants. A function that needs the numbers of others is tried with more.
SMALL_NUMPY, NUMPY_AND_INTEGERS, ALL = range(3)
# Errors of JAX, NumPy and Python where a traced array stands for a number, an index or a shape.
_NEEDS_NUMBERS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    IndexError,
    TypeError,
)
_CONSTANTS: dict[Any, int] = {}  # by structure of arguments: the constants their functions need
_NOTES: dict[int, Any] = {}  # lists and dicts that functions change while they are traced, by id


class OpenFunction(eqx.Module):
    """A function that takes the arrays it holds from its leaves.

    Attributes:
        arrays: the arrays.
        template: the function around them; static.
    """

    arrays: tuple[Any, ...]
    template: Template = eqx.field(static=True)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Calls the function."""
        originals = [get() for get in self.template.originals.values()]
        before = [(value, _item_ids(value)) for value in originals if type(value) in (list, dict)]
        result = self.template.build(self.arrays)(*args, **named)
        for value, items in before:
            if _item_ids(value) != items:
                _remember(_NOTES, id(value), value)
        return result


def call_opened(function: Callable[..., T], *args: PyTree[Any]) -> T:
    """`function(*args)`, a compiled one, with the plain functions in `args` opened.

    Where the numbers of an array are needed outside of JAX, NumPy's and integer arrays become
    constants of the program, and, if that is not enough, all arrays of the functions.
    """
    traced = opened(args)
    structure: object = jax.tree.structure(traced)
    constants = known = _CONSTANTS.get(structure, SMALL_NUMPY)
    while True:
        if constants != SMALL_NUMPY:
            traced = opened(args, constants)
        try:
            result = function(*traced)
        except _NEEDS_NUMBERS:
            if constants == ALL or jax.tree.structure(opened(args, ALL)) == structure:
                raise
            constants += 1
            continue
        if constants != known:
            _remember(_CONSTANTS, structure, constants)
        return result


def opened(tree: PyTree[Any], constants: int = SMALL_NUMPY, *, streams: bool = True) -> PyTree[Any]:
    """`tree` with every plain function in it as an `OpenFunction`.

    Args:
        tree: the pytree.
        constants: the arrays that stay in the templates.
        streams: read the random streams of NNX modules, without which none can be called.
    """

    def open_leaf(leaf: object) -> object:
        if not _is_function(leaf):
            return leaf
        template, arrays = _read(leaf, constants, streams)
        is_bare = template.nodes[0][0] == "held" and isinstance(leaf, types.FunctionType)
        return leaf if is_bare else OpenFunction(tuple(arrays), template)

    return jax.tree.map(open_leaf, tree, is_leaf=_is_function)


def _read(function: object, constants: int, streams: bool) -> tuple[Template, list[Any]]:
    """The template of a function, and the arrays that it holds."""
    values: list[object] = []
    numbers: dict[int, int] = {}
    nodes: list[Node] = []
    arrays: list[Any] = []

    def number_of(value: object) -> int:
        if isinstance(value, PlainFunction):
            value = _with_open_call(value.same.fn)
        number = numbers.setdefault(id(value), len(values))
        if number == len(values):
            values.append(value)
        return number

    number_of(function)
    for value in values:  # which grows meanwhile
        if _is_argument(value, constants):
            nodes.append(("array", len(arrays), ()))
            arrays.append(value)
        elif isinstance(value, nnx.RngState) and not streams:
            nodes.append(("held", Held(nnx.RngState), ()))
        else:
            kind, static, children = _parts(value)
            nodes.append((kind, static, tuple(map(number_of, children))))
    with_arrays = _reaching_arrays(nodes)
    originals = {
        number: reference(values[number])
        for number, (kind, _, _) in enumerate(nodes)
        if kind in _ORIGINAL and number not in with_arrays
    }
    return Template(nodes, originals), arrays


def _reaching_arrays(nodes: Sequence[Node]) -> set[int]:
    holders: list[list[int]] = [[] for _ in nodes]
    for number, (_, _, children) in enumerate(nodes):
        for child in children:
            holders[child].append(number)
    reaching: set[int] = set()
    pending = [number for number, (kind, _, _) in enumerate(nodes) if kind == "array"]
    while pending:
        number = pending.pop()
        if number not in reaching:
            reaching.add(number)
            pending += holders[number]
    return reaching


def _parts(value: object) -> tuple[str, Any, Iterable[Any]]:
    """The kind of a value that is not an argument, its static data, and the values in it."""
    kind = type(value)
    if isinstance(value, _ATOMS):
        return _held(value)
    if isinstance(value, types.FunctionType):
        return _function_parts(value)
    if isinstance(value, types.MethodType):
        return "partial", (kind, ()), (value.__func__, value.__self__)
    if isinstance(value, functools.partial):
        keywords = value.keywords
        held = (value.func, *value.args, *keywords.values())
        return "partial", (kind, tuple(keywords)), held
    if isinstance(value, _JITTED):
        return "jit", None, (vars(value)["__wrapped__"],)
    if isinstance(value, list | tuple | dict) and kind in (list, tuple, dict):
        is_empty_list = kind is list and not value  # the function may take notes in it
        if is_empty_list or _NOTES.get(id(value)) is value or _is_long_and_plain(value):
            return ("held" if kind is tuple else kind.__name__), Held(value), ()
        if isinstance(value, dict):
            return "dict", tuple(_held(key)[1] for key in value), tuple(value.values())
        return kind.__name__, None, tuple(value)
    if not jax.tree_util.all_leaves([value]):

        def apart(node: object) -> bool:
            return node is not value and isinstance(node, (*_FUNCTIONS, nnx.RngState))

        leaves, treedef = jax.tree.flatten(value, is_leaf=apart)
        return ("tree", treedef, leaves) if _has_hash(treedef) else _held(value)
    if _is_own(kind):
        attributes = vars(value)
        return "object", (Held(kind), tuple(attributes)), tuple(attributes.values())
    return _held(value)


def _function_parts(function: types.FunctionType) -> tuple[str, Any, Iterable[Any]]:
    code, module = function.__code__, function.__globals__
    is_installed = _is_installed(code.co_filename)
    if is_installed and not function.__closure__:
        return "held", Held(function), ()
    names = () if is_installed else _global_names(code)
    parts: dict[tuple[str, Any], Any] = {}
    for index, cell in enumerate(function.__closure__ or ()):
        try:
            parts["cells", index] = cell.cell_contents
        except ValueError:  # empty so far
            continue
    parts |= {("globals", name): module[name] for name in names if name in module}
    parts |= {("defaults", n): default for n, default in enumerate(function.__defaults__ or ())}
    parts |= {("keywords", name): held for name, held in (function.__kwdefaults__ or {}).items()}
    attributes = {k: held for k, held in vars(function).items() if k != "__wrapped__"}
    parts |= {("attributes", name): held for name, held in attributes.items()}
    home = Held(module) if is_installed else module.get("__name__")
    return "function", (code, home, tuple(parts)), parts.values()


def _held(value: object) -> tuple[str, Any, tuple[()]]:
    """A value that is not opened: compared by value if it has one, else by identity."""
    kind = type(value)
    key: tuple[Any, ...] | None = None
    if isinstance(value, float | complex | np.generic):
        key = (kind, np.asarray(value).tobytes())  # -0.0 is not 0.0
    elif _has_numbers(value):
        digest = hashlib.sha256(np.asarray(value).tobytes()).digest()
        key = (kind, value.shape, value.dtype, digest)
    elif (kind.__eq__ is not object.__eq__ or value is None) and _has_hash(value):
        key = (kind, value)
    return "held", Held(value, key), ()


def _has_numbers(value: object) -> TypeGuard[jax.Array | np.ndarray]:
    """True for arrays compared by their numbers; large JAX arrays never change."""
    if isinstance(value, jax.Array):
        is_key = jnp.issubdtype(value.dtype, jax.dtypes.extended)
        return value.size <= _SMALL and value.is_fully_addressable and not is_key
    return type(value) is np.ndarray and not value.dtype.hasobject


def _is_argument(value: object, constants: int) -> bool:
    if isinstance(value, jax.Array):
        is_inexact = not jnp.issubdtype(value.dtype, np.integer) and value.dtype != bool
        is_kept = constants == SMALL_NUMPY or (constants == NUMPY_AND_INTEGERS and is_inexact)
        return is_kept or not is_concrete(value)
    if type(value) is not np.ndarray or value.size <= _SMALL or constants != SMALL_NUMPY:
        return False
    dtype = value.dtype
    return dtype.isnative and (dtype.kind == "b" or jnp.issubdtype(dtype, np.number))


def _is_long_and_plain(values: list[Any] | tuple[Any, ...] | dict[Any, Any]) -> bool:
    if len(values) <= _LONG:
        return False
    items = values.values() if isinstance(values, dict) else values
    try:
        leaves = jax.tree.leaves(list(itertools.islice(items, _LONG)))
    except ValueError:  # dict keys that JAX cannot sort
        return False
    return all(isinstance(leaf, _ATOMS) for leaf in leaves)


def _is_function(node: object) -> bool:
    return isinstance(node, _FUNCTIONS)


def _with_open_call(value: object) -> object:
    """A callable object of a user's class as a method, so that its `__call__` is opened too."""
    call = getattr(type(value), "__call__", None)  # noqa: B004
    if isinstance(call, types.FunctionType) and not _is_installed(call.__code__.co_filename):
        return types.MethodType(call, value)
    return value


def _has_hash(value: object) -> bool:
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
    """True for files of installed packages, this one, or the standard library."""
    return path.startswith((*_INSTALLED, "<frozen"))


def _is_own(kind: type) -> bool:
    """True for plain classes of the user, whose objects keep all they hold in their attributes."""
    bases = [base for base in kind.__mro__ if base not in (object, ABC, Generic, Protocol)]
    files = [getattr(sys.modules.get(base.__module__), "__file__", None) for base in bases]
    return (
        kind.__dictoffset__ != 0
        and kind.__new__ is object.__new__
        and not hasattr(kind, "__del__")
        and not any(vars(base).get("__slots__") for base in bases)
        and not any(_is_installed(file) for file in files if file)
    )


def _item_ids(values: list[Any] | dict[Any, Any]) -> list[int]:
    return list(map(id, values.values() if isinstance(values, dict) else values))


def _remember(memory: dict[Any, Any], key: Hashable, value: object) -> None:
    if len(memory) >= 1024:
        memory.clear()
    memory[key] = value
