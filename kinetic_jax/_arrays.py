"""Arrays from files (NumPy's formats, idx (MNIST's), folders of pictures), and to them."""

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

_NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive knows
_GZIP_RATIO = 1032  # no gzip packs more bytes into one
# The third byte of an idx file says what its numbers are, big endian.
_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_array(path: PathLike) -> np.ndarray:
    """The array of rows in a file or folder; `.npy` and raw idx files are mapped, not read.

    Args:
        path: `.npy`; `.npz` with one array, or `FILE.npz:NAME`; an idx file, gzipped or raw
            (any other ending); or a folder of PNG and JPEG pictures of one shape, in the natural
            order of their names (2 before 10), without hidden files.

    Raises:
        ValueError: naming the file and its size, if it cannot be read, is cut short, or is of no
            such format.
        FileNotFoundError: if there is no such file.
    """
    text = str(local_path("path", path))
    name = None
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
        number = array.dtype.kind in "biuf"
        require(number, "its array", f"dtype {array.dtype}", "hold real numbers")
        return array
    except Exception as error:  # readers of damaged files raise whatever they meet
        # NumPy takes what it does not know for a pickle, and advises to load it unsafely.
        why = "it is no NumPy file of numbers" if "pickle" in str(error) else error
        raise ValueError(f"{with_size(file)} is unreadable: {why}") from error


def _from_npz(file: Path, name: str | None) -> np.ndarray:
    with np.load(file, allow_pickle=False) as arrays:
        names = arrays.files
        if name is None:
            require(
                len(names) == 1, "the file", f"{names}", f"hold one array (or give {file}:NAME)"
            )
            name = names[0]
        require(name in names, "the name", name, f"be one of {names}")
        array = arrays[name]
        require(isinstance(array, np.ndarray), name, "other content", "be an array")
        return array


def _from_idx(file: Path) -> np.ndarray:
    with file.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
    opened = gzip.open if gzipped else open
    with opened(file, "rb") as stream:
        head = stream.read(4)
        is_idx = len(head) == 4 and head[:2] == b"\0\0" and head[2] in _IDX_DTYPES and head[3] >= 1
        require(is_idx, "its first four bytes", head.hex(" "), "be those of an idx file")
        axes = stream.read(4 * head[3])
        require(len(axes) == 4 * head[3], "its header", f"{4 + len(axes)} bytes", "be whole")
        shape = tuple(int(side) for side in np.frombuffer(axes, ">u4"))
        dtype, start = np.dtype(_IDX_DTYPES[head[2]]), 4 + len(axes)
        wanted = math.prod(shape) * dtype.itemsize
        if not gzipped:
            size = file.stat().st_size - start
            require(size == wanted, "its numbers", f"{size:,} bytes", f"take {wanted:,} bytes")
            return np.memmap(file, dtype, "r", start, shape)
        most = _GZIP_RATIO * file.stat().st_size
        require(wanted <= most, "its numbers", f"at most {most:,}", f"take {wanted:,} bytes")
        body = stream.read(wanted + 1)  # no more, however much is packed
    got = f"{len(body):,} bytes" if len(body) <= wanted else "more"
    require(len(body) == wanted, "its numbers", got, f"take {wanted:,} bytes")
    return np.frombuffer(body, dtype).reshape(shape)


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """An .npz file of the arrays, the same bytes whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _NO_TIME)
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


class Header(NamedTuple):
    """The shape and dtype of an array in a file, before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype


class Packed:
    """An open file of `pack`; an array is read when it is asked for.

    Attributes:
        headers: of the arrays, by name.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int):
        self._archive = archive
        self.headers: dict[str, Header] = {}
        held = 0
        for member in archive.infolist():
            stored = member.compress_type == zipfile.ZIP_STORED
            require(stored, member.filename, "compressed numbers", "be stored uncompressed")
            held += member.file_size
            got = f"{held:,} bytes with those before it"
            require(held <= size, member.filename, got, f"fit into a file of {size:,} bytes")
            name = member.filename.removesuffix(".npy")
            is_new = name != member.filename and name not in self.headers
            require(is_new, member.filename, "another member", "be one array, NAME.npy")
            self.headers[name] = self._header(member)

    def __getitem__(self, name: str) -> np.ndarray:
        with self._archive.open(f"{name}.npy") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)

    def text(self, name: str) -> str:
        """The one string under a name.

        Raises:
            ValueError: if something else is there.
        """
        header = self.headers.get(name)
        is_text = header is not None and header.shape == () and header.dtype.kind == "U"
        require(is_text, name, "nothing" if header is None else f"{header}", "be a string")
        return str(self[name])

    def _header(self, member: zipfile.ZipInfo) -> Header:
        with self._archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            require(
                version in _HEADERS, member.filename, f"version {version}", "be of NumPy's 1, 2"
            )
            shape, _, dtype = _HEADERS[version](stream)
            wanted = stream.tell() + math.prod(shape) * dtype.itemsize
        plain = not dtype.hasobject and dtype.itemsize > 0
        require(plain, member.filename, f"dtype {dtype}", "hold numbers or text")
        got = f"{member.file_size:,} bytes"
        require(wanted == member.file_size, member.filename, got, f"be of {wanted:,} bytes")
        return Header(shape, dtype)


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Packed]:
    """Opens a file of `pack`, of which nothing is read before its sizes are known.

    Raises:
        ValueError: if an array is compressed (`pack` compresses none), or larger than the file.
    """
    with zipfile.ZipFile(path) as archive:
        yield Packed(archive, path.stat().st_size)
