"""Detectors of copies on samples of a claim, and their lines in tables."""

from collections.abc import Callable
from typing import Any

from benchmarks.claims._scored import Scored, calibration, quality
from benchmarks.claims._words import Line, percent, with_interval
from kinetic_jax.copies import CopyDetector, CopyFeatures


def columns_of(features: CopyFeatures, which: str) -> CopyFeatures:
    """The profile, snap, or both."""
    if not which:
        return features
    parts = which.split(", ")
    names = tuple(
        name for name in features.names if name in parts or (" " in name and "profile" in parts)
    )
    values = features.values[:, [features.names.index(name) for name in names]]
    return features._replace(values=values, names=names)


def fitted(fit: Callable[[], CopyDetector]) -> CopyDetector | None:
    """A detector, or None where there are too few copies or others to fit one."""
    try:
        return fit()
    except ValueError:
        return None


def of_detector(
    detector: CopyDetector | None,
    features: CopyFeatures,
    of: Scored,
    *,
    is_other_model: bool = False,
) -> dict[str, Any] | None:
    if detector is None:
        return None
    risk = detector.score(features, is_other_model=is_other_model)
    return quality(risk, of.copied) | {"calibration": calibration(risk, of.copied)}


def without_labels(one: Scored) -> dict[str, Any] | None:
    """A detector of snap, fitted on the samples that it scores: it has no labels."""
    own = columns_of(one.features, "snap")
    return of_detector(fitted(lambda: CopyDetector.without_labels(own)), own, one)


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
