"""Groups of equal number by energy, their means, and intervals that cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from kinetic_jax.metrics import energy_groups


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(0, 999))
def test_every_sample_is_in_one_group(number, num_groups, seed):
    rng = np.random.default_rng(seed)
    energy, values = rng.permutation(number).astype(float), rng.normal(size=number)
    num_groups = min(num_groups, number)
    groups = energy_groups(energy, values, num_groups, resamples=5)
    assert sum(group.number for group in groups) == number
    assert max(g.number for g in groups) - min(g.number for g in groups) <= 1
    total = sum(group.number * group.mean for group in groups)
    assert total == pytest.approx(values.sum(), abs=1e-9)
    for group in groups:
        inside = (group.lowest <= energy) & (energy <= group.highest)
        assert inside.sum() == group.number
        assert group.mean == pytest.approx(values[inside].mean())
    assert [g.lowest for g in groups] == sorted(g.lowest for g in groups)


def test_intervals_cover():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(100):
        found = energy_groups(rng.normal(size=60), rng.normal(size=60), 1, confidence=0.8,
                              resamples=300)  # fmt: skip
        inside += found[0].low <= 0 <= found[0].high
    assert 68 <= inside <= 92


def test_shares_get_wilson_intervals():
    """A resample of a group without a single one would claim certainty."""
    found = energy_groups(np.arange(40.0), np.arange(40) >= 30, 2)
    for group, count in zip(found, (0, 10), strict=True):
        wanted = binomtest(count, 20).proportion_ci(0.95, method="wilson")
        assert (group.low, group.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"values": np.zeros(3)},
            r"values must have the energies' shape, \(4,\), got shape \(3,\)",
        ),
        ({"num_groups": 5}, r"num_groups must be a whole number in \[1, 4\], got 5"),
        ({"energy": np.array([1, 2, np.inf, 3])}, "energy must be finite, got 1 numbers"),
        ({"confidence": 1.0}, r"confidence must lie in \(0, 1\), got 1.0"),
    ],
)
@pytest.mark.usefixtures("own_messages")
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        energy_groups(
            **({"energy": np.arange(4.0), "values": np.zeros(4), "num_groups": 2} | change)
        )
