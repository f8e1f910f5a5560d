"""Shards: files of samples that say what they hold, each with its checksum beside it."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np

from kinetic_jax._arrays import pack
from kinetic_jax._files import write_whole
from kinetic_jax.energy import PathEnergy
from kinetic_jax.jobs._identity import Probes, same_within_rounding

ENERGIES = tuple(field.name for field in dataclasses.fields(PathEnergy))
TIMES = "ts"  # of the profile, shared by all samples
PROFILE = (TIMES, "speed2", "bend2")


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


def write_shard(path: Path, arrays: dict[str, np.ndarray], job: str, probes: Probes | None) -> None:
    """Writes the arrays of a shard, what job it is of (digest and probes), then its checksum."""
    named = {"job": np.array(job)}
    if probes is not None:
        named["probes"] = np.array(json.dumps(probes, sort_keys=True))
    # A damaged one goes before its checksum does, which shows that it was a job's.
    path.unlink(missing_ok=True)
    write_checked(path, pack(arrays | named))


def read_shard(path: Path) -> Shard:
    """A shard, as it was written."""
    with np.load(path, allow_pickle=False) as arrays:
        return Shard(
            x1=arrays["x1"],
            index=arrays["index"],
            label=arrays.get("label"),
            status=arrays["status"],
            num_evals=arrays["num_evals"],
            energy={name: arrays[name] for name in ENERGIES},
            profile={name: arrays[name] for name in PROFILE} if TIMES in arrays else None,
        )


def read_status(path: Path) -> np.ndarray:
    """The status of a shard's samples; of the file no more is read."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["status"]


def was_written(path: Path) -> bool:
    """Whether something is left of a shard, or of its checksum."""
    return path.exists() or checksum_of(path).exists()


def is_of_a_job(path: Path, *, begun: bool) -> bool:
    """Whether a shard was written by a job, as far as can be told.

    It says so itself; if it is unreadable, its checksum says so in a folder where a job was begun.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return "job" in arrays
    except Exception:  # readers of damaged files raise whatever they meet
        return begun and checksum_of(path).is_file()


def what_is_wrong(path: Path, job: str, probes: Probes | None, rows: range) -> str | None:
    """Why a shard cannot be used, in words; None if it is as it was written.

    Args:
        path: its file.
        job: the digest of the job.
        probes: the job's, or None.
        rows: the indices of the samples that it is to hold.

    Raises:
        ValueError: if it is whole, but of another job: it is nothing to write over.
    """
    if not path.is_file():
        return "is missing"
    if (wrong := checksum_says(path)) is not None:
        return wrong
    try:
        with np.load(path, allow_pickle=False) as arrays:
            index, its_job = arrays["index"], str(arrays["job"])
            its_probes = json.loads(str(arrays["probes"])) if "probes" in arrays else None
            same = its_job == job and same_within_rounding(its_probes, probes)
    except Exception as error:  # readers of damaged files raise whatever they meet
        return f"is unreadable ({error})"
    if not same:
        raise ValueError(f"{path} belongs to a job with other settings: choose another folder")
    if not np.array_equal(index, np.arange(rows.start, rows.stop)):
        return f"holds other samples than {rows.start} to {rows.stop - 1}"
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
