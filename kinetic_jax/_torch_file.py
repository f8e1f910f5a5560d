"""Arrays in files of `torch.save`, without PyTorch and without running code of the file.

A pickle names the functions that build it, and may name any. Here the names of tensors and of
their storages stand for functions of this module, and all others are refused.
"""

import collections
import math
import pickle
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


def read_torch_file(file: Path) -> Any:
    """What `torch.save` wrote to a file, with read-only NumPy arrays for its tensors.

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
            return _read(archive)
    except Exception as error:  # readers raise various errors for damaged files
        raise ValueError(f"{with_size(file)} is unreadable: {error}") from error


def _read(archive: zipfile.ZipFile) -> Any:
    members = {member.filename: member for member in archive.infolist()}
    for name, member in members.items():  # so that no small file becomes a large array
        is_stored = member.compress_type == zipfile.ZIP_STORED
        require(is_stored, name, "compressed bytes", "be stored uncompressed")
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    require(len(pickles) == 1, "the file", f"{len(pickles)} of them", "hold one data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in members:
        order = archive.read(f"{folder}byteorder")
        require(order == b"little", "its numbers", order, "be little endian")
    with archive.open(pickles[0]) as stream:
        return _Reader(stream, lambda key: archive.read(f"{folder}data/{key}")).load()


class _Named:
    """A function that a pickle calls by name; a pickle can change nothing else about it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class _Reader(pickle.Unpickler):
    """Unpickles tensors, numbers, text and containers; `read` gives the bytes of a storage."""

    def __init__(self, stream: Any, read: Callable[[str], bytes]):
        super().__init__(stream)
        self._read = read
        self._storages: dict[str, np.ndarray] = {}

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

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The storage of a tensor, as a vector."""
        is_storage = isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"
        is_storage = is_storage and pid[1] in _DTYPES and isinstance(pid[2], str)
        require(is_storage, "a storage", short(pid), "have a dtype and a name")
        _, kind, key, _, size = pid
        if key not in self._storages:
            self._storages[key] = np.frombuffer(self._read(key), _DTYPES[kind])
        storage = self._storages[key]
        require(storage.size == size, f"storage {key}", storage.size, f"hold {size} numbers")
        require(storage.dtype == _DTYPES[kind], f"storage {key}", kind, "have one dtype")
        return storage


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """A view of a storage, after a check that it lies within."""
    numbers = (offset, *shape, *strides)
    are_whole = all(isinstance(n, int) and n >= 0 for n in numbers) and len(shape) == len(strides)
    require(are_whole, "a tensor", short(numbers), "have whole offset, shape and strides")
    require(isinstance(storage, np.ndarray), "a tensor", short(storage), "have a storage")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    fits = math.prod(shape) == 0 or last < storage.size
    require(fits, "a tensor", f"{storage.size} numbers for shape {shape}", "lie in its storage")
    itemsize = storage.dtype.itemsize
    return np.lib.stride_tricks.as_strided(
        storage[offset:], shape, [stride * itemsize for stride in strides], writeable=False
    )


def _parameter(data: Any, *_: Any) -> Any:
    return data


_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
}
