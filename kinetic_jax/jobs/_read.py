"""Reading a job folder, one shard at a time."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from kinetic_jax._checks import require
from kinetic_jax._files import PathLike, local_path
from kinetic_jax._progress import progress_bar
from kinetic_jax._state import EventShape, as_event_shape, checked_event_shape
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.jobs._description import (
    About,
    as_owner,
    fingerprint,
    read_description,
    shard_layout,
)
from kinetic_jax.jobs._shards import Shard, number_of, read_shard, shard_error, shard_name
from kinetic_jax.networks import Scaling
from kinetic_jax.sampling._profile_grid import (
    DEFAULT_FLOOR,
    Bending,
    bending_of,
    grid_of_bending,
)

MAX_LISTED = 10  # failed samples or shards that a message names


@dataclasses.dataclass(frozen=True)
class Job:
    """A folder of samples written by `run_job`; see `open_job`.

    `shards()` yields its samples, `check()` verifies them and `check_field(field)` their model;
    `grid_from_profile(num_steps)` makes a time grid of them.

    Attributes:
        folder: path of the folder.
        about: the contents of `job.json`: all settings that decide the samples.
    """

    folder: Path
    about: About

    def __repr__(self) -> str:
        return f"Job({str(self.folder)!r}: {self.n:,} samples in {self.num_shards:,} shards)"

    @property
    def n(self) -> int:
        """Number of samples in the finished job."""
        return self.about["n"]

    @property
    def num_shards(self) -> int:
        """Number of shards in the finished job."""
        return -(-self.n // self.about["shard_size"])

    @property
    def event_shape(self) -> EventShape:
        """Shape of one sample, or a dict of shapes."""
        return as_event_shape(checked_event_shape(self.about["event_shape"]))

    @property
    def scaling(self) -> Scaling:
        """Scaling of the raw data: raw = `scaling.invert(x1)`."""
        return Scaling(**self.about["scaling"])

    def rows(self, number: int) -> range:
        """The noise indices of a shard's samples."""
        size = self.about["shard_size"]
        return range(number * size, min((number + 1) * size, self.n))

    def path(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / shard_name(number)

    def error_of(self, number: int) -> str | None:
        """The reason a shard is unusable ("is missing", "is damaged: ..."), or None."""
        rows = self.rows(number)
        layout = shard_layout(self.about, len(rows))
        return shard_error(self.path(number), as_owner(self.about), rows, layout)

    def errors(self, numbers: Sequence[int], progress: bool | None) -> dict[int, str]:
        """The unusable ones of some shards, with the reason."""
        errors = {}
        with progress_bar("checking shards", len(numbers), show=progress) as update:
            for place, number in enumerate(numbers):
                if (error := self.error_of(number)) is not None:
                    errors[number] = error
                update(place + 1, "")
        return errors

    def check(self, *, progress: bool | None = None) -> "Job":
        """Returns itself if every shard exists and matches its checksum.

        Raises:
            ValueError: naming missing and damaged shards.
        """
        # Only files in the folder are read: a damaged description may name 2**32 shards.
        names = map(number_of, (file.name for file in self.folder.iterdir()))
        present = sorted(n for n in names if n is not None and n < self.num_shards)
        errors = self.errors(present, progress)
        lacking = self.num_shards - len(present) + len(errors)
        if lacking:
            known = set(present)
            absent = (number for number in range(self.num_shards) if number not in known)
            errors |= dict.fromkeys(itertools.islice(absent, MAX_LISTED), "is missing")
            listed = [f"{shard_name(n)} {errors[n]}" for n in sorted(errors)[:MAX_LISTED]]
            ending = "; ..." if lacking > MAX_LISTED else ""
            raise ValueError(
                f"{self.folder} lacks {lacking:,} of its {self.num_shards:,} shards "
                f"({'; '.join(listed)}{ending}): repeat its command to complete it"
            )
        return self

    def check_field(self, field: VelocityField) -> "Job":
        """Returns itself if its samples are of this model.

        Raises:
            ValueError: if they are of another one.
        """
        model = as_field(field)
        is_own = fingerprint(model) == self.about["field"]
        require(is_own, "field", "another model", f"be the model of the samples in {self.folder}")
        return self

    def shards(self) -> Iterator[Shard]:
        """Yields the shards in order; each is checked and read on demand.

        Raises:
            ValueError: naming a missing or damaged shard when the iteration reaches it.
        """
        for number in range(self.num_shards):
            if (error := self.error_of(number)) is not None:
                raise ValueError(f"{self.path(number)} {error}")
            yield read_shard(self.path(number))

    def grid_from_profile(
        self, num_steps: int, *, floor: float = DEFAULT_FLOOR
    ) -> Float[np.ndarray, " nodes"]:
        """The time grid that `kinetic_jax.sampling.grid_from_profile` makes of all its samples.

        Args:
            num_steps: steps of the grid.
            floor: the least density, in units of its mean.

        Returns:
            N + 1 times from the job's t0 to its t1, for `JobSettings(grid=)` or `sample(grid=)`.

        Raises:
            ValueError: if the job was run without `profile=True`, a shard is missing or damaged, a
                number is out of range, or no sample is finite.

        Example:
            >>> import jax, tempfile
            >>> from kinetic_jax.jobs import JobSettings, run_job
            >>> from kinetic_jax.networks import network_field
            >>> field = network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     pilot = run_job(field, folder, JobSettings(n=5, profile=True), say=None)
            ...     pilot.grid_from_profile(4)  # an untrained network does not move
            array([0.  , 0.25, 0.5 , 0.75, 1.  ])
        """
        expected = f"be kept by the job {self.folder}: run one with JobSettings(profile=True)"
        require(self.about["profile"], "profile", False, expected)
        total: Bending | None = None
        for shard in self.shards():
            if shard.profile is not None:
                bending = bending_of(shard.profile.ts, shard.profile.bend2, shard.status)
                total = bending if total is None else total.plus(bending)
        if total is None:
            raise ValueError(f"{self.folder} must hold profiles, got none")
        return grid_of_bending(total, num_steps, self.about.get("t1", 1.0), floor)


def open_job(folder: PathLike) -> Job:
    """Opens a folder written by `run_job` or `kinetic-jax sample`; the job may be unfinished.

    Args:
        folder: the folder.

    Returns:
        The job, which reads its shards when asked.

    Raises:
        FileNotFoundError: if the folder contains no job.
        ValueError: naming the file, if its description is damaged or has another format, and the
            invalid field.

    Example:
        >>> import jax, tempfile
        >>> from kinetic_jax.jobs import JobSettings, open_job, run_job
        >>> from kinetic_jax.networks import network_field
        >>> field = network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = run_job(field, folder, JobSettings(n=5, shard_size=3, num_steps=4), say=None)
        ...     [shard.x1.shape for shard in open_job(folder).check().shards()]
        [(3, 2), (2, 2)]
    """
    path = local_path("folder", folder)
    return Job(path, read_description(path))
