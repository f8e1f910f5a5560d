"""Detectors of copies on samples of a claim, and their lines in tables."""

from typing import Any

import numpy as np

from benchmarks.claims._scored import Scored, calibration, quality
from benchmarks.claims._words import Line, percent, with_interval
from kinetic_jax.copies import CopyDetector, CopyFeatures
from kinetic_jax.copies._fits import FOLDS, TWO_GROUPS


def columns_of(features: CopyFeatures, which: str) -> CopyFeatures:
    """The features of some names, "profile" for all of its bins; "" for all features."""
    if not which:
        return features
    parts = which.split(", ")
    names = tuple(
        name for name in features.names if name in parts or (" " in name and "profile" in parts)
    )
    return features.only(names)


def of_labels(features: CopyFeatures, is_copy: np.ndarray) -> CopyDetector | None:
    """A detector fitted on labelled samples; None of too few finite copies or others."""
    known = is_copy[_is_finite(features)]
    return (
        CopyDetector.fit(features, is_copy) if min(known.sum(), (~known).sum()) >= FOLDS else None
    )


def of_none(features: CopyFeatures, negatives: CopyFeatures | None = None) -> CopyDetector | None:
    """A detector fitted without labels; None of too few finite samples, or of no clear copies."""
    given = [features] if negatives is None else [features, negatives]
    if min(_is_finite(one).sum() for one in given) < 2 * FOLDS:
        return None
    try:
        return CopyDetector.without_labels(features, negatives)
    except ValueError as error:
        if TWO_GROUPS in str(error):
            return None
        raise


def _is_finite(features: CopyFeatures) -> np.ndarray:
    return np.isfinite(features.values).all(axis=1)


def of_detector(
    detector: CopyDetector | None,
    features: CopyFeatures,
    of: Scored,
    *,
    is_other_model: bool = False,
) -> dict[str, Any] | None:
    """The quality of a detector's risk as a score of copies, and its calibration."""
    if detector is None:
        return None
    risk = detector.score(features, is_other_model=is_other_model)
    return quality(risk, of.copied) | {"calibration": calibration(risk, of.copied)}


def without_labels(one: Scored) -> dict[str, Any] | None:
    """A detector of snap, fitted on the samples that it scores: it has no labels."""
    own = columns_of(one.features, "snap")
    return of_detector(of_none(own), own, one)


def ranked(statistics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The statistics without the training data, best first."""
    known = [
        (name, own)
        for name, own in statistics.items()
        if name != "train_distance" and own["auc"]["value"] is not None
    ]
    return sorted(known, key=lambda pair: -pair[1]["auc"]["value"])


def line_of(name: str, own: dict[str, Any]) -> Line:
    """A method's line in `docs/results.md`."""
    figures = [with_interval(own[part], ".3f") for part in ("auc", "clear auc")]
    figures += [percent(own[part]) for part in ("tpr 1%", "tpr 0.1%")]
    what = f"AUC for copies, that without unclear ones, TPR at 1% and 0.1% FPR: {name}"
    return Line(what, "", "; ".join(figures))
