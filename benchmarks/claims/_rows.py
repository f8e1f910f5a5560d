"""Rows of a table of F_mem and Fréchet distance, compared with a baseline on the same noise."""

from typing import Any, NamedTuple

import numpy as np

from benchmarks.claims._runs import Run
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import CONFIDENCE
from kinetic_jax.metrics import Memorization, memorization

FRECHET_RESAMPLES = 200


class Row(NamedTuple):
    """One setting, measured.

    Attributes:
        run: its samples.
        copied: which of them are copies.
        features: the classifier's, of the samples.
        frechet: their Fréchet distance to those of the held-out images.
        spread: that distance in resamples of the noise, the same for every row, shape
            (resamples,); biased upwards, by as much in every row.
    """

    run: Run
    copied: Memorization
    features: np.ndarray
    frechet: float
    spread: np.ndarray


def measured(run: Run, subjects: Subjects) -> Row:
    """Finds the copies among the samples of a run, and how far the samples are from real images."""
    copied = memorization(run.images, subjects.few, progress=False)
    features = subjects.features(run.images)
    place = np.cumsum(run.good) - 1  # of a row of the noise among the good ones
    draws, distances = np.random.default_rng(0), []
    for _ in range(FRECHET_RESAMPLES):
        drawn = draws.integers(len(run.good), size=len(run.good))
        own = place[drawn[run.good[drawn]]]
        distances.append(subjects.frechet(features[own]))
    return Row(run, copied, features, subjects.frechet(features), np.array(distances))


def compared(name: str, family: str, row: Row, baseline: Row) -> dict[str, Any]:
    """The row as JSON has it, with its differences from the baseline, sample by sample.

    Args:
        name: what the setting is called.
        family: which rows it belongs with.
        row: what was measured.
        baseline: the row of no gain on the same noise.
    """
    both = row.run.good & baseline.run.good
    mine, theirs = both[row.run.good], both[baseline.run.good]
    pairs = row.copied.memorized[mine].astype(float) - baseline.copied.memorized[theirs]
    moved = row.spread - baseline.spread
    return {
        "name": name,
        "family": family,
        "bad": row.run.bad,
        "evaluations": row.run.evaluations,
        "energy": float(row.run.quantities["total"].mean()),
        "f_mem": {"value": row.copied.fraction, "low": row.copied.low, "high": row.copied.high},
        "f_mem change": paired_difference(pairs),
        "frechet": about(row.frechet, row.spread),
        "frechet change": about(row.frechet - baseline.frechet, moved),
    }


def about(value: float, draws: np.ndarray) -> dict[str, float]:
    """A statistic with the spread of its resamples, less their bias: they lie around the value."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail]) - draws.mean() + value
    return {"value": float(value), "low": float(low), "high": float(high)}


def paired_difference(pairs: np.ndarray, z: float = 1.96) -> dict[str, float]:
    """The mean of differences −1, 0 and 1 of paired samples, with an interval.

    Wald's with half a pair added to each kind (Agresti and Min, Simple improved confidence
    intervals for comparing matched proportions, 2005): few pairs that differ show nothing. `z` is
    the normal quantile, by default that of 95%.
    """
    more, less, n = np.sum(pairs > 0) + 0.5, np.sum(pairs < 0) + 0.5, len(pairs) + 2
    middle = (more - less) / n
    half = z * np.sqrt(more + less - (more - less) ** 2 / n) / n
    return {"value": float(pairs.mean()), "low": float(middle - half), "high": float(middle + half)}
