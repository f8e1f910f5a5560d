"""Fidelity and diversity of samples that were selected, one for each slot."""

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t

from benchmarks.claims import _rows
from benchmarks.claims._candidates import margins
from benchmarks.claims._rows import about
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import CONFIDENCE, as_json
from kinetic_jax.metrics import nearest_neighbors, paired_difference, precision_recall
from kinetic_jax.metrics._comparison import resampled

ABOUT = {
    "margin": "margin of the judge",
    "accuracy": "accuracy by the judge",
    "neighbours": "accuracy by neighbours",
    "diversity": "distance within classes",
    "recall": "recall",
    "frechet": "Fréchet distance",
}
LEAST = 20  # samples of which a recall or a distance is known


class Chosen(NamedTuple):
    """Samples of one method, measured.

    Attributes:
        by_slot: margin, accuracy, neighbours and pseudo-values of the diversity, shape (slots,)
            each; NaN where a sample failed.
        recall: the share of held-out images that the samples cover.
        halves: the recall by random halves of the slots, the same halves for every method.
        frechet: the distance of their features from those of held-out images.
        spread: that distance in resamples of the slots.
    """

    by_slot: dict[str, np.ndarray]
    recall: float
    halves: np.ndarray
    frechet: float
    spread: np.ndarray


def chosen_of(
    images: np.ndarray, labels: np.ndarray, subjects: Subjects, config: dict[str, Any]
) -> Chosen:
    """Measures samples of given classes, one for each slot; failed ones are NaN.

    The nearest real images are found in pixels: they say which class a sample has without the
    judge, which is the verifier.
    """
    is_valid = np.isfinite(images).all(axis=(1, 2, 3))
    known, given = images[is_valid], labels[is_valid]
    logits, features = subjects.logits(known), subjects.features(known)
    values = {
        "margin": margins(logits, given),
        "accuracy": (logits.argmax(axis=1) == given).astype(float),
        "neighbours": _neighbours(known, given, subjects, config),
        "diversity": _distances(features, given, config["partners"]),
    }
    by_slot = {}
    for name, own in values.items():
        by_slot[name] = np.full(len(images), np.nan)
        by_slot[name][is_valid] = own
    rows = np.full((len(images), features.shape[1]), np.nan, features.dtype)
    rows[is_valid] = features
    draws = np.random.default_rng(config["seed"])
    order = [draws.permutation(len(images))[: len(images) // 2] for _ in range(config["halves"])]
    return Chosen(
        by_slot,
        _recall(rows, subjects, len(images)),
        np.array([_recall(rows[half], subjects, len(images)) for half in order]),
        subjects.frechet(features),
        resampled(subjects.frechet, features, is_valid=is_valid, resamples=_rows.FRECHET_RESAMPLES),
    )


def _neighbours(
    images: np.ndarray, labels: np.ndarray, subjects: Subjects, config: dict[str, Any]
) -> np.ndarray:
    """The share of the nearest real images that have the given class."""
    data = subjects.data
    real, classes = data.held_out, data.held_out_labels
    if classes is None:
        real, classes = data.images, data.labels
    assert classes is not None, "claims are measured on labelled images"
    real, classes = real[: config["references"]], classes[: config["references"]]
    number = min(config["neighbours"], len(real))
    near = nearest_neighbors(images, real, number, progress=False)
    return np.mean(classes[np.asarray(near.indices)] == labels[:, None], axis=1)


def _distances(features: np.ndarray, labels: np.ndarray, partners: int) -> np.ndarray:
    """Pseudo-values of the mean distance of samples to the next ones of their class.

    Their mean is that distance, a U-statistic: every distance belongs to two samples, so that the
    distances of one sample alone spread half as much as they count. The pseudo-value of sample i
    is U + 2 (h_i − U_c), with h_i its mean distance to its partners on both sides, U_c the mean of
    its class and U that of all samples: of the jackknife, to first order in 1/n, with the numbers
    of samples of each class fixed. Resamples of these spread as U does.

    Args:
        features: shape (n, d).
        labels: classes, shape (n,).
        partners: how many next samples of the class each is compared with.

    Returns:
        Shape (n,); NaN for the only sample of a class.

    References:
        Arvesen, Jackknifing U-statistics, Annals of Mathematical Statistics 40, 1969.
    """
    means, parts = np.full(len(labels), np.nan), np.zeros(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        own = features[members].astype(np.float64)
        apart = []
        for shift in range(1, min(partners, len(members) - 1) + 1):
            ahead = np.linalg.norm(own - np.roll(own, -shift, axis=0), axis=1)
            apart.append((ahead + np.roll(ahead, shift)) / 2)
        if apart:
            near = np.mean(apart, axis=0)
            means[members] = near.mean()
            parts[members] = 2 * (near - near.mean())
    is_known = ~np.isnan(means)
    if is_known.any():
        means[is_known] = means[is_known].mean()
    return means + parts


def _recall(rows: np.ndarray, subjects: Subjects, number: int) -> float:
    """The share of the first held-out images that lie near samples, in the judge's features."""
    features = rows[np.isfinite(rows).all(axis=1)]
    real = subjects.held_out_features[:number]
    if min(len(features), len(real)) < LEAST:
        return float("nan")
    return precision_recall(features, real, progress=False).recall


def levels(own: Chosen) -> dict[str, Any]:
    """Every measure with its interval."""
    table: dict[str, Any] = {
        name: as_json(paired_difference(values, np.zeros(len(values)), interval="bootstrap"))
        for name, values in own.by_slot.items()
    }
    table["recall"] = _by_halves(own.recall, own.halves)
    return table | {"frechet": about(own.frechet, own.spread)}


def changed(own: Chosen, other: Chosen) -> dict[str, Any]:
    """The differences of two methods, slot by slot, with their intervals."""
    table: dict[str, Any] = {}
    for name, values in own.by_slot.items():
        change = paired_difference(
            values,
            other.by_slot[name],
            interval="share" if name == "accuracy" else "bootstrap",
            confidence=CONFIDENCE,
        )
        table[name] = as_json(change)
    table["recall"] = _by_halves(own.recall - other.recall, own.halves - other.halves)
    table["frechet"] = about(own.frechet - other.frechet, own.spread - other.spread)
    return table


def _by_halves(value: float, draws: np.ndarray) -> dict[str, float]:
    """A value with the interval of the delete-half jackknife, from random halves of the slots.

    The spread of a statistic over halves of n slots estimates its standard error over n of them;
    few halves estimate it, so the interval is Student's. Repeated rows, as a bootstrap has them,
    would have balls without a radius.

    References:
        Shao and Wu, A general theory for jackknife variance estimation, Annals of Statistics 17,
        1989.
    """
    half = float(t.isf((1 - CONFIDENCE) / 2, len(draws) - 1)) * float(np.std(draws, ddof=1))
    return {"value": value, "low": value - half, "high": value + half}
