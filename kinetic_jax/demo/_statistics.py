"""Statistics of the demo: table rows, fifths of energy and paired differences."""

import dataclasses
from typing import NamedTuple

import numpy as np

from kinetic_jax.demo._digits import Classifier, Digits
from kinetic_jax.demo._results import (
    ClassifierScores,
    Completed,
    EnergyMeans,
    Fifth,
    HeldOut,
    Row,
)
from kinetic_jax.metrics import (
    Memorization,
    energy_groups,
    frechet_distance,
    memorization,
    paired_difference,
)
from kinetic_jax.metrics._comparison import resampled
from kinetic_jax.metrics._energy_groups import group_rows
from kinetic_jax.sampling import Trajectories

CONFIDENCE = 0.95
NUM_GROUPS = 5
ENDS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


class Judge:
    """The metrics of samples, shared by all rows.

    Args:
        digits: the split.
        seed: seed of the classifier and of the bootstrap.
    """

    def __init__(self, digits: Digits, seed: int):
        self.seed = seed
        self.train = digits.train.images
        self.classifier = Classifier(digits.metric, seed)
        held_out = digits.held_out.images
        self._reference = self.classifier.features(held_out)
        copies = self.memorization(held_out)
        half = len(held_out) // 2
        self.held_out = HeldOut(
            samples=len(held_out),
            f_mem=copies.fraction,
            f_mem_interval=[copies.low, copies.high],
            frechet_floor=frechet_distance(self._reference[:half], self._reference[half:]),
            confidence=float(self.classifier.confidence(held_out).mean()),
        )
        self.scores = ClassifierScores(
            self.classifier.accuracy(digits.held_out), self._reference.shape[1]
        )

    def memorization(
        self,
        images: np.ndarray,
        completed: np.ndarray | None = None,
        plain: np.ndarray | None = None,
    ) -> Memorization:
        """F_mem of images against the training images, in pixels."""
        return memorization(
            images, self.train, completed=completed, plain=plain, confidence=CONFIDENCE
        )

    def frechet(self, features: np.ndarray) -> float:
        """Fréchet distance to all held-out digits, in the classifier's features."""
        return frechet_distance(features, self._reference)


class Measured(NamedTuple):
    """The n valid samples of one row, measured.

    Attributes:
        name: name of the row.
        run: trajectories of all samples.
        is_valid: flags of the valid ones, shape (num_samples,).
        images: their x1.
        completed: those images completed by one evaluation.
        copies: their memorisation, and that of the completed ones.
        confidence: the classifier's confidence, shape (n,).
        features: the classifier's features, shape (n, features).
        frechet_draws: Fréchet distances of resamples of the noise, the same in every row.
    """

    name: str
    run: Trajectories
    is_valid: np.ndarray
    images: np.ndarray
    completed: np.ndarray
    copies: Memorization
    confidence: np.ndarray
    features: np.ndarray
    frechet_draws: np.ndarray

    def energy(self, part: str) -> np.ndarray:
        """A kinetic quantity of the valid samples, shape (n,)."""
        return np.asarray(getattr(self.run.energy, part))[self.is_valid]

    def flags(self, *, completed: bool = False) -> np.ndarray:
        """1 for a copy, NaN for a failed sample, shape (num_samples,)."""
        copies = self.copies.completed if completed else self.copies
        assert copies is not None, "measure gives the completed samples"
        flags = np.full(len(self.is_valid), np.nan)
        flags[self.is_valid] = copies.memorized
        return flags


def measure(
    name: str, run: Trajectories, completed: np.ndarray, plain: np.ndarray, judge: Judge
) -> Measured:
    """Measures one row; failed trajectories are excluded from all statistics.

    Args:
        name: name of the row.
        run: its trajectories.
        completed: its samples completed.
        plain: the samples from the same noise without a gain.
        judge: the metrics.
    """
    is_valid = np.asarray(run.status) == 0
    images, completed = np.asarray(run.x1)[is_valid], completed[is_valid]
    features = judge.classifier.features(images)
    return Measured(
        name=name,
        run=run,
        is_valid=is_valid,
        images=images,
        completed=completed,
        copies=judge.memorization(images, completed, plain[is_valid]),
        confidence=judge.classifier.confidence(images),
        features=features,
        frechet_draws=resampled(judge.frechet, features, is_valid=is_valid, seed=judge.seed),
    )


def compare(row: Measured, baseline: Measured, judge: Judge) -> Row:
    """The row of the table, with its changes from the baseline."""
    change = paired_difference(
        row.flags(),
        baseline.flags(),
        interval="bootstrap",
        confidence=CONFIDENCE,
        seed=judge.seed,
    )
    parts = [field.name for field in dataclasses.fields(EnergyMeans)]
    return Row(
        name=row.name,
        samples=len(row.images),
        bad_samples=int(np.sum(~row.is_valid)),
        energy=EnergyMeans(**{part: float(row.energy(part).mean()) for part in parts}),
        f_mem=row.copies.fraction,
        f_mem_interval=[row.copies.low, row.copies.high],
        f_mem_held_out=judge.held_out.f_mem,
        frechet=judge.frechet(row.features),
        confidence=float(row.confidence.mean()),
        evaluations=int(np.asarray(row.run.num_evals)[0]),
        f_mem_change=change.value,
        f_mem_change_interval=[change.low, change.high],
        frechet_change_interval=np.quantile(
            row.frechet_draws - baseline.frechet_draws, ENDS
        ).tolist(),
        completed=_completed(row, baseline, judge),
    )


def _completed(row: Measured, baseline: Measured, judge: Judge) -> Completed:
    copies, kept = row.copies.completed, row.copies.kept_copies
    assert copies is not None, "measure gives the completed samples"
    assert kept is not None, "measure gives the plain ones"
    change = paired_difference(
        row.flags(completed=True),
        baseline.flags(completed=True),
        interval="bootstrap",
        confidence=CONFIDENCE,
        seed=judge.seed,
    )
    return Completed(
        residual=float(np.mean(np.asarray(row.run.residual)[row.is_valid])),
        f_mem=copies.fraction,
        f_mem_interval=[copies.low, copies.high],
        f_mem_change=change.value,
        f_mem_change_interval=[change.low, change.high],
        frechet=judge.frechet(judge.classifier.features(row.completed)),
        kept_copies=None if np.isnan(kept.fraction) else kept.fraction,
    )


def by_fifth(row: Measured, part: str, judge: Judge) -> list[Fifth]:
    """Confidence and F_mem of the samples by fifth of a kinetic quantity, lowest first."""
    energy = row.energy(part)
    if not energy.size:
        return []
    number = min(NUM_GROUPS, energy.size)
    groups = {
        name: energy_groups(energy, values, number, confidence=CONFIDENCE, seed=judge.seed)
        for name, values in (("f_mem", row.copies.memorized), ("confidence", row.confidence))
    }
    table = group_rows(groups)
    parts = np.array_split(energy[np.argsort(energy, kind="stable")], number)
    return [
        Fifth(**fifth, mean=float(values.mean()))
        for fifth, values in zip(table, parts, strict=True)
    ]
