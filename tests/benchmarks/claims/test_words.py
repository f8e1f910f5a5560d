"""Statistics of the claims against SciPy, scikit-learn and by hand."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.claims import _words


def test_within_leaves_nothing_of_the_class():
    classes = np.repeat([0, 1, 2], 30)
    values = np.random.default_rng(0).normal(size=90) + 100 * classes
    ranks = _words.within(classes, values)
    for own in range(3):
        members = classes == own
        assert ranks[members].mean() == pytest.approx(0.5)
        assert stats.spearmanr(ranks[members], values[members]).statistic == pytest.approx(1)


def test_bootstrap_interval_of_a_mean():
    values = np.random.default_rng(0).normal(size=400)
    outcome = _words.bootstrap(lambda v: v.mean(), [values], resamples=2000)
    half = 1.96 * values.std() / 20
    assert outcome["value"] == values.mean()
    assert outcome["low"] == pytest.approx(values.mean() - half, abs=0.01)
    assert outcome["high"] == pytest.approx(values.mean() + half, abs=0.01)


@pytest.mark.parametrize(("ends", "word"), [((0.0, 1.0), "rises"), ((1.0, 0.0), "falls")])
def test_rise(ends, word):
    def group(mean, half):
        return {"mean": mean, "low": mean - half, "high": mean + half}

    assert _words.rise([group(end, 0.4) for end in ends]) == word
    assert _words.rise([group(end, 0.6) for end in ends]) == "does not clearly change"
