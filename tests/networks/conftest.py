"""Files as `torch.save` writes them, without PyTorch."""

import io
import pickle
import zipfile
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest

STORAGES = {
    "<f4": "FloatStorage", "<f8": "DoubleStorage", "<f2": "HalfStorage", "<i8": "LongStorage",
    "<i4": "IntStorage", "<i2": "ShortStorage", "|i1": "CharStorage", "|u1": "ByteStorage",
    "|b1": "BoolStorage",
}  # fmt: skip


class Name(NamedTuple):
    """A name that the pickle gives for something of PyTorch."""

    module: str
    name: str

    def __call__(self):
        raise AssertionError("only named")


class Storage(NamedTuple):
    """Numbers in a member of their own; `size` and `kind` may be false."""

    numbers: np.ndarray
    size: int
    kind: str


class Tensor(NamedTuple):
    """A view of a storage; strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Pid(NamedTuple):
    """Anything in the place of a storage."""

    value: object


def storage_of(numbers):
    return Storage(numbers, numbers.size, STORAGES[numbers.dtype.str])


class Writer(pickle._Pickler):
    def __init__(self, stream):
        super().__init__(stream, protocol=2)
        self.members = []

    def persistent_id(self, value):
        if isinstance(value, Pid):
            return value.value
        if not isinstance(value, Storage):
            return None
        self.members.append(value.numbers.tobytes())
        key = str(len(self.members) - 1)
        return "storage", Name("torch", value.kind), key, "cpu", value.size

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Name):
            self.write(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Tensor):
            rebuild = Name("torch._utils", "_rebuild_tensor_v2")
            self.save_reduce(rebuild, (*value, False, OrderedDict()))
        elif isinstance(value, np.ndarray):
            strides = tuple(stride // value.itemsize for stride in value.strides)
            self.save(Tensor(storage_of(value.ravel()), 0, value.shape, strides))
        else:
            super().save(value, save_persistent_id)


@pytest.fixture
def torch_file(tmp_path):
    """A function that writes a tree to a new file, or ready bytes of a pickle, and returns it."""

    def write(tree, compression=zipfile.ZIP_STORED, byteorder=b"little"):
        file, stream = tmp_path / "checkpoint.pt", io.BytesIO()
        members = []
        if not isinstance(tree, bytes):
            writer = Writer(stream)
            writer.dump(tree)
            tree, members = stream.getvalue(), writer.members
        with zipfile.ZipFile(file, "w", compression) as archive:
            archive.writestr("checkpoint/data.pkl", tree)
            archive.writestr("checkpoint/byteorder", byteorder)
            for number, content in enumerate(members):
                archive.writestr(f"checkpoint/data/{number}", content)
        return file

    write.Storage, write.Tensor, write.storage_of = Storage, Tensor, storage_of
    write.Name, write.Pid = Name, Pid
    return write
