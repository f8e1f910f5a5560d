"""Statistics of the demo: table rows, fifths of energy and paired differences."""

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
    """The metrics of samples, shared by all rows.

    Args:
        digits: the split.
        seed: seed of the classifier and of the bootstrap.
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

        Both sides use the same resampled rows, so that their small-sample bias cancels.
        """
        rng = np.random.default_rng(self.seed)
        pair = list(map(self.classifier.features, (images, baseline)))
        changes = []
        for _ in range(200):
            rows = rng.integers(len(images), size=len(images))
            own, other = (frechet_distance(part[rows], self._reference) for part in pair)
            changes.append(own - other)
        return np.array(changes)

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Bootstrap interval of a mean; a single point if all values are equal."""
        if np.ptp(values) == 0:
            return float(values[0]), float(values[0])
        result = bootstrap(
            (values,),
            np.mean,
            confidence_level=CONFIDENCE,
            n_resamples=2000,
            method="percentile",
            rng=np.random.default_rng(self.seed),
        ).confidence_interval
        return float(result.low), float(result.high)


class RowResult(NamedTuple):
    """The statistics of one row for the table and the figures.

    Attributes:
        table: the entry in `results.json`.
        images: x1 of the n valid samples.
        energy: their kinetic quantities, each (n,).
        memorized: memorisation flags, shape (n,).
        confidence: the classifier's confidence, shape (n,).
        indices: indices of the nearest training images, shape (n,).
        is_valid: flags of the valid trajectories, shape (num_samples,).
        ts: left ends of the steps.
        speed2: mean ||u||² over the valid samples, per step.
    """

    table: dict[str, Any]
    images: np.ndarray
    energy: dict[str, np.ndarray]
    memorized: np.ndarray
    confidence: np.ndarray
    indices: np.ndarray
    is_valid: np.ndarray
    ts: np.ndarray
    speed2: np.ndarray


def measure_row(name: str, trajectories: Trajectories, judge: Judge) -> RowResult:
    """Measures one row; failed trajectories are counted and excluded from averages."""
    assert trajectories.profile is not None, "the demo samples on a fixed grid"
    is_valid = np.asarray(trajectories.status) == 0
    images = np.asarray(trajectories.x1)[is_valid]
    parts = ("total", "launch", "landing", "displacement", "excess", "length")
    energy = {part: np.asarray(getattr(trajectories.energy, part))[is_valid] for part in parts}
    copies = judge.memorization(images)
    confidence = judge.classifier.confidence(images)
    table = {
        "name": name,
        "samples": len(images),
        "bad_samples": int(np.sum(~is_valid)),
        "energy": {part: float(values.mean()) for part, values in energy.items()},
        "f_mem": copies.fraction,
        "f_mem_interval": [copies.low, copies.high],
        "f_mem_held_out": judge.held_out.fraction,
        "frechet": judge.frechet(images),
        "confidence": float(confidence.mean()),
        "evaluations": int(np.asarray(trajectories.num_evals)[0]),
    }
    speed2 = np.asarray(trajectories.profile.speed2, np.float64)[is_valid].mean(axis=0)
    return RowResult(
        table,
        images,
        energy,
        copies.memorized,
        confidence,
        copies.indices[:, 0],
        is_valid,
        np.asarray(trajectories.profile.ts),
        speed2,
    )


def by_fifth(row: RowResult, part: str, judge: Judge) -> list[dict[str, Any]]:
    """Confidence and F_mem of the samples by fifth of a kinetic quantity, lowest first."""
    energy = row.energy[part]
    settings: dict[str, Any] = {"confidence": CONFIDENCE, "seed": judge.seed}
    by_confidence = energy_groups(energy, row.confidence, 5, **settings)
    by_copies = energy_groups(energy, row.memorized, 5, **settings)
    order = np.argsort(energy, kind="stable")
    return [
        {
            "samples": confidence.number,
            "mean": float(energy[members].mean()),
            "range": [confidence.lowest, confidence.highest],
            "f_mem": copies.mean,
            "f_mem_interval": [copies.low, copies.high],
            "confidence": confidence.mean,
            "confidence_interval": [confidence.low, confidence.high],
        }
        for members, confidence, copies in zip(
            np.array_split(order, 5), by_confidence, by_copies, strict=True
        )
    ]


def paired_change(row: RowResult, baseline: RowResult, judge: Judge) -> dict[str, Any]:
    """Differences between a row and the baseline on the same noise, with paired intervals."""
    both = row.is_valid & baseline.is_valid
    own, other = both[row.is_valid], both[baseline.is_valid]
    change = row.memorized[own].astype(float) - baseline.memorized[other]
    frechet_changes = judge.frechet_changes(row.images[own], baseline.images[other])
    return {
        "f_mem_change": float(change.mean()),
        "f_mem_change_interval": list(judge.interval(change)),
        "frechet_change_interval": [float(q) for q in np.quantile(frechet_changes, ENDS)],
    }
