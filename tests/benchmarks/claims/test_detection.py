"""Scores of copies, and detectors fitted on them, by numbers made by hand."""

import numpy as np
import pytest

from benchmarks.claims import _methods, _scored
from kinetic_jax.copies import CopyFeatures
from kinetic_jax.metrics import Memorization, memorization


def copied_of(ratios):
    """Samples on a line whose two nearest training images are 0 and 1, by their ratio."""
    places = np.array([ratio / (1 + ratio) for ratio in ratios])
    return memorization(places[:, None], np.array([[0.0], [1.0]]), progress=False)


def features_of(values, names=("speed 0.00", "bending 0.00", "snap")):
    return CopyFeatures(np.asarray(values, float), names, {"steps": 100})


def test_true_positives_at_a_rate():
    score = np.concatenate([np.arange(1000.0), [998.5, 999.5] * 5])
    is_copy = np.arange(1010) >= 1000
    # The limit of 1 in 1,000 lies just below 998.1, that of 1 in 100 below 990.
    assert _scored.true_positives(0.001, score, is_copy) == 1.0
    assert _scored.true_positives(0.01, score, is_copy) == 1.0
    half = np.where(is_copy & (score < 999), 0.0, score)
    assert _scored.true_positives(0.001, half, is_copy) == 0.5


@pytest.mark.parametrize(("others", "copies", "is_known"), [
    (1000, 10, True), (999, 10, False), (1000, 9, False),
])  # fmt: skip
def test_a_rate_of_less_than_one_other_is_unknown(others, copies, is_known):
    """At 0.1% of 999 others no false positive would be allowed."""
    is_copy = np.arange(others + copies) < copies
    got = _scored.true_positives(0.001, is_copy.astype(float), is_copy)
    assert got == (1.0 if is_known else None)


def test_quality_leaves_unclear_and_unknown_samples_out():
    copied = copied_of([0.1] * 20 + [0.4] * 20 + [0.8] * 120)
    assert isinstance(copied, Memorization)
    # Unclear samples score above all copies, so that they spoil the AUC; the clear ones do not.
    score = np.repeat([2.0, 3.0, 1.0], [20, 20, 120])
    score[-1] = np.nan
    quality = _scored.quality(score, copied)
    assert quality["auc"]["value"] == pytest.approx(119 / 139)
    assert quality["clear auc"]["value"] == 1.0
    assert quality["unknown"] == 1
    assert quality["tpr 1%"]["value"] == 0.0  # of 139 others 20 score more than copies
    assert quality["tpr 0.1%"] == {"value": None, "low": None, "high": None}


def test_calibration_by_fifth():
    copied = copied_of([0.1, 0.8, 0.1, 0.1, 0.8])
    rows = _scored.calibration(np.array([0.1, 0.15, 0.9, 1.0, np.nan]), copied)
    assert [row["number"] for row in rows] == [2, 0, 0, 0, 2]
    assert rows[0] == {"number": 2, "risk": pytest.approx(0.125), "copies": 0.5}
    assert rows[1] == {"number": 0, "risk": None, "copies": None}
    assert rows[4] == {"number": 2, "risk": pytest.approx(0.95), "copies": 1.0}


@pytest.mark.parametrize(("which", "places"), [
    ("", [0, 1, 2, 3]), ("profile", [0, 1]), ("snap", [2]), ("profile, snap", [0, 1, 2]),
    ("snap, spread", [2, 3]),
])  # fmt: skip
def test_columns_by_name(which, places):
    names = ("speed 0.00", "bending 0.00", "snap", "spread")
    features = features_of([[0.0, 1.0, 2.0, 3.0]], names)
    got = _methods.columns_of(features, which)
    assert got.names == tuple(names[place] for place in places)
    assert got.values.tolist() == [[float(place) for place in places]]
    has_profile = 0 in places
    assert got.settings["steps"] == (100 if has_profile else None)


def test_no_detector_of_too_few():
    values = np.linspace(-1, 1, 30)[:, None]
    features, is_copy = features_of(values, ("snap",)), values[:, 0] > 0
    assert _methods.of_labels(features, is_copy).names == ("snap",)
    assert _methods.of_labels(features, np.arange(30) < 4) is None
    assert _methods.of_labels(features, np.arange(30) >= 4) is None
    unknown = features_of(np.where(np.arange(30)[:, None] >= 26, np.nan, values), ("snap",))
    assert _methods.of_labels(unknown, np.arange(30) >= 22) is None  # four of eight are known
    assert _methods.of_none(features).kind == "snap"
    assert _methods.of_none(features.rows(slice(9))) is None
    assert _methods.of_none(features, features.rows(slice(9))) is None


def test_wrong_settings_are_errors_and_not_too_few_copies():
    features = features_of(np.linspace(-1, 1, 30)[:, None], ("spread",))
    with pytest.raises(ValueError, match="have snap among them"):
        _methods.of_none(features)
    with pytest.raises(ValueError, match="have the steps of negatives, 50"):
        _methods.of_none(features, features._replace(settings={"steps": 50}))
