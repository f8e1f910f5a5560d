"""The folder of a job: its description, its log, and the lock that keeps a second run out."""

import datetime
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from kinetic_jax._files import PART, naming
from kinetic_jax.jobs._shards import checksum_says, write_checked

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

DESCRIPTION = "job.json"
LOG = "job.log"
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


def refuse_another_job(folder: Path, about: dict[str, Any]) -> None:
    """Refuses a folder whose description is of another job.

    Raises:
        ValueError: naming every setting that differs, with both values.
    """
    try:
        found = read_description(folder)
    except FileNotFoundError:
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


def describe(folder: Path, about: dict[str, Any]) -> None:
    """Writes the description of a job into its folder, if it is not there with its checksum."""
    path = folder / DESCRIPTION
    if not path.is_file() or checksum_says(path) is not None:
        write_checked(path, as_text(about))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:30]}..."


@contextmanager
def locked_log(folder: Path, process: int, count: int) -> Iterator[Log]:
    """Yields a function that writes a line with the time to the log, while no other run can.

    Logs are the only files with clock times, and what is locked: the system lets go of them when
    the process ends, however it ends. Of a run over several processes each has its own log, and
    all share `job.log`, which a run alone has for itself.

    Raises:
        ValueError: if another run holds the lock.
    """
    name = LOG if count == 1 else f"job-{process}.log"
    with (
        (folder / LOG).open("a", encoding="utf-8") as shared,
        (folder / name).open("a", encoding="utf-8") as stream,
    ):
        if count > 1:
            _lock(shared, alone=False)
        _lock(stream, alone=True)

        def log(text: str) -> None:
            now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            with naming(folder / name):
                stream.write(f"{now} {text}\n")
                stream.flush()

        yield log


def _lock(stream: IO[str], *, alone: bool) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        path = Path(stream.name)
        raise ValueError(
            f"{path.parent} is in use: another run holds the lock on {path.name}; wait for it or "
            "choose another folder"
        ) from error


def clear_parts(folder: Path, names: set[str]) -> None:
    """Removes what a killed run had begun to write of the files with those names."""
    for path in folder.glob(f".*{PART}"):
        whole = path.name.removeprefix(".").removesuffix(PART).removesuffix(".sha256")
        if whole in names:
            path.unlink()
