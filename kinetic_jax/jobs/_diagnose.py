"""`diagnose_job`: what the energies of many samples go with, a shard at a time."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from kinetic_jax._checks import numbers, require, require_flag
from kinetic_jax._progress import progress_bar
from kinetic_jax.jobs._read import Job
from kinetic_jax.jobs._shards import ENERGIES
from kinetic_jax.metrics import (
    SWEEP,
    Memorization,
    NearestTwo,
    check_rule,
    energy_groups,
    judged,
    nearest_two,
    spearman,
)
from kinetic_jax.sampling import STEP_LIMIT
from kinetic_jax.streaming import DEFAULT_CHUNK_SIZE

# Each search reads all training rows, and so is made for several shards, up to so many samples or
# so many numbers in them.
TOGETHER, NUMBERS_TOGETHER = 4096, 2**22
BAD_NAMED = 10
RESAMPLES = 200  # of 50,000 samples in each; more would take minutes
SCALED_BY = 1000  # rows
UNLIKE = 4.0  # of one scale by the other
GROUPS = 5
GROUPED_BY = ("total", "excess")


class Diagnosis(NamedTuple):
    """What `diagnose_job` returns.

    Attributes:
        summary: as JSON could hold it, but for NaN where there is nothing to tell.
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
    """Energies of a job's samples, and which of them are copies of training rows.

    Shards are checked, then read one after the other; only a few numbers per sample are kept.
    Distances are taken in raw data's scale: the samples are brought there by the job's scaling.

    Args:
        job: a finished job; see `open_job`.
        train: the raw training data, shape (rows, ...) of as many numbers a row as a sample has;
            may be a memmap.
        held_out: raw data the model never saw: what they score is the floor.
        threshold: of the ratio of the two distances; see `memorization`.
        confidence: of the intervals.
        merge_duplicates: see `memorization`.
        duplicate_distance: see `memorization`.
        chunk_size: training rows looked at together.
        progress: whether to draw progress bars; None: on a terminal only.

    Raises:
        ValueError: naming the shards that are missing or damaged; if the data do not have the
            samples' size, or a setting is out of range.

    Example:
        >>> import jax, numpy as np, tempfile
        >>> from kinetic_jax import JobSettings, diagnose_job, network_field, run_job
        >>> field = network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1)
        >>> train = np.array([[0.0, 0.0], [9.0, 9.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     job = run_job(field, folder, JobSettings(n=20, steps=4), say=None)
        ...     found = diagnose_job(job, train)
        >>> found.summary["n"], found.table["ratio"].shape
        (20, (20,))
    """
    require(isinstance(job, Job), "job", repr(job), "be a job of open_job or run_job")
    check_rule(threshold, confidence, SWEEP, duplicate_distance, chunk_size)
    require_flag("merge_duplicates", merge_duplicates)
    rows = _rows_like_samples("train", train, job)
    reserved = None if held_out is None else _rows_like_samples("held_out", held_out, job)
    some = reserved is None or len(reserved) > 0
    require(some, "held_out", "no rows", "have rows")
    words = "have at least two rows, the nearest and the second nearest"
    require(len(rows) >= 2, "train", rows.shape, words)
    rule: dict[str, Any] = {
        "merge_duplicates": merge_duplicates,
        "duplicate_distance": duplicate_distance,
        "chunk_size": chunk_size,
    }
    job.check(progress=progress)
    table, nearest = _looked_at(job, rows, rule, progress)
    found = judged(nearest, threshold, SWEEP, confidence)
    if reserved is not None:
        floor = _nearest_of_held_out(reserved, rows, rule, progress)
        found = found._replace(held_out=judged(floor, threshold, SWEEP, confidence))
    table |= {
        "nearest": found.distances[:, 0],
        "second": found.distances[:, 1],
        "nearest_row": found.indices[:, 0],
        "ratio": found.ratios,
        "memorized": found.memorized,
    }
    summary = _summary(job, len(rows), table, found, threshold, confidence, progress)
    summary["scale"] = _scales(job, rows)
    return Diagnosis(summary, table, found)


def _rows_like_samples(name: str, data: Any, job: Job) -> Any:
    """`data` in the samples' own shape, unread."""
    data = data if hasattr(data, "shape") else numbers(name, data)
    size, wanted = int(np.prod(data.shape[1:])), int(np.prod(job.event_shape))
    words = f"have rows of {wanted} numbers, as the samples of shape {job.event_shape} do"
    require(data.ndim >= 1 and size == wanted, name, f"shape {data.shape}", words)
    shape = (len(data), *job.event_shape)
    return data if data.shape == shape else data.reshape(shape)


def _looked_at(
    job: Job, train: Any, rule: dict[str, Any], progress: bool | None
) -> tuple[dict[str, np.ndarray], NearestTwo]:
    """What is kept of each sample, and its two nearest training rows."""
    parts: list[dict[str, np.ndarray]] = []
    found: list[NearestTwo] = []
    done = 0
    with progress_bar("comparing with training data", job.n, show=progress) as update:
        for kept, raw in _groups(job):
            parts += kept
            found.append(nearest_two(raw, train, **rule, progress=False))
            done += len(raw)
            del raw  # before the next ones are read
            update(done, "")
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return table, NearestTwo(*map(np.concatenate, zip(*found, strict=True)))


def _groups(job: Job) -> Iterator[tuple[list[dict[str, np.ndarray]], np.ndarray]]:
    """What is kept of some shards, and their samples in raw data's scale, enough for a search."""
    kept: list[dict[str, np.ndarray]] = []
    raw: list[np.ndarray] = []
    enough = min(TOGETHER, NUMBERS_TOGETHER // math.prod(job.event_shape))
    for number, shard in enumerate(job.shards()):
        label = {} if shard.label is None else {"label": shard.label}
        kept.append({"index": shard.index, **label, "status": shard.status, **shard.energy})
        raw.append(job.scaling.invert(shard.x1))
        del shard
        if sum(map(len, raw)) >= enough or number == job.num_shards - 1:
            rows = np.concatenate(raw)
            raw.clear()
            yield kept, rows
            kept, rows = [], np.zeros(0)


def _nearest_of_held_out(
    held_out: Any, train: Any, rule: dict[str, Any], progress: bool | None
) -> NearestTwo:
    found: list[NearestTwo] = []
    with progress_bar("held-out data", len(held_out), show=progress) as update:
        for start in range(0, len(held_out), TOGETHER):
            part = np.asarray(held_out[start : start + TOGETHER])
            part = part if part.dtype == np.float64 else part.astype(np.float32)
            found.append(nearest_two(part, train, **rule, progress=False))
            update(min(start + TOGETHER, len(held_out)), "")
    return NearestTwo(*map(np.concatenate, zip(*found, strict=True)))


def _summary(
    job: Job,
    train_rows: int,
    table: dict[str, np.ndarray],
    found: Memorization,
    threshold: float,
    confidence: float,
    progress: bool | None,
) -> dict[str, Any]:
    good = (table["status"] == 0) & found.valid
    energy = {name: table[name][good].astype(np.float64) for name in ENERGIES}
    nearest = found.distances[good, 0].astype(np.float64)
    copies = found.memorized[good]
    summary: dict[str, Any] = {
        "folder": str(job.folder),
        "n": job.n,
        "train": train_rows,
        "threshold": threshold,
        "confidence": confidence,
        "bad_samples": _bad(table["status"], good),
        "energy": {name: _spread(values) for name, values in energy.items()},
        "nearest_distance": _spread(nearest),
        "memorization": _share(found),
    }
    if found.held_out is not None:
        over, low, high = found.excess
        summary["held_out"] = _share(found.held_out)
        summary["over_held_out"] = {"fraction": over, "interval": [low, high]}
    summary["fifths"] = {
        name: _fifths(energy[name], copies, nearest, confidence) for name in GROUPED_BY
    }
    summary["spearman_with_nearest_distance"] = {
        name: _correlation(values, nearest, confidence, progress) for name, values in energy.items()
    }
    return summary


def _bad(status: np.ndarray, good: np.ndarray) -> dict[str, Any]:
    """How many samples are left out, why, and the first of them."""
    which = np.flatnonzero(~good)
    limit = int(np.sum(status == STEP_LIMIT))
    first = which[:BAD_NAMED].tolist()
    return {"not_finite": which.size - limit, "step_limit": limit, "first": first}


def _spread(values: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation (with n − 1) and quartiles; NaN of nothing."""
    nan = float("nan")
    few = values.size < 2
    quartiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]) if values.size else [nan] * 5
    least, q1, median, q3, most = map(float, quartiles)
    return {
        "mean": float(values.mean()) if values.size else nan,
        "sd": nan if few else float(values.std(ddof=1)),
        "min": least,
        "q1": q1,
        "median": median,
        "q3": q3,
        "max": most,
    }


def _scales(job: Job, rows: Any) -> dict[str, Any]:
    """Standard deviation over the numbers of some samples and of some training rows."""
    samples = job.scaling.invert(next(iter(job.shards())).x1).astype(np.float64)
    some = np.asarray(rows[:: -(-len(rows) // SCALED_BY)], np.float64)
    finite = samples[np.isfinite(samples)]
    of_samples, of_train = float(finite.std()) if finite.size else float("nan"), float(some.std())
    unlike = of_samples > UNLIKE * of_train or of_train > UNLIKE * of_samples
    return {"samples": of_samples, "train": of_train, "alike": not unlike}


def _share(found: Memorization) -> dict[str, Any]:
    return {
        "fraction": found.fraction,
        "interval": [found.low, found.high],
        "bootstrap_interval": list(found.bootstrap),
        "number": int(found.valid.sum()),
        "duplicated": int(found.duplicated.sum()),
    }


def _fifths(
    energy: np.ndarray, copies: np.ndarray, nearest: np.ndarray, confidence: float
) -> list[dict[str, Any]]:
    """F_mem and the distance to the nearest training row by fifth of an energy, lowest first."""
    if not energy.size:
        return []
    groups = min(GROUPS, energy.size)
    over: dict[str, Any] = {"confidence": confidence, "resamples": RESAMPLES}
    both = (energy_groups(energy, values, groups, **over) for values in (copies, nearest))
    return [
        {
            "samples": copied.number,
            "range": [copied.lowest, copied.highest],
            "f_mem": copied.mean,
            "f_mem_interval": [copied.low, copied.high],
            "nearest_distance": far.mean,
            "nearest_distance_interval": [far.low, far.high],
        }
        for copied, far in zip(*both, strict=True)
    ]


def _correlation(
    energy: np.ndarray, nearest: np.ndarray, confidence: float, progress: bool | None
) -> dict[str, Any]:
    """Spearman's; NaN where there are no ranks to compare."""
    if energy.size < 3 or not np.ptp(energy) or not np.ptp(nearest):
        return {"value": float("nan"), "interval": [float("nan")] * 2}
    found = spearman(energy, nearest, confidence=confidence, resamples=RESAMPLES, progress=progress)
    return {"value": found.value, "interval": [found.low, found.high]}
