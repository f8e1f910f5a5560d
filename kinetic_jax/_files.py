"""Paths of this machine, and atomic writes to them."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from kinetic_jax._checks import require, short

PathLike = str | os.PathLike[str]
# A URL, also as `Path` writes one: gs:/bucket. One letter alone is a drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+-]+:/")
PART = ".part"


def local_path(name: str, value: object) -> Path:
    """The path in the argument `name`, which must not be a URL, with `~` expanded."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    is_path = isinstance(text, str) and text.strip() != "" and "\0" not in text
    require(is_path, name, short(value), "be a path on this machine")
    expected = "be a path on this machine, not a URL"
    require(_URL.match(str(text)) is None, name, repr(str(value)), expected)
    try:
        return Path(str(text)).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"{name} must be a path on this machine, got {value!r}: {error}"
        ) from error


def with_size(path: Path) -> str:
    """A file's name and size, for errors: the size shows that a file is truncated."""
    try:
        return f"{path} ({path.stat().st_size:,} bytes)"
    except OSError:
        return str(path)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file atomically: a kill leaves the old one or the new.

    The content is synced before it gets its name, so that a power failure leaves no empty file.

    Raises:
        OSError: naming the file, if it cannot be written (on a full disk, say).
    """
    partial = path.with_name(f".{path.name}{PART}")
    try:
        with naming(path):
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
    except BaseException:  # Ctrl-C as well
        partial.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # where the system cannot sync folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the file's name to system errors without one, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
