"""`run_job`: many samples, shard by shard, that a kill cannot hurt."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from kinetic_jax._checks import require, whole_number
from kinetic_jax._files import PathLike, local_path
from kinetic_jax._interrupt import deferred_interrupt
from kinetic_jax._mesh import checked_mesh, replicated
from kinetic_jax._progress import check_progress, progress_bar
from kinetic_jax.jobs._description import agreed_description, as_owner, describe
from kinetic_jax.jobs._folder import Log, Part, clear_parts, locked_log, refuse_files_of_others
from kinetic_jax.jobs._plan import Plan, Start, make_plan
from kinetic_jax.jobs._read import BAD_NAMED, Job
from kinetic_jax.jobs._settings import JobSettings
from kinetic_jax.jobs._shards import (
    ENERGIES,
    PROFILE,
    STARTS,
    TIMES,
    read_array,
    shard_name,
    was_written,
    write_shard,
)
from kinetic_jax.sampling import NOT_FINITE, STEP_LIMIT, projected, same_positions, sample

# Samples that failed, by their status.
FAILURES = {NOT_FINITE: "not finite", STEP_LIMIT: "at the step limit"}
Say = Callable[[str], None]


def run_job(
    field: Any,
    out: PathLike,
    settings: JobSettings,
    *,
    event_shape: tuple[int, ...] | None = None,
    x0: Start | None = None,
    batch_size: int = 256,
    mesh: jax.sharding.Mesh | None = None,
    part: tuple[int, int] | None = None,
    say: Say | None = print,
    progress: bool | None = None,
) -> Job:
    """Samples `settings.n` trajectories of a field into a folder, a file per shard.

    A run that is killed at any moment and called again leaves the same files as one that was not:
    each is written whole, with a checksum as `sha256sum -c` reads it, and no clock time is in any
    but `*.log`. Shards that are there are checked first; those that are damaged are named and made
    again. No more than a shard of samples is in memory.

    A job knows its field by what it computes: by its arrays, and for a field that is not of
    `network_field` by its velocity at a few fixed points as well (up to rounding, so that another
    machine may go on).

    Args:
        field: the velocity field, without the transforms of `settings`.
        out: the folder, made if it is not there. A file in it that no job wrote, and this one would
            write over, is never touched.
        settings: all else that decides the samples.
        event_shape: shape of one sample, for a field that does not say it.
        x0: where samples begin, instead of noise: a function from their indices, a NumPy array of
            shape (batch,), to an array (batch, *event). Like the field it is known by its values:
            when a job goes on, by those of all samples that are there (up to rounding; of each a
            number along a fixed direction is kept, and compared).
        batch_size: samples computed together; like `mesh` and `part`, nothing depends on it but
            rounding.
        mesh: devices of this process to split batches over; see `sample`.
        part: (p, count) makes the shards with number p modulo count, for several processes that
            share a folder. Default: this process's place among those of `jax.distributed`.
        say: is told what is going on; None for nobody.
        progress: whether to draw a progress bar; None: on a terminal only.

    Returns:
        The job; of a run over several processes the others may still be at work.

    Raises:
        ValueError: if a setting is out of range or does not fit the field; naming each setting
            that differs, if the folder holds a job with others, or of another field; naming a file
            that no job wrote; if another run is at work there.
        OSError: naming the file that cannot be written (the disk is full, say).
        KeyboardInterrupt: after Ctrl-C, when the batch at hand is done; nothing is left half made.

    Example:
        >>> import jax, tempfile
        >>> from kinetic_jax import JobSettings, network_field, run_job
        >>> field = network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     job = run_job(field, folder, JobSettings(n=5, shard_size=3, steps=4))
        5 samples in 2 shards, all of them finite
        >>> job.n, job.num_shards
        (5, 2)
    """
    folder, tell = local_path("out", out), (lambda _: None) if say is None else say
    require(callable(tell), "say", repr(say), "be a function of a message, or None")
    require(isinstance(settings, JobSettings), "settings", repr(settings), "be JobSettings")
    require(x0 is None or callable(x0), "x0", repr(x0), "be a function of sample indices")
    check_progress(progress)
    batch_size = whole_number("batch_size", batch_size, 1)
    if mesh is not None:
        checked_mesh(mesh)
    plan = make_plan(field, settings, event_shape=event_shape, x0=x0)
    process, count = _checked_part(part)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out must be a folder to write to, got {out}: {error}") from error
    job = Job(folder, plan.about)
    mine = range(process, job.num_shards, count)
    files = Part(process, count, mine)
    # Before anything is written; once more below, as another run may be at work until then.
    there = agreed_description(folder, plan.about)
    owner = as_owner(there or plan.about)
    refuse_files_of_others(folder, files, owner, begun=there is not None)
    if mesh is not None:
        plan = plan._replace(velocity=replicated(plan.velocity, mesh))
    with locked_log(folder, files) as log:
        clear_parts(folder, files)
        job = Job(folder, agreed_description(folder, plan.about) or plan.about)
        todo = _still_to_make(job, mine, tell, log, progress)  # refuses another job's shards
        size = min(batch_size, settings.shard_size, settings.n)
        _require_same_starts(job, plan, [number for number in mine if number not in todo], size)
        if process == 0:
            describe(folder, job.about)
        _make(
            job,
            plan,
            todo,
            done=_samples(job, mine) - _samples(job, todo),
            batch_size=size,
            mesh=mesh,
            log=log,
            progress=progress,
        )
        tell(_summary(job, mine))
        log("done")
    return job


def _checked_part(part: Any) -> tuple[int, int]:
    if part is None:
        return jax.process_index(), jax.process_count()
    is_pair = isinstance(part, tuple | list) and len(part) == 2
    require(is_pair, "part", repr(part), "be a pair (p, count) with 0 <= p < count")
    process, count = (whole_number("part", number) for number in part)
    require(0 <= process < count, "part", part, "be a pair (p, count) with 0 <= p < count")
    return process, count


def _still_to_make(job: Job, mine: range, tell: Say, log: Log, progress: bool | None) -> list[int]:
    """The shards that are not there as they were written; names those that should be."""
    last = max((number for number in mine if was_written(job.path(number))), default=-1)
    todo, remade = [], []
    with progress_bar("checking shards", len(mine), show=progress) as update:
        for place, number in enumerate(mine):
            if (why := job.what_is_wrong(number)) is not None:
                todo.append(number)
                if number <= last:
                    remade.append(f"{shard_name(number)} {why}: made again")
            update(place + 1, "")
    if last >= 0:
        tell(f"{len(mine) - len(todo)} of {len(mine)} shards are there already")
    for line in remade:
        tell(line)
        log(line)
    log(f"begun with {len(mine) - len(todo)} of {len(mine)} shards there")
    return todo


def _require_same_starts(job: Job, plan: Plan, numbers: list[int], batch_size: int) -> None:
    """Raises if samples of a shard that is there began elsewhere than `x0` says."""
    if plan.x0 is None:
        return
    for number in numbers:
        before = read_array(job.path(number), STARTS)
        if before is None:  # of a version that kept none
            continue
        batches = _batches(job.rows(number), batch_size)
        now = [projected(np.asarray(plan.start_of(filled)))[:n] for filled, n in batches]
        if not same_positions(before, np.concatenate(now)):
            raise ValueError(
                f"{job.folder} holds a job of another x0: the samples in {shard_name(number)} "
                "began elsewhere; choose another folder"
            )


def _make(
    job: Job,
    plan: Plan,
    todo: list[int],
    *,
    done: int,
    batch_size: int,
    mesh: jax.sharding.Mesh | None,
    log: Log,
    progress: bool | None,
) -> None:
    owner = as_owner(job.about)
    total = done + _samples(job, todo)
    speed = _Speed(done)
    with (
        deferred_interrupt() as interrupted,
        progress_bar("sampling", total, done=done, show=progress) as update,
    ):
        for number in todo:
            batches = []
            for filled, count in _batches(job.rows(number), batch_size):
                if interrupted():
                    log(f"interrupted at {shard_name(number)}")
                    where = f"shard {number + 1} of {job.num_shards} ({shard_name(number)})"
                    raise KeyboardInterrupt(f"the same command goes on from {where}")
                batches.append(_sampled(plan, filled, count, mesh))
                update(speed.count(count), speed.words())
            write_shard(job.path(number), _joined(batches), owner)
            log(f"{shard_name(number)} is written {speed.words()}".rstrip())


class _Speed:
    """Samples per second since the first batch was done: what compiling takes is no speed."""

    def __init__(self, done: int):
        self.done = done
        self.since: tuple[float, int] | None = None

    def count(self, more: int) -> int:
        self.done += more
        self.since = self.since or (time.monotonic(), self.done)
        return self.done

    def words(self) -> str:
        began, done = self.since or (0.0, self.done)
        seconds = time.monotonic() - began
        return f"{(self.done - done) / seconds:.4g} samples/s" if self.done > done else ""


def _batches(rows: range, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Indices, filled up so that one program is compiled for all, and how many of them count."""
    index = np.arange(rows.start, rows.stop, dtype=np.uint32)
    for start in range(0, index.size, batch_size):
        some = index[start : start + batch_size]
        yield np.pad(some, (0, batch_size - some.size), mode="edge"), some.size


def _sampled(
    plan: Plan, filled: np.ndarray, count: int, mesh: jax.sharding.Mesh | None
) -> dict[str, np.ndarray]:
    """The samples with those indices, of which the first `count` are kept."""
    settings, label, x0 = plan.settings, plan.labels_of(filled), plan.start_of(filled)
    found = sample(
        plan.velocity,
        x0,
        plan.cond_of(filled),
        mesh=mesh,
        **plan.solve_options(),
    )
    arrays = {"x1": found.x1, "status": found.status, "num_evals": found.num_evals}
    arrays |= {name: getattr(found.energy, name) for name in ENERGIES}
    if settings.profile:
        arrays |= {name: getattr(found.profile, name) for name in PROFILE}
    kept = {"index": filled} | ({} if label is None else {"label": label})
    kept |= {} if plan.x0 is None else {STARTS: projected(np.asarray(x0))}
    kept |= {name: np.asarray(array) for name, array in arrays.items()}
    return {name: array if name == TIMES else array[:count] for name, array in kept.items()}


def _joined(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {
        name: first if name == TIMES else np.concatenate([batch[name] for batch in batches])
        for name, first in batches[0].items()
    }


def _samples(job: Job, numbers: Sequence[int]) -> int:
    return sum(len(job.rows(number)) for number in numbers)


def _summary(job: Job, mine: range) -> str:
    """A sentence on the samples of a finished run: how many failed, and the first of them."""
    counts, first = dict.fromkeys(FAILURES, 0), {status: list[str]() for status in FAILURES}
    for number in mine:
        statuses = read_array(job.path(number), "status")
        for status in FAILURES:
            bad = np.flatnonzero(statuses == status)
            counts[status] += bad.size
            room = max(BAD_NAMED - len(first[status]), 0)
            first[status] += [str(job.rows(number)[place]) for place in bad[:room]]
    failed = [
        f"{counts[status]:,} {failure} (samples {', '.join(first[status])}"
        + (", ...)" if counts[status] > len(first[status]) else ")")
        for status, failure in FAILURES.items()
        if counts[status]
    ]
    plural = "" if len(mine) == 1 else "s"
    of_how_many = f"{_samples(job, mine):,} samples in {len(mine):,} shard{plural}"
    return ", ".join([of_how_many, *(failed or ["all of them finite"])])
