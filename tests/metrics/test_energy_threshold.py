"""The change point against every splitting tried by SciPy, its interval and its p-value."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from kinetic_jax.metrics import energy_threshold


def stepped(rng, number, at, below, above):
    energy = rng.permutation(number) / number
    return energy, rng.random(number) < np.where(energy < at, below, above)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(8, 40), st.integers(0, 10_000))
def test_against_all_splittings(number, seed):
    """The likelihood of two binomials, each splitting on its own; ties in energy are not split."""
    rng = np.random.default_rng(seed)
    energy = rng.integers(0, 15, number).astype(float)
    labels = rng.random(number) < 0.2 + 0.5 * (energy > 9)
    found = energy_threshold(energy, labels, least_share=0.2, resamples=1)
    best, where = -np.inf, np.nan
    for low, high in zip(np.unique(energy)[:-1], np.unique(energy)[1:], strict=True):
        under, over = labels[energy <= low], labels[energy >= high]
        if min(under.size, over.size) < 0.2 * number or over.mean() <= under.mean():
            continue
        likelihood = sum(
            binom.logpmf(a.sum(), a.size, a.mean()) - binom.logpmf(a.sum(), a.size, 0.5)
            - a.size * np.log(2)
            for a in (under, over)
        )  # fmt: skip
        if likelihood > best + 1e-9:
            best, where = likelihood, (low + high) / 2
    assert found.value == pytest.approx(where, nan_ok=True)
    if np.isfinite(where):
        assert found.below == labels[energy < where].mean()
        assert found.above == labels[energy > where].mean()


@pytest.mark.parametrize(
    ("number", "rates"), [(300, (0.0, 1.0)), (300, (0.05, 0.9)), (500, (0.02, 0.2))]
)
def test_the_interval_covers(number, rates):
    """A step of known place, where a bootstrap of the change point covers 50 to 77%."""
    inside, values = 0, []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        # The second largest of 39 draws is the quantile at 95%, and the least p-value is 1/40.
        found = energy_threshold(*stepped(rng, number, 0.7, *rates), resamples=39, seed=seed)
        assert found.p_value <= 0.05
        # Energies are multiples of 1/number: the step lies between 0.7 − 1/number and 0.7.
        inside += found.low < 0.7 <= found.high + 1e-9
        values.append(found.value)
        assert found.low < found.value < found.high
    assert np.median(values) == pytest.approx(0.7, abs=0.02)
    assert inside >= 90


def test_no_step_is_called_chance():
    small = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = energy_threshold(rng.random(200), rng.random(200) < 0.2, resamples=19, seed=seed)
        small += found.p_value <= 0.1
    assert small <= 8  # 4 are expected, and more than 8 once in 67


@pytest.mark.parametrize("labels", [np.zeros(20, bool), np.ones(20, bool), np.arange(20) < 10])
def test_nothing_takes_off(labels):
    found = energy_threshold(np.arange(20.0), labels, resamples=20)
    assert np.isnan(found.value)
    assert found.p_value == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"energy": np.zeros(1)}, r"energy must be \(n,\), n >= 2, got \(1,\)"),
        ({"energy": np.array([1.0, np.nan, 2, 3])}, "energy must be finite, got 1 numbers"),
        ({"memorized": np.zeros(3, bool)}, r"memorized must have the energies' shape, \(4,\), got"),
        ({"memorized": np.array([0, 1, 2, 0])}, "memorized must be true or false"),
        ({"least_share": 0.5}, r"least_share must lie in \(0, 0.5\), got 0.5"),
        ({"resamples": 0}, "resamples must be a whole number >= 1, got 0"),
    ],
)
@pytest.mark.usefixtures("own_messages")
def test_errors(change, message):
    arguments = {"energy": np.arange(4.0), "memorized": np.arange(4) > 1} | change
    with pytest.raises(ValueError, match=message):
        energy_threshold(**arguments)
