"""Arrays in files of `torch.save`, without PyTorch and without running code of the file.

A pickle names the functions that build it, and may name any. Here the names of tensors and of
their storages stand for functions of this module, and all others are refused. What a file makes
the reader allocate is bounded by the size of the file.
"""

import collections
import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from kinetic_jax._checks import require, short
from kinetic_jax._files import with_size

_DTYPES: dict[str, np.dtype] = {
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "BoolStorage": np.dtype("?"),
    "ByteStorage": np.dtype("u1"),
    "CharStorage": np.dtype("i1"),
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "IntStorage": np.dtype("<i4"),
    "LongStorage": np.dtype("<i8"),
    "ShortStorage": np.dtype("<i2"),
}
_MOST_PARTS = 1000  # of a tuple in however short a pickle
# Opcodes that leave what they take first, a tuple too if they add nothing to it.
_SAME = frozenset(("DUP", "BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"))
_MOST_AXES = 64  # of PyTorch and of NumPy


def read_torch_file(file: Path) -> Any:
    """The content that `torch.save` wrote to a file, with read-only NumPy arrays for its tensors.

    Raises:
        ValueError: naming the file and its size, if it is damaged or not of the format of
            PyTorch 1.6 and later, or holds anything but tensors, numbers, text and containers.
        FileNotFoundError: if there is no such file.
    """
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file}")
    try:
        is_zip = zipfile.is_zipfile(file)
        expected = "be the zip file that torch.save writes since PyTorch 1.6 (load it there once, "
        require(is_zip, "it", "another format", expected + "and save it again)")
        with zipfile.ZipFile(file) as archive:
            return _read(archive, file.stat().st_size)
    except Exception as error:  # readers raise various errors for damaged files
        raise ValueError(f"{with_size(file)} is unreadable: {error}") from error


def _read(archive: zipfile.ZipFile, size: int) -> Any:
    members = {member.filename: member for member in archive.infolist()}
    duplicates = len(archive.infolist()) - len(members)
    require(duplicates == 0, "the file", f"{duplicates} duplicates", "have a name for each member")
    for name, member in members.items():  # so that no small file becomes a large array
        is_stored = member.compress_type == zipfile.ZIP_STORED
        require(is_stored, name, "compressed bytes", "be stored uncompressed")
    total = sum(member.file_size for member in members.values())  # some may be the same bytes
    require(total <= size, "its members", f"{total:,} bytes", "fit in the file side by side")
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    require(len(pickles) == 1, "the file", f"{len(pickles)} of them", "hold one data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in members:
        order = archive.read(f"{folder}byteorder")
        require(order == b"little", "its numbers", order, "be little endian")
    content = archive.read(pickles[0])
    _require_small(content)
    return _Reader(content, lambda key: archive.read(f"{folder}data/{key}")).load()


def _require_small(content: bytes) -> None:
    """Refuses a pickle that asks for more memory or time than its length explains.

    The unpickler makes room for as many memos as the greatest index says, and for byte arrays
    before it reads them; `genops` refuses lengths beyond the end. A tuple of twice the same, many
    times over, would take its time as the key of a dictionary.
    """
    length = len(content)
    stack: list[int | None] = []  # the parts of what is there, counted by path; None for a mark
    memo: dict[int, int | None] = {}
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            index = int(len(memo) if argument is None else argument)
            expected = f"lie in [0, {length}], its bytes"
            require(0 <= index <= length, "a memo of data.pkl", index, expected)
            memo[index] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif name == "MARK":
            stack.append(None)
        else:
            parts = _popped(stack, [item.name for item in opcode.stack_before])
            size = 1 + sum(parts) if name.startswith("TUPLE") else 1
            size = parts[-1] if name in _SAME else size
            most = max(length, _MOST_PARTS)
            require(size <= most, "a tuple of data.pkl", size, f"have at most {most} parts")
            stack.extend(size for _ in opcode.stack_after)


def _popped(stack: list[int | None], names: list[str]) -> list[int]:
    """Takes what an opcode takes, by the names in `pickletools`, off the stack."""
    parts = []
    if "mark" in names:
        names = names[: names.index("mark")]
        while (top := stack.pop()) is not None:
            parts.append(top)
    return parts + [stack.pop() or 0 for _ in names]


class _Constant:
    """Data that a pickle cannot change: it may set the attributes of all that it makes."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise ValueError(f"it sets the state of a {type(self).__name__.strip('_')}")


class _Named(_Constant):
    """A function that a pickle calls by name."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class _Storage(_Constant):
    """The numbers of tensors, as a vector that owns all of its bytes."""

    __slots__ = ("vector",)

    def __init__(self, content: bytes, dtype: np.dtype):
        self.vector = np.frombuffer(content, dtype)


class _Dict(collections.OrderedDict[Any, Any]):
    """An ordered dictionary, of whose attributes a pickle sets none.

    PyTorch gives state dicts the versions of their modules, `_metadata`, which are not needed.
    """

    def __setstate__(self, state: object) -> None:
        is_known = isinstance(state, dict) and state.keys() <= {"_metadata"}
        require(is_known, "a dictionary", type(state).__name__, "have no state but _metadata")


class _Reader(pickle.Unpickler):
    """Unpickles tensors, numbers, text and containers; `read` gives the bytes of a storage."""

    def __init__(self, content: bytes, read: Callable[[str], bytes]):
        super().__init__(io.BytesIO(content))
        self._read = read
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The function that stands for a name; pickles get at others in no way."""
        if module == "torch" and name in _DTYPES:
            return name
        function = _FUNCTIONS.get((module, name))
        if function is None:
            raise ValueError(
                f"it names {module}.{name}, and only tensors, numbers, text, lists and "
                "dictionaries are read: save the state dict alone, torch.save(model.state_dict())"
            )
        return _Named(function)

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage of a tensor."""
        kinds = [_kind(part) for part in pid] if isinstance(pid, tuple) else [_kind(pid)]
        # The text of nested tuples may be far longer than the file: they are not printed.
        is_storage = kinds == ["str", "str", "str", "str", "int"] and pid[0] == "storage"
        is_storage = is_storage and pid[1] in _DTYPES
        require(is_storage, "a storage", ", ".join(kinds[:5]), "have a dtype, a name and a size")
        _, kind, key, _, size = pid
        if key not in self._storages:
            self._storages[key] = _Storage(self._read(key), _DTYPES[kind])
        storage = self._storages[key]
        vector = storage.vector
        require(vector.size == size, f"storage {key}", vector.size, f"hold {size} numbers")
        require(vector.dtype == _DTYPES[kind], f"storage {key}", kind, "have one dtype")
        return storage


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """A view of a storage, after a check that it lies within and is no larger."""
    require(isinstance(storage, _Storage), "a tensor", _kind(storage), "have a storage")
    numbers = (offset, *shape, *strides)
    are_integers = len(numbers) <= 2 * _MOST_AXES + 1 and all(type(n) is int for n in numbers)
    are_whole = are_integers and all(0 <= n < 2**63 for n in numbers) and len(shape) == len(strides)
    got = short(numbers) if are_integers else "others"  # others may have a long text, as above
    require(are_whole, "a tensor", got, "have whole offset, shape and strides")
    vector = storage.vector
    count = math.prod(shape)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    fits = count == 0 or (last < vector.size and count <= vector.size)
    require(fits, "a tensor", f"{vector.size} numbers for shape {shape}", "lie in its storage")
    itemsize = vector.dtype.itemsize
    return np.lib.stride_tricks.as_strided(
        vector[offset:], shape, [stride * itemsize for stride in strides], writeable=False
    )


def _kind(value: object) -> str:
    return type(value).__name__


def _parameter(data: Any, *_: Any) -> np.ndarray:
    require(isinstance(data, np.ndarray), "a parameter", _kind(data), "be a tensor")
    return data


_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _Dict,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
}
