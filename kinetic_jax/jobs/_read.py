"""Reading the folder of a job, a shard at a time."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kinetic_jax._files import PathLike, local_path
from kinetic_jax._progress import progress_bar
from kinetic_jax.jobs._description import as_owner, layout_of, read_description
from kinetic_jax.jobs._shards import Shard, number_of, read_shard, shard_name, what_is_wrong
from kinetic_jax.networks import Scaling

BAD_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Job:
    """A folder of samples that `run_job` left; see `open_job`.

    Attributes:
        folder: where it is.
        about: all that decided the samples, as `job.json` tells it.
    """

    folder: Path
    about: dict[str, Any]

    @property
    def n(self) -> int:
        """How many samples it is to have."""
        return self.about["n"]

    @property
    def num_shards(self) -> int:
        """How many files they are in."""
        return -(-self.n // self.about["shard_size"])

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.about["event_shape"])

    @property
    def scaling(self) -> Scaling:
        """How the samples relate to raw data: raw = `scaling.invert(x1)`."""
        return Scaling(**self.about["scaling"])

    def rows(self, number: int) -> range:
        """The noise indices of a shard's samples."""
        size = self.about["shard_size"]
        return range(number * size, min((number + 1) * size, self.n))

    def path(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / shard_name(number)

    def what_is_wrong(self, number: int) -> str | None:
        """Why a shard cannot be used ("is missing", "is damaged: ..."); None if it can."""
        rows = self.rows(number)
        layout = layout_of(self.about, len(rows))
        return what_is_wrong(self.path(number), as_owner(self.about), rows, layout)

    def check(self, *, progress: bool | None = None) -> "Job":
        """Returns itself if every shard is there and matches its checksum.

        Raises:
            ValueError: naming those that are not.
        """
        # By what is in the folder: the description may promise any number of shards.
        names = map(number_of, (file.name for file in self.folder.iterdir()))
        there = sorted(n for n in names if n is not None and n < self.num_shards)
        wrong = {}
        with progress_bar("checking shards", len(there), show=progress) as update:
            for place, number in enumerate(there):
                if (why := self.what_is_wrong(number)) is not None:
                    wrong[number] = why
                update(place + 1, "")
        lacking = self.num_shards - len(there) + len(wrong)
        if lacking:
            known = set(there)
            absent = (number for number in range(self.num_shards) if number not in known)
            wrong |= dict.fromkeys(itertools.islice(absent, BAD_NAMED), "is missing")
            some = [f"{shard_name(n)} {wrong[n]}" for n in sorted(wrong)[:BAD_NAMED]]
            more = "; ..." if lacking > BAD_NAMED else ""
            raise ValueError(
                f"{self.folder} lacks {lacking:,} of its {self.num_shards:,} shards "
                f"({'; '.join(some)}{more}): the command that began it makes them"
            )
        return self

    def shards(self) -> Iterator[Shard]:
        """The shards in order, each checked and read when it is asked for.

        Raises:
            ValueError: naming a shard that is missing or damaged, when it is its turn.
        """
        for number in range(self.num_shards):
            if (why := self.what_is_wrong(number)) is not None:
                raise ValueError(f"{self.path(number)} {why}")
            yield read_shard(self.path(number))


def open_job(folder: PathLike) -> Job:
    """Opens a folder of samples that `run_job` or `kinetic-jax sample` left, finished or not.

    Args:
        folder: the folder.

    Raises:
        FileNotFoundError: if there is no job in it.
        ValueError: naming the file, if its description is damaged or of another format, and the
            field, if it makes no sense.

    Example:
        >>> import jax, tempfile
        >>> from kinetic_jax import JobSettings, network_field, open_job, run_job
        >>> field = network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = run_job(field, folder, JobSettings(n=5, shard_size=3, steps=4), say=None)
        ...     [shard.x1.shape for shard in open_job(folder).check().shards()]
        [(3, 2), (2, 2)]
    """
    where = local_path("folder", folder)
    return Job(where, read_description(where))
