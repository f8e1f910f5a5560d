"""Samples that are kept out of candidates: copies, distance and classes, on the same noise."""

from typing import Any, NamedTuple

import numpy as np

from benchmarks.claims._rows import Distance, about
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import bootstrap, share_of
from kinetic_jax.metrics import memorization
from kinetic_jax.metrics._comparison import resampled


class Samples(NamedTuple):
    """Samples from some rows of the noise.

    Attributes:
        is_kept: flags of those rows, shape (noise,).
        copied: 1 for a copy and 0 for another sample, shape (kept,).
        features: the classifier's, shape (kept, d).
        classes: predicted by the classifier, shape (kept,).
    """

    is_kept: np.ndarray
    copied: np.ndarray
    features: np.ndarray
    classes: np.ndarray

    def rows(self, chosen: np.ndarray) -> "Samples":
        """Some of the samples, by their numbers."""
        flags = np.zeros_like(self.is_kept)
        flags[np.flatnonzero(self.is_kept)[chosen]] = True
        return Samples(flags, *(array[np.sort(chosen)] for array in self[1:]))

    def spread_out(self, values: np.ndarray) -> np.ndarray:
        """A value of each sample in its row of the noise, NaN elsewhere, shape (noise,)."""
        rows = np.full(len(self.is_kept), np.nan)
        rows[self.is_kept] = values
        return rows


class Kept(NamedTuple):
    """One way to sample, measured.

    Attributes:
        samples: that it keeps.
        completed: the samples completed by one evaluation.
        distance: of the samples' features to those of held-out images.
        completed_distance: the same of the completed ones.
        evaluations: calls of a network for each sample that is kept.
    """

    samples: Samples
    completed: Samples
    distance: Distance
    completed_distance: Distance
    evaluations: float


def samples_of(images: np.ndarray, is_kept: np.ndarray, subjects: Subjects) -> Samples:
    """Copies, features and classes of images, which belong to the marked rows of the noise."""
    copied = memorization(images, subjects.few, progress=False).memorized
    classes = subjects.logits(images).argmax(axis=1)
    return Samples(is_kept, copied.astype(float), subjects.features(images), classes)


def kept(
    samples: Samples,
    evaluations: float,
    subjects: Subjects,
    resamples: int,
    completed: Samples | None = None,
) -> Kept:
    """Measures samples; without a gain there is nothing to complete."""
    distance = _distance(samples, subjects, resamples)
    if completed is None:
        return Kept(samples, samples, distance, distance, evaluations)
    other = _distance(completed, subjects, resamples)
    return Kept(samples, completed, distance, other, evaluations)


def _distance(samples: Samples, subjects: Subjects, resamples: int) -> Distance:
    spread = resampled(
        subjects.frechet, samples.features, is_valid=samples.is_kept, resamples=resamples
    )
    return Distance(subjects.frechet(samples.features), spread)


def described(own: Kept, plain: Kept, candidates: Samples, resamples: int) -> dict[str, Any]:
    """A way to sample as JSON has it, with its differences from plain samples of the same noise.

    Args:
        own: the way.
        plain: sampling without a gain or rejection.
        candidates: samples whose classes are the mix to be kept.
        resamples: of the noise, for the change of that mix.
    """
    return {
        "kept": int(own.samples.is_kept.sum()),
        "evaluations": own.evaluations,
        **_figures(own.samples, own.distance, plain.samples, plain.distance),
        "completed": _figures(
            own.completed, own.completed_distance, plain.completed, plain.completed_distance
        ),
        "mix": _mix_shift(own.samples, candidates, resamples),
    }


def _figures(own: Samples, distance: Distance, plain: Samples, other: Distance) -> dict[str, Any]:
    return {
        "f_mem": share_of(own.copied > 0),
        "f_mem change": copies_change(own, plain),
        "frechet": about(*distance),
        "frechet change": distance_change(distance, other),
    }


def copies_change(own: Samples, other: Samples) -> dict[str, float]:
    """The difference of two shares of copies, by resamples of the noise that both began from."""
    flags = [one.spread_out(one.copied) for one in (own, other)]
    return bootstrap(_difference_of_means, flags)


def _difference_of_means(own: np.ndarray, other: np.ndarray) -> float:
    known = (values[~np.isnan(values)] for values in (own, other))
    one, two = (float(values.mean()) if values.size else float("nan") for values in known)
    return one - two


def distance_change(own: Distance, other: Distance) -> dict[str, float]:
    """The difference of two distances, by the same resamples of the noise."""
    return about(own.frechet - other.frechet, own.spread - other.spread)


def _mix_shift(own: Samples, candidates: Samples, resamples: int) -> dict[str, float]:
    """The total variation between the predicted classes of samples and of candidates."""
    number = int(max(own.classes.max(), candidates.classes.max())) + 1

    def shares(classes: np.ndarray) -> np.ndarray:
        return np.bincount(classes, minlength=number) / max(len(classes), 1)

    mix = shares(candidates.classes)

    def shift(classes: np.ndarray) -> float:
        return float(np.abs(shares(classes) - mix).sum() / 2)

    draws = resampled(shift, own.classes, is_valid=own.is_kept, resamples=resamples)
    return about(shift(own.classes), draws)
