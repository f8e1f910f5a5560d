"""Rows of a table of F_mem and Fréchet distance, compared with a baseline on the same noise."""

from typing import Any, NamedTuple

import numpy as np

from benchmarks.claims._runs import Run
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import CONFIDENCE, as_json, share, share_of
from kinetic_jax.metrics import Memorization, memorization, paired_difference
from kinetic_jax.metrics._comparison import resampled

FRECHET_RESAMPLES = 200


class Distance(NamedTuple):
    """A Fréchet distance to the held-out images.

    Attributes:
        frechet: the distance.
        spread: that in resamples of the noise, shape (resamples,).
    """

    frechet: float
    spread: np.ndarray


class Row(NamedTuple):
    """One setting, measured.

    Attributes:
        run: its samples.
        copied: the copies among them, and among the completed ones.
        features: the classifier's, of the samples.
        frechet: their Fréchet distance to those of the held-out images.
        spread: that distance in resamples of the noise, the same for every row, shape
            (resamples,); biased upwards, by as much in every row.
        completed: distance and spread of the completed samples.
    """

    run: Run
    copied: Memorization
    features: np.ndarray
    frechet: float
    spread: np.ndarray
    completed: Distance

    @property
    def flags(self) -> np.ndarray:
        """1 for a copy, NaN for a bad trajectory, shape (rows of the noise,)."""
        return self._flags(self.copied)

    @property
    def completed_flags(self) -> np.ndarray:
        """The same of the completed samples."""
        assert self.copied.completed is not None, "measured gives the completed samples"
        return self._flags(self.copied.completed)

    def _flags(self, copied: Memorization) -> np.ndarray:
        flags = np.full(len(self.run.is_valid), np.nan)
        flags[self.run.is_valid] = copied.memorized
        return flags


def measured(run: Run, subjects: Subjects) -> Row:
    """Finds the copies among the samples of a run, and how far the samples are from real images."""
    copied = memorization(run.images, subjects.few, completed=run.completed, progress=False)
    features = subjects.features(run.images)
    own = distance(features, run.is_valid, subjects)
    completed = distance(subjects.features(run.completed), run.is_valid, subjects)
    return Row(run, copied, features, *own, completed)


def distance(features: np.ndarray, is_valid: np.ndarray, subjects: Subjects) -> Distance:
    """The Fréchet distance of features of samples, and that in resamples of the noise."""
    spread = resampled(subjects.frechet, features, is_valid=is_valid, resamples=FRECHET_RESAMPLES)
    return Distance(subjects.frechet(features), spread)


def compared(name: str, family: str, row: Row, baseline: Row) -> dict[str, Any]:
    """The row as JSON has it, with its differences from the baseline, sample by sample.

    Args:
        name: of the setting.
        family: of similar settings.
        row: the measured setting.
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
        "residual": float(row.run.residual.mean()),
        "completed": _completed(row, baseline),
    }


def _completed(row: Row, baseline: Row) -> dict[str, Any]:
    """F_mem and distance of the completed samples, with their differences from the baseline's."""
    copied, plain = row.copied.completed, baseline.copied
    assert copied is not None, "measured gives the completed samples"
    own, other = row.completed_flags, baseline.completed_flags
    change = paired_difference(own, other, interval="share", confidence=CONFIDENCE)
    nearest = [np.full(len(own), -1) for _ in range(2)]
    nearest[0][row.run.is_valid] = copied.indices[:, 0]
    nearest[1][baseline.run.is_valid] = plain.indices[:, 0]
    is_copy = (baseline.flags == 1) & row.run.is_valid
    return {
        "f_mem": share(copied),
        "f_mem change": as_json(change),
        "frechet": about(*row.completed),
        "frechet change": about(
            row.completed.frechet - baseline.completed.frechet,
            row.completed.spread - baseline.completed.spread,
        ),
        "kept copies": share_of((nearest[0] == nearest[1])[is_copy]),
    }


def about(value: float, draws: np.ndarray) -> dict[str, float]:
    """A statistic with the spread of its resamples, less their bias: they lie around the value."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail]) - draws.mean() + value
    return {"value": float(value), "low": float(low), "high": float(high)}
