"""The folder of a job: its description, its log, and the lock that keeps a second run out."""

import datetime
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kinetic_jax._files import PART
from kinetic_jax.jobs._shards import checksum_says, write_checked

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

DESCRIPTION = "job.json"
Log = Callable[[str], None]


def as_text(about: dict[str, Any]) -> bytes:
    """A job's description as it is written down, the same bytes for the same settings."""
    return (json.dumps(about, indent=2, sort_keys=True) + "\n").encode()


def job_digest(about: dict[str, Any]) -> str:
    """What a shard says of the job it belongs to."""
    return hashlib.sha256(as_text(about)).hexdigest()


def read_description(folder: Path) -> dict[str, Any]:
    """The description of the job in a folder.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming it, if it is damaged.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise FileNotFoundError(f"there is no job in {folder}: it has no {DESCRIPTION}")
    try:
        about = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    # A run that was killed between the two files leaves the first without its checksum.
    wrong = checksum_says(path)
    if not isinstance(about, dict) or (wrong is not None and "damaged" in wrong):
        raise ValueError(f"{path} {wrong or 'is damaged: it holds no settings'}")
    return about


def claim(folder: Path, about: dict[str, Any], *, write: bool) -> None:
    """Writes the description into a folder without one; refuses a folder of another job.

    Raises:
        ValueError: naming every setting that differs, with both values.
    """
    try:
        found = read_description(folder)
    except FileNotFoundError:
        if write:
            write_checked(folder / DESCRIPTION, as_text(about))
        return
    except ValueError as error:
        raise ValueError(
            f"{error}; remove it and run the same command again: shards of that job are kept"
        ) from error
    names = sorted({*found, *about})
    differing = [name for name in names if found.get(name) != about.get(name)]
    if differing:
        values = "; ".join(
            f"{name} = {_short(found.get(name))}, got {_short(about.get(name))}"
            for name in differing
        )
        raise ValueError(
            f"{folder} holds a job with {values}: choose another folder, or the same settings"
        )
    if write and checksum_says(folder / DESCRIPTION) is not None:
        write_checked(folder / DESCRIPTION, as_text(about))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:30]}..."


@contextmanager
def locked_log(folder: Path, process: int) -> Iterator[Log]:
    """Yields a function that writes a line with the time to the log, while no other run can.

    The log is the one file with clock times, and the only thing that is locked: the system lets go
    of it when the process ends, however it ends. Each process of a run over several has its own.

    Raises:
        ValueError: if another run holds the lock.
    """
    name = "job.log" if process == 0 else f"job-{process}.log"
    with (folder / name).open("a", encoding="utf-8") as stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ValueError(
                    f"{folder} is in use: another run holds the lock on {name}; wait for it or "
                    "choose another folder"
                ) from error

        def log(text: str) -> None:
            now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            stream.write(f"{now} {text}\n")
            stream.flush()

        yield log


def clear_parts(folder: Path, names: set[str]) -> None:
    """Removes what a killed run had begun to write of the files with those names."""
    for path in folder.glob(f".*{PART}"):
        whole = path.name.removeprefix(".").removesuffix(PART).removesuffix(".sha256")
        if whole in names:
            path.unlink()
