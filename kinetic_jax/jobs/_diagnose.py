"""`diagnose_job`: energies and memorization of a job's samples, one shard at a time."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kinetic_jax._checks import numbers, require, require_flag, short
from kinetic_jax._progress import progress_bar
from kinetic_jax._streaming import DEFAULT_CHUNK_SIZE, Rows
from kinetic_jax.jobs._diagnosis import Diagnosis, Failures, Fifths, Groups, Scales, Spread
from kinetic_jax.jobs._read import MAX_LISTED, Job
from kinetic_jax.jobs._shards import EnergyParts, Shard
from kinetic_jax.metrics import Correlation, EnergyGroup, energy_groups, spearman
from kinetic_jax.metrics._memorization import SWEEP, NearestTwo, check_rule, judged, nearest_two
from kinetic_jax.sampling._trajectories import STEP_LIMIT

# Each search reads all training rows, so several shards are searched together, up to these limits.
SAMPLES_PER_SEARCH, NUMBERS_PER_SEARCH = 4096, 2**22
RESAMPLES = 200  # more would take minutes for 50,000 samples
SCALE_ROWS = 1000  # training rows whose standard deviation is taken
MAX_SCALE_RATIO = 4.0
GROUPS = 5


def diagnose_job(
    job: Job,
    train: Rows,
    *,
    held_out: Rows | None = None,
    threshold: float = 1 / 3,
    confidence: float = 0.95,
    merge_duplicates: bool = False,
    duplicate_distance: float = 0.0,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> Diagnosis:
    """Relates the energies of a job's samples to memorization of training rows.

    Shards are checked, then read one by one; only a few numbers per sample stay in memory.
    Distances are measured in the scale of the raw data; the job's scaling converts the samples.

    Args:
        job: a finished job; see `open_job`.
        train: the raw training data, shape (rows, ...), with as many numbers per row as a sample;
            may be a memmap.
        held_out: raw data the model never saw, scored for comparison.
        threshold: threshold of the ratio of the two distances; see `memorization`.
        confidence: level of the intervals.
        merge_duplicates: see `memorization`.
        duplicate_distance: see `memorization`.
        chunk_size: training rows processed together.
        progress: whether to draw progress bars; None: on a terminal only.

    Returns:
        Energies, copies, their relation and the failed samples; see `Diagnosis`.

    Raises:
        ValueError: naming missing or damaged shards; if the size of a data row differs from that
            of a sample; if a setting is out of range.

    Example:
        >>> import jax, numpy as np, tempfile
        >>> from kinetic_jax.jobs import JobSettings, diagnose_job, run_job
        >>> from kinetic_jax.networks import network_field
        >>> field = network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1)
        >>> train = np.array([[0.0, 0.0], [9.0, 9.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     job = run_job(field, folder, JobSettings(n=20, num_steps=4), say=None)
        ...     diagnosis = diagnose_job(job, train)
        >>> diagnosis.job.n, diagnosis.memorization.ratios.shape
        (20, (20,))
    """
    require(isinstance(job, Job), "job", short(job), "be a Job: open a folder with open_job")
    check_rule(threshold, confidence, SWEEP, duplicate_distance, chunk_size)
    require_flag("merge_duplicates", merge_duplicates)
    rows = _shaped_rows("train", train, job)
    unseen = None if held_out is None else _shaped_rows("held_out", held_out, job)
    has_rows = unseen is None or unseen.shape[0] > 0
    require(has_rows, "held_out", "no rows", "have rows")
    expected = "have at least two rows, the nearest and the second nearest"
    require(rows.shape[0] >= 2, "train", rows.shape, expected)
    rule: dict[str, Any] = {
        "merge_duplicates": merge_duplicates,
        "duplicate_distance": duplicate_distance,
        "chunk_size": chunk_size,
    }
    job.check(progress=progress)
    samples, nearest_rows = _compare(job, rows, rule, progress)
    memorization = judged(nearest_rows, threshold, SWEEP, confidence)
    if unseen is not None:
        floor = _nearest_of_held_out(unseen, rows, rule, progress)
        memorization = memorization._replace(held_out=judged(floor, threshold, SWEEP, confidence))
    is_valid = (samples.status == 0) & memorization.valid
    parts = [part[is_valid].astype(np.float64) for part in vars(samples.energy).values()]
    energy = EnergyParts(*parts)
    nearest = memorization.distances[is_valid, 0].astype(np.float64)
    copies = memorization.memorized[is_valid]

    def by_fifth(part: np.ndarray) -> Groups:
        groups = (_fifths(part, values, confidence) for values in (copies, nearest))
        return Groups(*groups)

    return Diagnosis(
        job=job,
        num_train=rows.shape[0],
        threshold=threshold,
        confidence=confidence,
        index=samples.index,
        label=samples.label,
        status=samples.status,
        energy=samples.energy,
        memorization=memorization,
        failures=_failures(samples.status, is_valid),
        spreads=EnergyParts(*map(_spread, parts)),
        nearest_distance=_spread(nearest),
        fifths=Fifths(by_fifth(energy.total), by_fifth(energy.excess)),
        correlations=EnergyParts(
            *(_correlation(part, nearest, confidence, progress) for part in parts)
        ),
        scales=_scales(job, rows),
    )


def _shaped_rows(name: str, data: Rows | Sequence[Any], job: Job) -> Rows:
    """`data` reshaped to the shape of the samples, without reading it if possible."""
    data = numbers(name, data) if isinstance(data, Sequence) or not hasattr(data, "shape") else data
    event = _array_shape(job)
    size, event_size = math.prod(data.shape[1:]), math.prod(event)
    expected = f"have rows of {event_size} numbers, as the samples of shape {event} do"
    require(len(data.shape) >= 1 and size == event_size, name, f"shape {data.shape}", expected)
    shape = (data.shape[0], *event)
    if tuple(data.shape) == shape:
        return data
    return data.reshape(shape) if hasattr(data, "reshape") else np.asarray(data).reshape(shape)


def _array_shape(job: Job) -> tuple[int, ...]:
    """The shape of a sample that is an array."""
    shape = job.event_shape
    if isinstance(shape, tuple):
        return shape
    raise ValueError(
        f"job must hold arrays, got samples of {shape}: dicts are compared by "
        "kinetic_jax.memorization(..., embed=)"
    )


def _compare(
    job: Job, train: Rows, rule: dict[str, Any], progress: bool | None
) -> tuple[Shard, NearestTwo]:
    """All shards as one without samples, and the two nearest training rows of each sample."""
    shards: list[Shard] = []
    nearest: list[NearestTwo] = []
    done = 0
    with progress_bar("comparing with training data", job.n, show=progress) as update:
        for searched, raw in _grouped_shards(job):
            shards += searched
            nearest.append(nearest_two(raw, train, **rule, progress=False))
            done += len(raw)
            del raw  # frees memory before the next shards are read
            update(done, "")
    return Shard.joined(shards), _joined(nearest)


def _grouped_shards(job: Job) -> Iterator[tuple[list[Shard], np.ndarray]]:
    """Yields shards without their samples, and the raw samples, enough for one search."""
    shards: list[Shard] = []
    raw: list[np.ndarray] = []
    target = min(SAMPLES_PER_SEARCH, NUMBERS_PER_SEARCH // math.prod(_array_shape(job)))
    for number, shard in enumerate(job.shards()):
        shards.append(dataclasses.replace(shard, x1=shard.x1[:0].copy(), profile=None))
        raw.append(job.scaling.invert(shard.x1))
        del shard
        if sum(map(len, raw)) >= target or number == job.num_shards - 1:
            rows = np.concatenate(raw)
            raw.clear()
            yield shards, rows
            shards, rows = [], np.zeros(0)


def _nearest_of_held_out(
    held_out: Rows, train: Rows, rule: dict[str, Any], progress: bool | None
) -> NearestTwo:
    nearest: list[NearestTwo] = []
    number = held_out.shape[0]
    with progress_bar("held-out data", number, show=progress) as update:
        for start in range(0, number, SAMPLES_PER_SEARCH):
            part = np.asarray(held_out[start : start + SAMPLES_PER_SEARCH])
            part = part if part.dtype == np.float64 else part.astype(np.float32)
            nearest.append(nearest_two(part, train, **rule, progress=False))
            update(min(start + SAMPLES_PER_SEARCH, number), "")
    return _joined(nearest)


def _joined(parts: list[NearestTwo]) -> NearestTwo:
    return NearestTwo(*map(np.concatenate, zip(*parts, strict=True)))


def _failures(status: np.ndarray, is_valid: np.ndarray) -> Failures:
    failed = np.flatnonzero(~is_valid)
    limit = int(np.sum(status == STEP_LIMIT))
    return Failures(failed.size - limit, limit, failed[:MAX_LISTED].tolist())


def _spread(values: np.ndarray) -> Spread:
    mean = float(values.mean()) if values.size else math.nan
    sd = float(values.std(ddof=1)) if values.size > 1 else math.nan
    quartiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]) if values.size else [math.nan] * 5
    return Spread(mean, sd, *map(float, quartiles))


def _scales(job: Job, rows: Rows) -> Scales:
    samples = job.scaling.invert(next(iter(job.shards())).x1).astype(np.float64)
    subset = np.asarray(rows[:: -(-rows.shape[0] // SCALE_ROWS)], np.float64)
    finite = samples[np.isfinite(samples)]
    sd, train_sd = float(finite.std()) if finite.size else math.nan, float(subset.std())
    differs = sd > MAX_SCALE_RATIO * train_sd or train_sd > MAX_SCALE_RATIO * sd
    return Scales(sd, train_sd, not differs)


def _fifths(energy: np.ndarray, values: np.ndarray, confidence: float) -> list[EnergyGroup]:
    if not energy.size:
        return []
    number = min(GROUPS, energy.size)
    return energy_groups(energy, values, number, confidence=confidence, resamples=RESAMPLES)


def _correlation(
    energy: np.ndarray, nearest: np.ndarray, confidence: float, progress: bool | None
) -> Correlation:
    if energy.size < 3 or not np.ptp(energy) or not np.ptp(nearest):
        reason = "fewer than three samples, or equal numbers alone"
        return Correlation(math.nan, math.nan, math.nan, reason)
    return spearman(energy, nearest, confidence=confidence, resamples=RESAMPLES, progress=progress)
