"""Shards: files of samples that say what they hold, each with its checksum beside it."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kinetic_jax._arrays import Header, pack, unpacked
from kinetic_jax._files import write_whole
from kinetic_jax.energy import PathEnergy
from kinetic_jax.sampling import Probes, checked_probes, same_within_rounding

ENERGIES = tuple(field.name for field in dataclasses.fields(PathEnergy))
TIMES = "ts"  # of the profile, shared by all samples
PROFILE = (TIMES, "speed2", "bend2")
STARTS = "starts"  # where the samples begin, a number for each, if not at noise
_ALWAYS = {"job", "index", "x1", "status"}  # in the shards of every version
# By name, the shape that an array must have and the dtypes that it may have.
Layout = Mapping[str, tuple[tuple[int, ...], tuple[str, ...]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
    """Some samples of a job, as NumPy arrays.

    Attributes:
        x1: the samples, in the field's own scale, shape (some, *event).
        index: their indices in the job: x0 is `noise(key, index, event_shape)`, or what `run_job`
            was given as x0; shape (some,).
        label: their classes, shape (some,), or None.
        status: 0 ok, 1 not finite, 2 step limit (of an adaptive solve), shape (some,).
        num_evals: calls of the field, shape (some,).
        energy: the parts of `PathEnergy` by name, each (some,).
        profile: "ts" (steps,), "speed2" and "bend2" (some, steps), if they were kept.
    """

    x1: np.ndarray
    index: np.ndarray
    label: np.ndarray | None
    status: np.ndarray
    num_evals: np.ndarray
    energy: dict[str, np.ndarray]
    profile: dict[str, np.ndarray] | None


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:05d}.npz"


def number_of(name: str) -> int | None:
    """The number of the shard with a file name; None if it is the name of none."""
    match = re.fullmatch(r"shard-(\d{5,})\.npz", name)
    return int(match[1]) if match and shard_name(int(match[1])) == name else None


def write_shard(path: Path, arrays: dict[str, np.ndarray], job: "Owner") -> None:
    """Writes the arrays of a shard, what job it is of, then its checksum."""
    named = {"job": np.array(job.job)}
    if job.probes is not None:
        named["probes"] = np.array(json.dumps(job.probes, sort_keys=True))
    # A damaged one goes before its checksum does, which shows that it was a job's.
    path.unlink(missing_ok=True)
    write_checked(path, pack(arrays | named))


def read_shard(path: Path) -> Shard:
    """A shard, as it was written."""
    with unpacked(path) as arrays:
        names = arrays.headers
        return Shard(
            x1=arrays["x1"],
            index=arrays["index"],
            label=arrays["label"] if "label" in names else None,
            status=arrays["status"],
            num_evals=arrays["num_evals"],
            energy={name: arrays[name] for name in ENERGIES},
            profile={name: arrays[name] for name in PROFILE} if TIMES in names else None,
        )


def read_array(path: Path, name: str) -> np.ndarray | None:
    """One array of a shard, if it has one of that name; of the file no more is read."""
    with unpacked(path) as arrays:
        return arrays[name] if name in arrays.headers else None


def was_written(path: Path) -> bool:
    """Whether something is left of a shard, or of its checksum."""
    return path.exists() or checksum_of(path).exists()


class Owner(NamedTuple):
    """A job, as its shards name it.

    Attributes:
        job: the digest of its description.
        probes: what its field computes at fixed points, or None.
    """

    job: str
    probes: Probes | None

    def require_own(self, path: Path, owner: "Owner") -> None:
        """Raises if a shard is of another job than this one: it is nothing to write over."""
        if self.job != owner.job or not same_within_rounding(self.probes, owner.probes):
            raise ValueError(f"{path} belongs to a job with other settings: choose another folder")


def owner_of(path: Path) -> Owner | None:
    """The job that a shard says it is of; None if it is a file of something else.

    Raises:
        ValueError: if it is unreadable.
    """
    try:
        with unpacked(path) as arrays:
            if not arrays.headers.keys() >= _ALWAYS or arrays.headers["job"].dtype.kind != "U":
                return None
            job = arrays.text("job")
            if re.fullmatch(r"[0-9a-f]{64}", job) is None:
                return None
            has_probes = "probes" in arrays.headers
            probes = checked_probes(json.loads(arrays.text("probes"))) if has_probes else None
            return Owner(job, probes)
    except Exception as error:  # readers of damaged files raise whatever they meet
        raise ValueError(f"is unreadable ({error})") from error


def what_is_wrong(path: Path, job: Owner, rows: range, layout: Layout) -> str | None:
    """Why a shard cannot be used, in words; None if it is as it was written.

    Args:
        path: its file.
        job: the job.
        rows: the indices of the samples that it is to hold.
        layout: of the arrays that it is to hold.

    Raises:
        ValueError: if it says that it is of another job, damaged or not.
    """
    if not path.is_file():
        return "is missing"
    owner, unreadable = None, "says of no job that it is its own"
    try:
        owner = owner_of(path)
    except ValueError as error:
        unreadable = str(error)
    if owner is not None:
        job.require_own(path, owner)
    if (wrong := checksum_says(path)) is not None:
        return wrong
    if owner is None:
        return unreadable
    try:
        with unpacked(path) as arrays:
            if (unlike := _unlike(arrays.headers, layout)) is not None:
                return unlike
            index = arrays["index"]
    except Exception as error:  # of a file that was crafted, as its checksum fits
        return f"is unreadable ({error})"
    if not np.array_equal(index, np.arange(rows.start, rows.stop)):
        return f"holds other samples than {rows.start} to {rows.stop - 1}"
    return None


def _unlike(headers: Mapping[str, Header], layout: Layout) -> str | None:
    """What a shard's arrays are not that they should be, in words; None if they are."""
    for name in sorted(layout.keys() - headers.keys() - {STARTS}):
        return f"holds no {name}"
    for name in sorted(headers.keys() - {"job", "probes"}):
        if name not in layout:
            return f"holds {name}, which no shard of this job does"
        (shape, dtypes), found = layout[name], headers[name]
        if found.shape != shape or found.dtype.name not in dtypes:
            return (
                f"holds a {name} of {found.dtype} and shape {found.shape}, not of {dtypes[0]} and "
                f"shape {shape}"
            )
    return None


def write_checked(path: Path, content: bytes) -> None:
    """Writes a file, and beside it its checksum as `sha256sum` writes it."""
    checksum_of(path).unlink(missing_ok=True)  # of an older file of that name
    write_whole(path, content)
    line = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    write_whole(checksum_of(path), line.encode())


def checksum_says(path: Path) -> str | None:
    """What is wrong with a file by its checksum, in words; None if nothing is."""
    beside = checksum_of(path)
    if not beside.is_file():
        return "has no checksum"
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    good = beside.read_bytes() == f"{found}  {path.name}\n".encode()
    return None if good else "is damaged: its checksum is another"


def checksum_of(path: Path) -> Path:
    """Where the checksum of a file is."""
    return path.with_name(f"{path.name}.sha256")
