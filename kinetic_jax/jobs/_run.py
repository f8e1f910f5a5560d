"""`run_job`: resumable sampling to disk, shard by shard."""

import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from kinetic_jax._checks import require, short, whole_number
from kinetic_jax._files import PathLike, local_path
from kinetic_jax._interrupt import deferred_interrupt
from kinetic_jax._mesh import checked_mesh, replicated
from kinetic_jax._progress import check_progress, progress_bar
from kinetic_jax._state import EventShape
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.jobs._description import as_owner, matching_description, write_description
from kinetic_jax.jobs._folder import Log, Part, clear_parts, locked_log, refuse_foreign_files
from kinetic_jax.jobs._plan import Plan, Start, make_plan
from kinetic_jax.jobs._read import MAX_LISTED, Job
from kinetic_jax.jobs._settings import JobSettings
from kinetic_jax.jobs._shards import (
    ENERGIES,
    PROFILE,
    RESIDUAL,
    STARTS,
    TIMES,
    read_array,
    shard_name,
    was_written,
    write_shard,
    x1_names,
)
from kinetic_jax.sampling import sample
from kinetic_jax.sampling._probes import projected, same_positions
from kinetic_jax.sampling._trajectories import NOT_FINITE, STEP_LIMIT

FAILURES = {NOT_FINITE: "not finite", STEP_LIMIT: "at the step limit"}
Say = Callable[[str], None]


def run_job(
    field: VelocityField,
    out: PathLike,
    settings: JobSettings,
    *,
    event_shape: EventShape | None = None,
    x0: Start | None = None,
    batch_size: int = 256,
    mesh: jax.sharding.Mesh | None = None,
    part: tuple[int, int] | None = None,
    say: Say | None = print,
    progress: bool | None = None,
) -> Job:
    """Samples `settings.n` trajectories of a field into a folder, one file per shard.

    A run that was killed can be repeated with the same arguments and ends with the same files as an
    uninterrupted one. Files are written atomically, with checksums for `sha256sum -c`; only `*.log`
    contain clock times. Existing shards are checked first; damaged ones are reported and sampled
    again. At most one shard of samples is in memory.

    A job identifies its field by its arrays, and a field not made by `network_field` also by its
    velocity at a few fixed points (up to rounding, so that another machine may resume the job).

    Args:
        field: the velocity field, without the transforms of `settings`.
        out: the folder, created if needed. A job refuses to overwrite files that no job wrote.
        settings: all other settings that decide the samples.
        event_shape: shape of one sample, for a field that does not declare it; a dict of shapes
            for states that are dicts, which shards hold by their names ("x1.positions").
        x0: initial values instead of noise: a function from sample indices, a NumPy array of shape
            (batch,), to an array (batch, *event) or a dict of them. A resumed job compares its
            values for all existing samples with those stored (up to rounding; one projection per
            sample).
        batch_size: samples computed together; like `mesh` and `part` it affects only rounding.
        mesh: devices of this process to split batches over; see `sample`.
        part: (p, count) samples the shards with number p modulo count, for several processes that
            share a folder. Default: this process's place among those of `jax.distributed`.
        say: callback for messages; None disables them.
        progress: draw a progress bar; None: on a terminal only.

    Returns:
        The job; other processes that share the folder may still be running.

    Raises:
        ValueError: if a setting is out of range or does not fit the field; naming each differing
            setting, if the folder holds another job; naming a file that no job wrote; if another
            run uses the folder.
        OSError: naming the file that cannot be written (on a full disk, say).
        KeyboardInterrupt: after Ctrl-C, when the current batch is done; no partial file remains.

    Example:
        >>> import jax, tempfile
        >>> from kinetic_jax.jobs import JobSettings, run_job
        >>> from kinetic_jax.networks import network_field
        >>> field = network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     job = run_job(field, folder, JobSettings(n=5, shard_size=3, num_steps=4))
        5 samples in 2 shards, all of them finite
        >>> job.n, job.num_shards
        (5, 2)
    """
    folder = local_path("out", out)
    require(say is None or callable(say), "say", short(say), "be a function of a message, or None")
    require(isinstance(settings, JobSettings), "settings", short(settings), "be JobSettings")
    require(x0 is None or callable(x0), "x0", short(x0), "be a function of sample indices")
    check_progress(progress)
    batch_size = whole_number("batch_size", batch_size, 1)
    if mesh is not None:
        checked_mesh(mesh)
    plan = make_plan(as_field(field), settings, event_shape=event_shape, x0=x0)
    process, count = _checked_part(part)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out must be a folder to write to, got {out}: {error}") from error
    job = Job(folder, plan.about)
    shards = range(process, job.num_shards, count)
    files = Part(process, count, shards)
    # Before anything is written, and again under the lock: another run may be active until then.
    stored = matching_description(folder, plan.about)
    owner = as_owner(stored or plan.about)
    refuse_foreign_files(folder, files, owner, begun=stored is not None)
    if mesh is not None:
        plan = plan._replace(velocity=replicated(plan.velocity, mesh))
    with locked_log(folder, files) as log:
        clear_parts(folder, files)
        job = Job(folder, matching_description(folder, plan.about) or plan.about)
        todo = _missing_shards(job, shards, say, log, progress)  # refuses another job's shards
        size = min(batch_size, settings.shard_size, settings.n)
        _require_same_starts(job, plan, [number for number in shards if number not in todo], size)
        if process == 0:
            write_description(folder, job.about)
        _sample_shards(
            job,
            plan,
            todo,
            done=_num_samples(job, shards) - _num_samples(job, todo),
            batch_size=size,
            mesh=mesh,
            log=log,
            progress=progress,
        )
        if say is not None:
            say(_summary(job, shards))
        log("done")
    return job


def _checked_part(part: object) -> tuple[int, int]:
    if part is None:
        return jax.process_index(), jax.process_count()
    expected = "be a pair (p, count) with 0 <= p < count"
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise ValueError(f"part must {expected}, got {short(part)}")
    process, count = (whole_number("part", number) for number in part)
    require(0 <= process < count, "part", part, expected)
    return process, count


def _missing_shards(
    job: Job, shards: range, say: Say | None, log: Log, progress: bool | None
) -> list[int]:
    """Numbers of the missing and damaged shards; reports damaged ones and gaps."""
    last = max((number for number in shards if was_written(job.path(number))), default=-1)
    errors = job.errors(shards, progress)
    messages = [
        f"{shard_name(number)} {error}: sampled again"
        for number, error in errors.items()
        if number <= last
    ]
    present = f"{len(shards) - len(errors)} of {len(shards)} shards"
    if say is not None and last >= 0:
        say(f"{present} are there already")
    for message in messages:
        if say is not None:
            say(message)
        log(message)
    log(f"begun with {present} there")
    return list(errors)


def _require_same_starts(job: Job, plan: Plan, numbers: list[int], batch_size: int) -> None:
    """Raises if stored samples began at other values than those of `x0`."""
    if plan.x0 is None:
        return
    for number in numbers:
        before = read_array(job.path(number), STARTS)
        if before is None:  # written by a version that stored none
            continue
        batches = _batches(job.rows(number), batch_size)
        now = [projected(plan.start_of(index))[:n] for index, n in batches]
        if not same_positions(before, np.concatenate(now)):
            raise ValueError(
                f"{job.folder} holds a job of another x0: the samples in {shard_name(number)} "
                "began elsewhere; choose another folder"
            )


def _sample_shards(
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
    total = done + _num_samples(job, todo)
    speed = _Speed(done)
    with (
        deferred_interrupt() as interrupted,
        progress_bar("sampling", total, done=done, show=progress) as update,
    ):
        for number in todo:
            batches = []
            for index, count in _batches(job.rows(number), batch_size):
                if interrupted():
                    log(f"interrupted at {shard_name(number)}")
                    where = f"shard {number + 1} of {job.num_shards} ({shard_name(number)})"
                    raise KeyboardInterrupt(f"the same command goes on from {where}")
                batches.append(_sample_batch(plan, index, count, mesh))
                update(speed.add(count), str(speed))
            write_shard(job.path(number), _joined(batches), owner)
            log(f"{shard_name(number)} is written {speed}".rstrip())


class _Speed:
    """Samples per second since the end of the first batch, which includes compilation."""

    def __init__(self, done: int):
        self.done = done
        self.since: tuple[float, int] | None = None

    def add(self, count: int) -> int:
        self.done += count
        self.since = self.since or (time.monotonic(), self.done)
        return self.done

    def __str__(self) -> str:
        began, done = self.since or (0.0, self.done)
        seconds = time.monotonic() - began
        return f"{(self.done - done) / seconds:.4g} samples/s" if self.done > done else ""


def _batches(rows: range, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields indices, padded to one size for one compiled program, and their number."""
    index = np.arange(rows.start, rows.stop, dtype=np.uint32)
    for start in range(0, index.size, batch_size):
        batch = index[start : start + batch_size]
        yield np.pad(batch, (0, batch_size - batch.size), mode="edge"), batch.size


def _sample_batch(
    plan: Plan, index: np.ndarray, count: int, mesh: jax.sharding.Mesh | None
) -> dict[str, np.ndarray]:
    """Samples trajectories and returns the arrays of the first `count`."""
    label, x0 = plan.labels_of(index), plan.start_of(index)
    options = plan.measure_of(index, x0) | plan.solve_options()
    result = sample(plan.velocity, x0, plan.cond_of(index), mesh=mesh, **options)
    x1 = dict(zip(x1_names(result.x1), jax.tree.leaves(result.x1), strict=True))
    arrays = x1 | {"status": result.status, "num_evals": result.num_evals}
    arrays |= {name: getattr(result.energy, name) for name in ENERGIES}
    if plan.settings.profile:
        arrays |= {name: getattr(result.profile, name) for name in PROFILE}
    if plan.settings.residual:
        arrays[RESIDUAL] = result.residual
    stored = {"index": index} | ({} if label is None else {"label": label})
    stored |= {} if plan.x0 is None else {STARTS: projected(x0)}
    stored |= {name: np.asarray(array) for name, array in arrays.items()}
    return {name: array if name == TIMES else array[:count] for name, array in stored.items()}


def _joined(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {
        name: first if name == TIMES else np.concatenate([batch[name] for batch in batches])
        for name, first in batches[0].items()
    }


def _num_samples(job: Job, numbers: Sequence[int]) -> int:
    return sum(len(job.rows(number)) for number in numbers)


def _summary(job: Job, shards: range) -> str:
    """A sentence with the number of failed samples and the first of their indices."""
    counts, first = dict.fromkeys(FAILURES, 0), {status: list[str]() for status in FAILURES}
    for number in shards:
        statuses = read_array(job.path(number), "status")
        for status in FAILURES:
            places = np.flatnonzero(statuses == status)
            counts[status] += places.size
            room = max(MAX_LISTED - len(first[status]), 0)
            first[status] += [str(job.rows(number)[place]) for place in places[:room]]
    failed = [
        f"{counts[status]:,} {failure} (samples {', '.join(first[status])}"
        + (", ...)" if counts[status] > len(first[status]) else ")")
        for status, failure in FAILURES.items()
        if counts[status]
    ]
    plural = "" if len(shards) == 1 else "s"
    total = f"{_num_samples(job, shards):,} samples in {len(shards):,} shard{plural}"
    return ", ".join([total, *(failed or ["all of them finite"])])
