"""Arrays in files: NumPy's formats, idx (MNIST's) and folders of pictures."""

import contextlib
import gzip
import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kinetic_jax._checks import require
from kinetic_jax._files import PathLike, local_path, with_size
from kinetic_jax._pictures import picture_files, read_pictures

_GZIP_RATIO = 1032  # no gzip packs more bytes into one
# Dtypes by the third byte of an idx file, big endian.
_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def load_array(path: PathLike) -> np.ndarray:
    """The array of rows in a file or folder; `.npy` and raw idx files are mapped, not read.

    Args:
        path: `.npy`; `.npz` with one array, or `FILE.npz:NAME`; an idx file, gzipped or raw
            (any other ending); or a folder of PNG and JPEG pictures of one shape, in the natural
            order of their names (2 before 10), without hidden files.

    Raises:
        ValueError: naming the file and its size, if it is unreadable or truncated, or has another
            format.
        FileNotFoundError: if there is no such file.
    """
    text, name = str(local_path("path", path)), None
    if ".npz:" in text:
        text, name = text.rsplit(":", 1)
    file = Path(text)
    if not file.exists():
        raise FileNotFoundError(f"there is no file or folder {file}")
    if file.is_dir():
        return read_pictures(picture_files(file))
    try:
        if file.suffix == ".npy":
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        else:
            array = _from_npz(file, name) if file.suffix == ".npz" else _from_idx(file)
        is_real = array.dtype.kind in "biuf"
        require(is_real, "its array", f"dtype {array.dtype}", "hold real numbers")
        return array
    except Exception as error:  # readers raise various errors for damaged files
        # NumPy takes unknown formats for pickles, and advises to load them unsafely.
        reason = "it is not a NumPy file of numbers" if "pickle" in str(error) else error
        raise ValueError(f"{with_size(file)} is unreadable: {reason}") from error


def _from_npz(file: Path, name: str | None) -> np.ndarray:
    with np.load(file, allow_pickle=False) as arrays:
        names = arrays.files
        if name is None:
            expected = f"hold one array (or give {file}:NAME)"
            require(len(names) == 1, "the file", f"{names}", expected)
            name = names[0]
        require(name in names, "the name", name, f"be one of {names}")
        array = arrays[name]
        require(isinstance(array, np.ndarray), name, type(array).__name__, "be an array")
        return array


def _from_idx(file: Path) -> np.ndarray:
    with file.open("rb") as raw:
        is_gzipped = raw.read(2) == b"\x1f\x8b"
    with gzip.open(file) if is_gzipped else file.open("rb") as stream:
        head = stream.read(4)
        is_idx = len(head) == 4 and head[:2] == b"\0\0" and head[2] in _IDX_DTYPES and head[3] >= 1
        require(is_idx, "its first four bytes", head.hex(" "), "be those of an idx file")
        axes = stream.read(4 * head[3])
        require(len(axes) == 4 * head[3], "its header", f"{4 + len(axes)} bytes", "be whole")
        shape = tuple(int(side) for side in np.frombuffer(axes, ">u4"))
        dtype, start = np.dtype(_IDX_DTYPES[head[2]]), 4 + len(axes)
        num_bytes = math.prod(shape) * dtype.itemsize
        expected = f"take {num_bytes:,} bytes"
        if not is_gzipped:
            size = file.stat().st_size - start
            require(size == num_bytes, "its numbers", f"{size:,} bytes", expected)
            return np.memmap(file, dtype, "r", start, shape)
        most = _GZIP_RATIO * file.stat().st_size
        require(num_bytes <= most, "its numbers", f"at most {most:,}", expected)
        content = stream.read(num_bytes + 1)  # a byte more shows a longer file, however long
    got = f"{len(content):,} bytes" if len(content) <= num_bytes else "more"
    require(len(content) == num_bytes, "its numbers", got, expected)
    return np.frombuffer(content, dtype).reshape(shape)


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """The arrays as an uncompressed .npz file, whose bytes do not depend on the time."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


class Header(NamedTuple):
    """The shape and dtype of an array in a file, before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype


class Packed:
    """An open file of `pack`, whose arrays are read on access.

    Attributes:
        headers: shapes and dtypes of the arrays, by name.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int):
        self._archive = archive
        self.headers: dict[str, Header] = {}
        total = 0
        for member in archive.infolist():
            is_stored = member.compress_type == zipfile.ZIP_STORED
            require(is_stored, member.filename, "compressed numbers", "be stored uncompressed")
            total += member.file_size
            got = f"{total:,} bytes with those before it"
            require(total <= size, member.filename, got, f"fit into a file of {size:,} bytes")
            name = member.filename.removesuffix(".npy")
            is_new = name != member.filename and name not in self.headers
            require(is_new, member.filename, "another member", "be one array, NAME.npy")
            self.headers[name] = self._header(member)

    def __getitem__(self, name: str) -> np.ndarray:
        with self._archive.open(f"{name}.npy") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)

    def text(self, name: str) -> str:
        """The single string stored under a name."""
        header = self.headers.get(name)
        is_text = header is not None and header.shape == () and header.dtype.kind == "U"
        require(is_text, name, "nothing" if header is None else f"{header}", "be a string")
        return str(self[name])

    def _header(self, member: zipfile.ZipInfo) -> Header:
        name = member.filename
        with self._archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            require(version in _HEADERS, name, f"version {version}", "be of NumPy's 1, 2")
            shape, _, dtype = _HEADERS[version](stream)
            num_bytes = stream.tell() + math.prod(shape) * dtype.itemsize
        is_plain = not dtype.hasobject and dtype.itemsize > 0
        require(is_plain, name, f"dtype {dtype}", "hold numbers or text")
        got = f"{member.file_size:,} bytes"
        require(num_bytes == member.file_size, name, got, f"be of {num_bytes:,} bytes")
        return Header(shape, dtype)


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Packed]:
    """Opens a file of `pack`; the sizes of its arrays are checked before any is read."""
    with zipfile.ZipFile(path) as archive:
        yield Packed(archive, path.stat().st_size)
