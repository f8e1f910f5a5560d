"""Paths of this machine, and atomic writes to them."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kinetic_jax._checks import require, short

PathLike = str | os.PathLike[str]
# A URL, also as `Path` writes one: gs:/bucket. One letter alone is a drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+-]+:/")
PART = ".part"


def local_path(name: str, value: Any) -> Path:
    """A path that a user gave, with `~` expanded.

    Args:
        name: the argument's name, for the error.
        value: the path, a string or a `pathlib.Path`.

    Raises:
        ValueError: naming the argument, if that is empty, a URL, or no path.

    Example:
        >>> local_path("out", "gs://bucket/job")
        Traceback (most recent call last):
        ValueError: out must be a path on this machine, not a URL, got 'gs://bucket/job'
    """
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
    """A file's name and size, for errors: a file cut short shows."""
    try:
        return f"{path} ({path.stat().st_size:,} bytes)"
    except OSError:
        return str(path)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place and moves it there: a kill leaves the old one or the new.

    It is on the disk before it is in its place, so that a machine that stops leaves no empty one.

    Raises:
        OSError: naming the file, if it cannot be written (the disk is full, say).
    """
    beside = path.with_name(f".{path.name}{PART}")
    try:
        with naming(path):
            with beside.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(path)
    except BaseException:  # Ctrl-C as well
        beside.unlink(missing_ok=True)
        raise
    _keep_name(path.parent)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the file's name into errors of the system that lack it, as those of a full disk do."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _keep_name(folder: Path) -> None:
    """Puts the names in `folder` on the disk, where the system can do that to folders."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
