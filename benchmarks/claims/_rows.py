"""Rows of a table of F_mem and Fréchet distance, compared with a baseline on the same noise."""

from typing import Any, NamedTuple

import numpy as np

from benchmarks.claims._runs import Run
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import CONFIDENCE, as_json, share
from kinetic_jax.metrics import Memorization, memorization, paired_difference
from kinetic_jax.metrics._comparison import resampled

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

    @property
    def flags(self) -> np.ndarray:
        """1 for a copy, NaN for a bad trajectory, shape (rows of the noise,)."""
        flags = np.full(len(self.run.is_valid), np.nan)
        flags[self.run.is_valid] = self.copied.memorized
        return flags


def measured(run: Run, subjects: Subjects) -> Row:
    """Finds the copies among the samples of a run, and how far the samples are from real images."""
    copied = memorization(run.images, subjects.few, progress=False)
    features = subjects.features(run.images)
    spread = resampled(
        subjects.frechet, features, is_valid=run.is_valid, resamples=FRECHET_RESAMPLES
    )
    return Row(run, copied, features, subjects.frechet(features), spread)


def compared(name: str, family: str, row: Row, baseline: Row) -> dict[str, Any]:
    """The row as JSON has it, with its differences from the baseline, sample by sample.

    Args:
        name: what the setting is called.
        family: which rows it belongs with.
        row: what was measured.
        baseline: the row of no gain on the same noise.
    """
    change = paired_difference(row.flags, baseline.flags, interval="share", confidence=CONFIDENCE)
    moved = row.spread - baseline.spread
    return {
        "name": name,
        "family": family,
        "bad": row.run.bad,
        "evaluations": row.run.evaluations,
        "energy": float(row.run.quantities["total"].mean()),
        "f_mem": share(row.copied),
        "f_mem change": as_json(change),
        "frechet": about(row.frechet, row.spread),
        "frechet change": about(row.frechet - baseline.frechet, moved),
    }


def about(value: float, draws: np.ndarray) -> dict[str, float]:
    """A statistic with the spread of its resamples, less their bias: they lie around the value."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail]) - draws.mean() + value
    return {"value": float(value), "low": float(low), "high": float(high)}
