"""Files that are whole or not there."""

import contextlib
import os
from pathlib import Path

PART = ".part"


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place and moves it there: a kill leaves the old one or the new.

    It is on the disk before it is in its place, so that a machine that stops leaves no empty one.
    """
    beside = path.with_name(f".{path.name}{PART}")
    try:
        with beside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except BaseException:  # Ctrl-C as well
        beside.unlink(missing_ok=True)
        raise
    _keep_name(path.parent)


def _keep_name(folder: Path) -> None:
    """Puts the names in `folder` on the disk, where the system can do that to folders."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
