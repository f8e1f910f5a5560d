"""The area under the ROC curve against counting, closed forms, and its interval's coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from kinetic_jax.metrics import roc_auc

SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=12).map(np.float64)


@given(SCORES, SCORES)
def test_pairs_are_counted(positive, negative):
    area = roc_auc(positive, negative)
    difference = np.subtract.outer(positive, negative)
    assert area.value == pytest.approx(np.mean(difference > 0) + np.mean(difference == 0) / 2)
    assert 0 <= area.low <= area.value <= area.high <= 1
    reverse = roc_auc(negative, positive)
    expected = (1 - area.value, 1 - area.high, 1 - area.low)
    assert (reverse.value, reverse.low, reverse.high) == pytest.approx(expected, abs=1e-9)


def test_scikit_learn():
    draws = np.random.default_rng(0)
    labels = draws.random(300) < 0.3
    scores = draws.normal(size=300) + labels
    expected = roc_auc_score(labels, scores)
    assert roc_auc(scores[labels], scores[~labels]).value == pytest.approx(expected)


def test_normal_scores():
    """Means a distance d apart, of unit variance: Φ(d / √2)."""
    draws = np.random.default_rng(1)
    area = roc_auc(draws.normal(1.0, 1.0, 100_000), draws.normal(0.0, 1.0, 50_000))
    assert area.value == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.005)


def test_interval_solves_its_equation():
    n, m, z = 7, 12, norm.isf(0.05)
    positive, negative = np.arange(n) + 6.5, np.arange(float(m))
    area = roc_auc(positive, negative, confidence=0.9)
    for theta in (area.low, area.high):
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + ((n + m) / 2 - 1) * spread) / (n * m)
        assert abs(area.value - theta) == pytest.approx(z * np.sqrt(variance), rel=1e-6)


def test_groups_that_do_not_overlap():
    """The interval ends at 1, and leaves room below."""
    apart = roc_auc(np.array([3.0, 4.0, 5.0]), np.array([0.0, 1.0]))
    assert (apart.value, apart.high) == (1.0, 1.0)
    assert 0.3 < apart.low < 0.8


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_interval_covers(spread):
    draws, truth = np.random.default_rng(2), norm.cdf(1 / np.hypot(1, spread))
    inside = 0
    for _ in range(200):
        area = roc_auc(draws.normal(1.0, 1.0, 30), draws.normal(0.0, spread, 50), confidence=0.9)
        inside += area.low <= truth <= area.high
    assert 168 <= inside <= 194


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positive": np.zeros(0)}, r"positive must be \(n,\), n >= 1, got \(0,\)"),
        ({"negative": np.zeros((2, 2))}, r"negative must be \(n,\), n >= 1, got \(2, 2\)"),
        ({"negative": np.array([0, np.nan])}, "negative must be finite, got 1 numbers"),
        ({"confidence": 1.0}, r"confidence must lie in \(0, 1\), got 1.0"),
    ],
)
@pytest.mark.usefixtures("own_messages")
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        roc_auc(**({"positive": np.ones(3), "negative": np.zeros(3)} | change))
