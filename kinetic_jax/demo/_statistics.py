"""Statistics of the demo: one row of the table, one fifth of a quantity, a paired difference."""

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import bootstrap

from kinetic_jax.demo._classifier import Classifier
from kinetic_jax.demo._digits import Digits
from kinetic_jax.metrics import Memorization, energy_groups, frechet_distance, memorization
from kinetic_jax.sampling import Trajectories

CONFIDENCE = 0.95
ENDS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


class Judge:
    """What samples are measured by; the same for every row.

    Args:
        digits: the split.
        seed: of the classifier and of the bootstrap.
    """

    def __init__(self, digits: Digits, seed: int):
        self.seed = seed
        self.train = digits.train.images
        self.classifier = Classifier(digits.metric, seed)
        self.accuracy = self.classifier.accuracy(digits.held_out)
        held_out = digits.held_out.images
        self._reference = self.classifier.features(held_out)
        self.held_out = self.memorization(held_out)
        self.held_out_confidence = float(self.classifier.confidence(held_out).mean())
        half = len(held_out) // 2
        self.num_features = self._reference.shape[1]
        self.frechet_floor = frechet_distance(self._reference[:half], self._reference[half:])

    def memorization(self, images: np.ndarray) -> Memorization:
        """F_mem of images against the training images, in pixels."""
        return memorization(images, self.train, confidence=CONFIDENCE)

    def frechet(self, images: np.ndarray) -> float:
        """Fréchet distance to all held-out digits, in the classifier's features."""
        return frechet_distance(self.classifier.features(images), self._reference)

    def frechet_changes(self, images: np.ndarray, baseline: np.ndarray) -> np.ndarray:
        """Paired bootstrap of the difference of two Fréchet distances.

        Both sides see the same resampled rows, so that the bias of few samples cancels.
        """
        rng = np.random.default_rng(self.seed)
        mine, theirs = map(self.classifier.features, (images, baseline))
        changes = []
        for _ in range(200):
            rows = rng.integers(len(mine), size=len(mine))
            pair = (frechet_distance(part[rows], self._reference) for part in (mine, theirs))
            changes.append(next(pair) - next(pair))
        return np.array(changes)

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Bootstrap interval of a mean; a single point where all values agree."""
        if np.ptp(values) == 0:
            return float(values[0]), float(values[0])
        found = bootstrap(
            (values,),
            np.mean,
            confidence_level=CONFIDENCE,
            n_resamples=2000,
            method="percentile",
            rng=np.random.default_rng(self.seed),
        ).confidence_interval
        return float(found.low), float(found.high)


class RowResult(NamedTuple):
    """One row: its numbers for the table, and what the pictures need.

    Attributes:
        table: what goes into `results.json`.
        images: x1 of the good samples.
        energy: their kinetic quantities, each (n,).
        memorized: whether each is memorised.
        confidence: the classifier's confidence in each.
        indices: each one's nearest training image.
        good: which of the trajectories are good, shape (num_samples,).
        ts: left ends of the steps.
        speed2: mean ||u||² over the good samples, per step.
    """

    table: dict[str, Any]
    images: np.ndarray
    energy: dict[str, np.ndarray]
    memorized: np.ndarray
    confidence: np.ndarray
    indices: np.ndarray
    good: np.ndarray
    ts: np.ndarray
    speed2: np.ndarray


def measure_row(name: str, trajectories: Trajectories, judge: Judge) -> RowResult:
    """Measures one row; bad trajectories are counted, and left out of every average."""
    assert trajectories.profile is not None, "the demo samples on a fixed grid"
    good = np.asarray(trajectories.status) == 0
    images = np.asarray(trajectories.x1)[good]
    parts = ("total", "launch", "landing", "displacement", "excess", "length")
    energy = {part: np.asarray(getattr(trajectories.energy, part))[good] for part in parts}
    found = judge.memorization(images)
    confidence = judge.classifier.confidence(images)
    table = {
        "name": name,
        "samples": len(images),
        "bad_samples": int(np.sum(~good)),
        "energy": {part: float(values.mean()) for part, values in energy.items()},
        "f_mem": found.fraction,
        "f_mem_interval": [found.low, found.high],
        "f_mem_held_out": judge.held_out.fraction,
        "frechet": judge.frechet(images),
        "confidence": float(confidence.mean()),
        "evaluations": int(np.asarray(trajectories.num_evals)[0]),
    }
    speed2 = np.asarray(trajectories.profile.speed2, np.float64)[good].mean(axis=0)
    return RowResult(
        table,
        images,
        energy,
        found.memorized,
        confidence,
        found.indices[:, 0],
        good,
        np.asarray(trajectories.profile.ts),
        speed2,
    )


def by_fifth(row: RowResult, part: str, judge: Judge) -> list[dict[str, Any]]:
    """Confidence and F_mem of the samples by fifth of a kinetic quantity, lowest first."""
    energy = row.energy[part]
    settings: dict[str, Any] = {"confidence": CONFIDENCE, "seed": judge.seed}
    sure = energy_groups(energy, row.confidence, 5, **settings)
    copied = energy_groups(energy, row.memorized, 5, **settings)
    order = np.argsort(energy, kind="stable")
    return [
        {
            "samples": of.number,
            "mean": float(energy[members].mean()),
            "range": [of.lowest, of.highest],
            "f_mem": copies.mean,
            "f_mem_interval": [copies.low, copies.high],
            "confidence": of.mean,
            "confidence_interval": [of.low, of.high],
        }
        for members, of, copies in zip(np.array_split(order, 5), sure, copied, strict=True)
    ]


def paired_change(row: RowResult, baseline: RowResult, judge: Judge) -> dict[str, Any]:
    """How a row differs from the baseline on the same noise, with paired intervals."""
    both = row.good & baseline.good
    mine, theirs = both[row.good], both[baseline.good]
    change = row.memorized[mine].astype(float) - baseline.memorized[theirs]
    farther = judge.frechet_changes(row.images[mine], baseline.images[theirs])
    return {
        "f_mem_change": float(change.mean()),
        "f_mem_change_interval": list(judge.interval(change)),
        "frechet_change_interval": [float(q) for q in np.quantile(farther, ENDS)],
    }
