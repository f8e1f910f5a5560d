"""Arrays from files (NumPy's formats, idx (MNIST's), folders of PNGs), and to them."""

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np

from kinetic_jax._checks import require
from kinetic_jax._files import PathLike, local_path
from kinetic_jax._progress import progress_bar

_NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive knows
# The third byte of an idx file says what its numbers are, big endian.
_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_array(path: PathLike) -> np.ndarray:
    """The array of rows in a file or folder; `.npy` and raw idx files are mapped, not read.

    Args:
        path: `.npy`; `.npz` with one array, or `FILE.npz:NAME`; an idx file, gzipped or raw
            (any other ending); or a folder of PNG images of one shape, in the order of their
            names.

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
        return _images(file)
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
        why = "it is no NumPy file" if "pickle" in str(error) else error
        raise ValueError(f"{_named(file)} is unreadable: {why}") from error


def _from_npz(file: Path, name: str | None) -> np.ndarray:
    with np.load(file, allow_pickle=False) as arrays:
        names = arrays.files
        if name is None:
            require(
                len(names) == 1, "the file", f"{names}", f"hold one array (or give {file}:NAME)"
            )
            name = names[0]
        require(name in names, "the name", name, f"be one of {names}")
        return arrays[name]


def _from_idx(file: Path) -> np.ndarray:
    with file.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
    opened = gzip.open if gzipped else open
    with opened(file, "rb") as stream:
        head = stream.read(4)
        good = len(head) == 4 and head[:2] == b"\0\0" and head[2] in _IDX_DTYPES and head[3] >= 1
        require(good, "its first four bytes", head.hex(" "), "be those of an idx file")
        axes = stream.read(4 * head[3])
        require(len(axes) == 4 * head[3], "its header", f"{4 + len(axes)} bytes", "be whole")
        shape = tuple(int(side) for side in np.frombuffer(axes, ">u4"))
        dtype, start = np.dtype(_IDX_DTYPES[head[2]]), 4 + len(axes)
        wanted = int(np.prod(shape)) * dtype.itemsize
        if not gzipped:
            found = file.stat().st_size - start
            require(found == wanted, "its numbers", f"{found:,} bytes", f"take {wanted:,} bytes")
            return np.memmap(file, dtype, "r", start, shape)
        body = stream.read()
    require(len(body) == wanted, "its numbers", f"{len(body):,} bytes", f"take {wanted:,} bytes")
    return np.frombuffer(body, dtype).reshape(shape)


def _images(folder: Path) -> np.ndarray:
    from PIL import Image  # of the extra `demo`

    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".png")
    require(bool(files), "folder", folder, "hold PNG images (*.png)")
    images: list[np.ndarray] = []
    with progress_bar(f"reading {folder.name}", len(files)) as update:
        for file in files:
            try:
                with Image.open(file) as opened:
                    # Of a palette the colours, not their numbers; of bits 0 and 255.
                    mode = {"P": "RGB", "1": "L"}.get(opened.mode, opened.mode)
                    image = np.asarray(opened.convert(mode))
            except Exception as error:
                raise ValueError(f"{_named(file)} is unreadable: {error}") from error
            wanted = images[0].shape if images else image.shape
            words = f"have the shape of {files[0].name}, {wanted}"
            require(image.shape == wanted, str(file), f"shape {image.shape}", words)
            kind = images[0].dtype if images else image.dtype
            words = f"have the depth of {files[0].name}, {kind}"
            require(image.dtype == kind, str(file), image.dtype, words)
            images.append(image)
            update(len(images), "")
    return np.stack(images)


def _named(file: Path) -> str:
    return f"{file} ({file.stat().st_size:,} bytes)"


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """An .npz file of the arrays, the same bytes whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _NO_TIME)
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()
