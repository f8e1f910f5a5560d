"""`diagnose_job`: energies and memorization of a job's samples, one shard at a time."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from kinetic_jax._checks import numbers, require, require_flag
from kinetic_jax._progress import progress_bar
from kinetic_jax.jobs._read import MAX_LISTED, Job
from kinetic_jax.jobs._shards import ENERGIES
from kinetic_jax.metrics import (
    SWEEP,
    Memorization,
    NearestTwo,
    check_rule,
    energy_table,
    judged,
    nearest_two,
    spearman,
)
from kinetic_jax.sampling import STEP_LIMIT
from kinetic_jax.streaming import DEFAULT_CHUNK_SIZE, Rows

# Each search reads all training rows, so several shards are searched together, up to these limits.
SAMPLES_PER_SEARCH, NUMBERS_PER_SEARCH = 4096, 2**22
RESAMPLES = 200  # more would take minutes for 50,000 samples
SCALE_ROWS = 1000  # training rows whose standard deviation is taken
MAX_SCALE_RATIO = 4.0
GROUPS = 5
GROUPED_BY = ("total", "excess")


class Diagnosis(NamedTuple):
    """The result of `diagnose_job`.

    Attributes:
        summary: values of JSON types, and NaN for undefined statistics.
        table: per-sample arrays by name: index, label (if any), status, the energies, distances
            to the nearest and second nearest training row, nearest_row, ratio, memorized.
        memorization: F_mem of the samples, and of the held-out data if any.
    """

    summary: dict[str, Any]
    table: dict[str, np.ndarray]
    memorization: Memorization


def diagnose_job(
    job: Job,
    train: Any,
    *,
    held_out: Any = None,
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

    Raises:
        ValueError: naming missing or damaged shards; if the size of a data row differs from that
            of a sample; if a setting is out of range.

    Example:
        >>> import jax, numpy as np, tempfile
        >>> from kinetic_jax import JobSettings, diagnose_job, network_field, run_job
        >>> field = network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1)
        >>> train = np.array([[0.0, 0.0], [9.0, 9.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     job = run_job(field, folder, JobSettings(n=20, steps=4), say=None)
        ...     diagnosis = diagnose_job(job, train)
        >>> diagnosis.summary["n"], diagnosis.table["ratio"].shape
        (20, (20,))
    """
    require(isinstance(job, Job), "job", repr(job), "be a job of open_job or run_job")
    check_rule(threshold, confidence, SWEEP, duplicate_distance, chunk_size)
    require_flag("merge_duplicates", merge_duplicates)
    rows = _shaped_rows("train", train, job)
    reserved = None if held_out is None else _shaped_rows("held_out", held_out, job)
    has_rows = reserved is None or reserved.shape[0] > 0
    require(has_rows, "held_out", "no rows", "have rows")
    expected = "have at least two rows, the nearest and the second nearest"
    require(rows.shape[0] >= 2, "train", rows.shape, expected)
    rule: dict[str, Any] = {
        "merge_duplicates": merge_duplicates,
        "duplicate_distance": duplicate_distance,
        "chunk_size": chunk_size,
    }
    job.check(progress=progress)
    table, nearest = _compare(job, rows, rule, progress)
    memorization = judged(nearest, threshold, SWEEP, confidence)
    if reserved is not None:
        floor = _nearest_of_held_out(reserved, rows, rule, progress)
        held_out_share = judged(floor, threshold, SWEEP, confidence)
        memorization = memorization._replace(held_out=held_out_share)
    table |= {
        "nearest": memorization.distances[:, 0],
        "second": memorization.distances[:, 1],
        "nearest_row": memorization.indices[:, 0],
        "ratio": memorization.ratios,
        "memorized": memorization.memorized,
    }
    summary = _summary(job, rows.shape[0], table, memorization, threshold, confidence, progress)
    summary["scale"] = _scales(job, rows)
    return Diagnosis(summary, table, memorization)


def _shaped_rows(name: str, data: Any, job: Job) -> Rows:
    """`data` reshaped to the shape of the samples, without reading it if possible."""
    data = data if hasattr(data, "shape") else numbers(name, data)
    size, event_size = int(np.prod(data.shape[1:])), int(np.prod(job.event_shape))
    expected = f"have rows of {event_size} numbers, as the samples of shape {job.event_shape} do"
    require(data.ndim >= 1 and size == event_size, name, f"shape {data.shape}", expected)
    shape = (data.shape[0], *job.event_shape)
    return data if data.shape == shape else data.reshape(shape)


def _compare(
    job: Job, train: Rows, rule: dict[str, Any], progress: bool | None
) -> tuple[dict[str, np.ndarray], NearestTwo]:
    """Per-sample arrays of the job, and the two nearest training rows of each sample."""
    parts: list[dict[str, np.ndarray]] = []
    nearest: list[NearestTwo] = []
    done = 0
    with progress_bar("comparing with training data", job.n, show=progress) as update:
        for kept, raw in _grouped_shards(job):
            parts += kept
            nearest.append(nearest_two(raw, train, **rule, progress=False))
            done += len(raw)
            del raw  # frees memory before the next shards are read
            update(done, "")
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return table, NearestTwo(*map(np.concatenate, zip(*nearest, strict=True)))


def _grouped_shards(job: Job) -> Iterator[tuple[list[dict[str, np.ndarray]], np.ndarray]]:
    """Yields the per-sample arrays and the raw samples of enough shards for one search."""
    kept: list[dict[str, np.ndarray]] = []
    raw: list[np.ndarray] = []
    target = min(SAMPLES_PER_SEARCH, NUMBERS_PER_SEARCH // math.prod(job.event_shape))
    for number, shard in enumerate(job.shards()):
        label = {} if shard.label is None else {"label": shard.label}
        kept.append({"index": shard.index, **label, "status": shard.status, **shard.energy})
        raw.append(job.scaling.invert(shard.x1))
        del shard
        if sum(map(len, raw)) >= target or number == job.num_shards - 1:
            rows = np.concatenate(raw)
            raw.clear()
            yield kept, rows
            kept, rows = [], np.zeros(0)


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
    return NearestTwo(*map(np.concatenate, zip(*nearest, strict=True)))


def _summary(
    job: Job,
    train_rows: int,
    table: dict[str, np.ndarray],
    memorization: Memorization,
    threshold: float,
    confidence: float,
    progress: bool | None,
) -> dict[str, Any]:
    is_valid = (table["status"] == 0) & memorization.valid
    energy = {name: table[name][is_valid].astype(np.float64) for name in ENERGIES}
    nearest = memorization.distances[is_valid, 0].astype(np.float64)
    copies = memorization.memorized[is_valid]
    summary: dict[str, Any] = {
        "folder": str(job.folder),
        "n": job.n,
        "train": train_rows,
        "threshold": threshold,
        "confidence": confidence,
        "bad_samples": _failures(table["status"], is_valid),
        "energy": {name: _spread(values) for name, values in energy.items()},
        "nearest_distance": _spread(nearest),
        "memorization": _share_summary(memorization),
    }
    if memorization.held_out is not None:
        excess, low, high = memorization.excess
        summary["held_out"] = _share_summary(memorization.held_out)
        summary["over_held_out"] = {"fraction": excess, "interval": [low, high]}
    statistics = {"f_mem": copies, "nearest_distance": nearest}
    draws: dict[str, Any] = {"confidence": confidence, "resamples": RESAMPLES}
    summary["fifths"] = {
        name: energy_table(energy[name], statistics, GROUPS, **draws) for name in GROUPED_BY
    }
    summary["spearman_with_nearest_distance"] = {
        name: _correlation(values, nearest, confidence, progress) for name, values in energy.items()
    }
    return summary


def _failures(status: np.ndarray, is_valid: np.ndarray) -> dict[str, Any]:
    """Counts of the excluded samples by reason, and the first of their indices."""
    failed = np.flatnonzero(~is_valid)
    limit = int(np.sum(status == STEP_LIMIT))
    first = failed[:MAX_LISTED].tolist()
    return {"not_finite": failed.size - limit, "step_limit": limit, "first": first}


def _spread(values: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation (with n − 1) and quartiles; NaN where undefined."""
    nan = math.nan
    quartiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]) if values.size else [nan] * 5
    least, q1, median, q3, most = map(float, quartiles)
    return {
        "mean": float(values.mean()) if values.size else nan,
        "sd": float(values.std(ddof=1)) if values.size > 1 else nan,
        "min": least,
        "q1": q1,
        "median": median,
        "q3": q3,
        "max": most,
    }


def _scales(job: Job, rows: Rows) -> dict[str, Any]:
    """Standard deviations of the first shard and of a subset of the training rows."""
    samples = job.scaling.invert(next(iter(job.shards())).x1).astype(np.float64)
    subset = np.asarray(rows[:: -(-rows.shape[0] // SCALE_ROWS)], np.float64)
    finite = samples[np.isfinite(samples)]
    sd, train_sd = float(finite.std()) if finite.size else math.nan, float(subset.std())
    differs = sd > MAX_SCALE_RATIO * train_sd or train_sd > MAX_SCALE_RATIO * sd
    return {"samples": sd, "train": train_sd, "alike": not differs}


def _share_summary(memorization: Memorization) -> dict[str, Any]:
    return {
        "fraction": memorization.fraction,
        "interval": [memorization.low, memorization.high],
        "bootstrap_interval": list(memorization.bootstrap),
        "number": int(memorization.valid.sum()),
        "duplicated": int(memorization.duplicated.sum()),
    }


def _correlation(
    energy: np.ndarray, nearest: np.ndarray, confidence: float, progress: bool | None
) -> dict[str, Any]:
    """Spearman correlation; NaN where it is undefined."""
    if energy.size < 3 or not np.ptp(energy) or not np.ptp(nearest):
        return {"value": math.nan, "interval": [math.nan] * 2}
    result = spearman(
        energy, nearest, confidence=confidence, resamples=RESAMPLES, progress=progress
    )
    return {"value": result.value, "interval": [result.low, result.high]}
