"""Shards: self-describing files of samples, each with a checksum file."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from kinetic_jax._arrays import Header, pack, unpacked
from kinetic_jax._files import write_whole
from kinetic_jax.sampling._probes import Probes, checked_probes, same_within_rounding

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class EnergyParts(Generic[T]):
    """One value for each part of `PathEnergy`, such as the energies of a shard's samples.

    Attributes:
        total: for the kinetic path energy.
        launch: for its part before `tau_split`.
        landing: for its part from `tau_split` on.
        displacement: for the energy of a straight path at constant speed.
        excess: for the straightness excess, see `PathEnergy`.
        length: for the length of the path.
    """

    total: T
    launch: T
    landing: T
    displacement: T
    excess: T
    length: T


class ShardProfile(NamedTuple):
    """The `KineticProfile` of a shard, as NumPy arrays.

    Attributes:
        ts: left ends of the steps, shape (steps,).
        speed2: squared speed in each step, shape (rows, steps).
        bend2: squared change of velocity at the start of each step, shape (rows, steps).
    """

    ts: np.ndarray
    speed2: np.ndarray
    bend2: np.ndarray


ENERGIES = tuple(part.name for part in dataclasses.fields(EnergyParts))
PROFILE = ShardProfile._fields
TIMES = "ts"  # the only array without an axis of samples
RESIDUAL = "residual"
STARTS = "starts"  # a projection of each sample's x0, if it is not noise
_REQUIRED = {"job", "index", "status"}  # present in every format version
# The shape and the permitted dtypes of each array.
Layout = Mapping[str, tuple[tuple[int, ...], tuple[str, ...]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
    """Some samples of a job, as NumPy arrays.

    Attributes:
        x1: the samples, in the field's own scale, shape (rows, *event), or a dict of such arrays.
        index: their indices in the job; x0 is `noise(key, index, event_shape)`, or `run_job`'s
            x0(index); shape (rows,).
        label: their classes, shape (rows,), or None.
        status: 0 ok, 1 not finite, 2 step limit (of an adaptive solve), shape (rows,).
        num_evals: calls of the field, shape (rows,).
        energy: the parts of their energies, each of shape (rows,).
        profile: speed and bend of every step, if they were kept.
        residual: the share of noise left on each sample, shape (rows,), if it was kept.
    """

    x1: PyTree[np.ndarray]
    index: np.ndarray
    label: np.ndarray | None
    status: np.ndarray
    num_evals: np.ndarray
    energy: EnergyParts[np.ndarray]
    profile: ShardProfile | None
    residual: np.ndarray | None = None

    @classmethod
    def joined(cls, shards: "Sequence[Shard]") -> "Shard":
        """All samples as one shard, without profiles."""

        def join(name: str) -> np.ndarray:
            return np.concatenate([getattr(shard, name) for shard in shards])

        label = None if shards[0].label is None else join("label")
        energy = map(
            np.concatenate, zip(*(vars(shard.energy).values() for shard in shards), strict=True)
        )
        residual = None if shards[0].residual is None else join("residual")
        rest = join("status"), join("num_evals"), EnergyParts(*energy), None, residual
        x1 = jax.tree.map(lambda *parts: np.concatenate(parts), *[shard.x1 for shard in shards])
        return cls(x1, join("index"), label, *rest)


def paths_of(tree: PyTree[Any]) -> list[tuple[str, ...]]:
    """The keys of each leaf of nested dicts of arrays or shapes; no keys for a single one."""
    if not isinstance(tree, Mapping):
        return [()]
    return [(name, *path) for name in sorted(tree) for path in paths_of(tree[name])]


def x1_names(tree: PyTree[Any]) -> list[str]:
    """The names in a shard of the arrays of x1, in the order of the leaves of a pytree."""
    return [".".join(("x1", *path)) for path in paths_of(tree)]


def _is_x1(name: str) -> bool:
    return name.split(".")[0] == "x1"


def _unnamed(arrays: Mapping[str, np.ndarray]) -> Any:
    """The samples, an array or nested dicts of them, from their names in a shard."""
    if "x1" in arrays:
        return arrays["x1"]
    x1: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, last = name.split(".")[1:]
        inner = x1
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = array
    return x1


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.npz"


def number_of(name: str) -> int | None:
    """The shard number in a file name; None if it is not a shard's."""
    match = re.fullmatch(r"shard-(\d{5,})\.npz", name)
    return int(match[1]) if match and shard_name(int(match[1])) == name else None


def write_shard(path: Path, arrays: dict[str, np.ndarray], job: "Owner") -> None:
    """Writes the arrays of a shard with its job's identity, then the checksum."""
    named = {"job": np.array(job.job)}
    if job.probes is not None:
        named["probes"] = np.array(json.dumps(job.probes, sort_keys=True))
    # A damaged shard is removed before its checksum, which shows that a job wrote it.
    path.unlink(missing_ok=True)
    write_checked(path, pack(arrays | named))


def read_shard(path: Path) -> Shard:
    with unpacked(path) as arrays:
        names = arrays.headers
        return Shard(
            x1=_unnamed({name: arrays[name] for name in names if _is_x1(name)}),
            index=arrays["index"],
            label=arrays["label"] if "label" in names else None,
            status=arrays["status"],
            num_evals=arrays["num_evals"],
            energy=EnergyParts(*(arrays[name] for name in ENERGIES)),
            profile=ShardProfile(*(arrays[name] for name in PROFILE)) if TIMES in names else None,
            residual=arrays[RESIDUAL] if RESIDUAL in names else None,
        )


def read_array(path: Path, name: str) -> np.ndarray | None:
    """Reads one array of a shard; None if it is absent."""
    with unpacked(path) as arrays:
        return arrays[name] if name in arrays.headers else None


def was_written(path: Path) -> bool:
    """True if the shard or its checksum exists."""
    return path.exists() or checksum_of(path).exists()


class Owner(NamedTuple):
    """The identity of a job, stored in its shards."""

    job: str  # the digest of its description
    probes: Probes | None  # its field's velocity at fixed points

    def require_own(self, path: Path, owner: "Owner") -> None:
        """Raises if a shard belongs to another job and must not be overwritten."""
        if self.job != owner.job or not same_within_rounding(self.probes, owner.probes):
            raise ValueError(f"{path} belongs to a job with other settings: choose another folder")


def owner_of(path: Path) -> Owner | None:
    """The job that a file belongs to; None if it is not a shard. Raises if it is unreadable."""
    try:
        with unpacked(path) as arrays:
            if not arrays.headers.keys() >= _REQUIRED or arrays.headers["job"].dtype.kind != "U":
                return None
            job = arrays.text("job")
            if re.fullmatch(r"[0-9a-f]{64}", job) is None:
                return None
            has_probes = "probes" in arrays.headers
            probes = checked_probes(json.loads(arrays.text("probes"))) if has_probes else None
            return Owner(job, probes)
    except Exception as error:  # readers raise various errors for damaged files
        raise ValueError(f"is unreadable ({error})") from error


def shard_error(path: Path, job: Owner, rows: range, layout: Layout) -> str | None:
    """The reason a shard is unusable, or None. Raises if it belongs to another job."""
    if not path.is_file():
        return "is missing"
    owner, unreadable = None, "does not name its job"
    try:
        owner = owner_of(path)
    except ValueError as error:
        unreadable = str(error)
    if owner is not None:
        job.require_own(path, owner)
    if (mismatch := checksum_error(path)) is not None:
        return mismatch
    if owner is None:
        return unreadable
    try:
        with unpacked(path) as arrays:
            if (mismatch := _layout_error(arrays.headers, layout)) is not None:
                return mismatch
            index = arrays["index"]
    except Exception as error:  # a crafted file, as its checksum matches
        return f"is unreadable ({error})"
    if not np.array_equal(index, np.arange(rows.start, rows.stop)):
        return f"holds other samples than {rows.start} to {rows.stop - 1}"
    return None


def _layout_error(headers: Mapping[str, Header], layout: Layout) -> str | None:
    """The first difference between a shard's arrays and the layout, or None."""
    for name in sorted(layout.keys() - headers.keys() - {STARTS}):
        return f"holds no {name}"
    for name in sorted(headers.keys() - {"job", "probes"}):
        if name not in layout:
            return f"holds {name}, which no shard of this job does"
        (shape, dtypes), header = layout[name], headers[name]
        if header.shape != shape or header.dtype.name not in dtypes:
            return (
                f"holds a {name} of {header.dtype} and shape {header.shape}, not of {dtypes[0]} "
                f"and shape {shape}"
            )
    return None


def write_checked(path: Path, content: bytes) -> None:
    """Writes a file and a checksum file in the format of `sha256sum`."""
    checksum_of(path).unlink(missing_ok=True)  # an older file's
    write_whole(path, content)
    line = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    write_whole(checksum_of(path), line.encode())


def checksum_error(path: Path) -> str | None:
    """A message if the checksum of a file is missing or differs, else None."""
    checksum = checksum_of(path)
    if not checksum.is_file():
        return "has no checksum"
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    matches = checksum.read_bytes() == f"{digest}  {path.name}\n".encode()
    return None if matches else "is damaged: its checksum differs"


def checksum_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
