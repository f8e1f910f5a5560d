"""Job folders: the log, the lock against a second run, and the ownership of files."""

import dataclasses
import datetime
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from kinetic_jax._files import PART, naming
from kinetic_jax.jobs._description import DESCRIPTION
from kinetic_jax.jobs._shards import Owner, checksum_of, number_of, owner_of

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOG = "job.log"
Log = Callable[[str], None]
# The first line of a job's log.
_LOG_START = re.compile(rb"\d{4}-\d\d-\d\dT\S+ (begun with|interrupted|done|shard-\d+\.npz)\b")


@dataclasses.dataclass(frozen=True)
class Part:
    """One of `count` processes that share a folder, and the files it writes."""

    process: int
    count: int
    shards: range

    @property
    def log(self) -> str:
        return LOG if self.count == 1 else f"job-{self.process}.log"

    def writes(self, name: str) -> bool:
        """True if the process writes a file of that name, even temporarily."""
        if name in {LOG, self.log}:
            return True
        if name.startswith(".") and name.endswith(PART):
            name = name.removeprefix(".").removesuffix(PART)
        name = name.removesuffix(".sha256")
        if name == DESCRIPTION:
            return self.process == 0
        number = number_of(name)
        return number is not None and number in self.shards


@contextmanager
def locked_log(folder: Path, part: Part) -> Iterator[Log]:
    """Locks the log and yields a function that appends a line with the time.

    Only logs contain clock times. The system releases the lock when the process ends, however it
    ends. Each of several processes locks its own log, and all hold a shared lock on `job.log`,
    which a single process locks exclusively.
    """
    path = folder / part.log
    # Unbuffered: a line that did not fit on the disk is not written later.
    with (folder / LOG).open("ab", 0) as shared, path.open("ab", 0) as stream:
        if part.count > 1:
            _lock(shared, exclusive=False)
        _lock(stream, exclusive=True)

        def log(text: str) -> None:
            now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            with naming(path):
                stream.write(f"{now} {text}\n".encode())

        yield log


def _lock(stream: FileIO, *, exclusive: bool) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        path = Path(stream.name)
        raise ValueError(
            f"{path.parent} is in use: another run holds the lock on {path.name}; wait for it or "
            "choose another folder"
        ) from error


def refuse_foreign_files(folder: Path, part: Part, job: Owner, *, begun: bool) -> None:
    """Refuses a folder with files that the run would overwrite but no job wrote.

    It has `begun` if the folder holds the description of the job.
    """
    files = sorted(file for file in folder.iterdir() if part.writes(file.name))
    shards = [file for file in files if number_of(file.name) is not None]
    logs = [file for file in files if file.suffix == ".log"]
    owned, unreadable = set(), set()
    for file in shards:
        try:
            owner = owner_of(file)
        except ValueError:
            unreadable.add(file)
            continue
        if owner is not None:
            job.require_own(file, owner)
            owned.add(file)
    begun = begun or bool(owned) or any(map(_is_own_log, logs))
    for file in files:
        if file in shards:
            damaged = file in unreadable and begun and checksum_of(file).is_file()
            is_ours = file in owned or damaged
        elif file in logs:
            is_ours = _is_own_log(file) or not file.stat().st_size
        else:
            is_ours = begun
        if not is_ours:
            raise ValueError(
                f"out must not hold files that no job wrote and this one would overwrite, got "
                f"{file}: choose another folder, or move the file away"
            )


def clear_parts(folder: Path, part: Part) -> None:
    """Removes temporary files that a killed run of the same part left."""
    for path in folder.glob(f".*{PART}"):
        if part.writes(path.name):
            path.unlink()


def _is_own_log(path: Path) -> bool:
    with path.open("rb") as stream:
        return _LOG_START.match(stream.readline(100)) is not None
