"""Rejection within strata: counts in exact fractions, the order of candidates, and clusters."""

from fractions import Fraction

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from kinetic_jax.copies import Rejection, clusters, reject

NAN = float("nan")
RISKS = st.one_of(st.just(NAN), st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0, np.inf]))


def largest_remainders(sizes, count):
    """In fractions, one seat at a time."""
    quotas = [Fraction(count * size, sum(sizes)) for size in sizes]
    seats = [int(quota) for quota in quotas]
    while sum(seats) < count:
        left = [quota - seat for quota, seat in zip(quotas, seats, strict=True)]
        seats[left.index(max(left))] += 1
    return seats


def order_of_rejection(risks, members):
    """Unknown ones first, then by falling risk; of equals the later one."""

    def place(i):
        return (0, 0.0, -i) if np.isnan(risks[i]) else (1, -risks[i], -i)

    return sorted(members, key=place)


@hypothesis.given(
    st.lists(st.tuples(RISKS, st.integers(-2, 3)), min_size=1, max_size=40),
    st.floats(0, 1, exclude_max=True),
)
def test_each_stratum_loses_the_same_share(pairs, share):
    risks, labels = (np.array(column) for column in zip(*pairs, strict=True))
    result = reject(risks, share=share, strata=labels)
    count = int(np.floor(share * len(risks) + 0.5))
    names = sorted(set(labels.tolist()))
    members = [np.flatnonzero(labels == name).tolist() for name in names]
    seats = largest_remainders([len(rows) for rows in members], count)
    wanted = [
        i
        for rows, number in zip(members, seats, strict=True)
        for i in order_of_rejection(risks, rows)[:number]
    ]
    assert result.rejected.tolist() == sorted(wanted)
    assert result.kept.tolist() == sorted(set(range(len(risks))) - set(wanted))
    assert [part.label for part in result.strata] == names
    assert [part.rejected for part in result.strata] == seats
    assert [part.candidates for part in result.strata] == [len(rows) for rows in members]
    assert (result.share, result.low, result.high) == (count / len(risks),) * 3
    for part, rows in zip(result.strata, members, strict=True):
        stay = risks[[i for i in rows if i not in wanted]]
        assert part.unknown == np.isnan(stay).sum()
        known = stay[~np.isnan(stay)]
        np.testing.assert_equal(part.most, known.max() if len(known) else NAN)
    assert result.unknown == np.isnan(risks[result.kept]).sum()


def test_one_stratum_is_the_order_of_all():
    risks = np.array([0.5, NAN, 2.0, 2.0, -np.inf, 0.1])
    assert reject(risks, share=0.5).rejected.tolist() == [1, 2, 3]
    assert reject(risks, share=1 / 3).rejected.tolist() == [1, 3]  # of equals the later one
    assert reject(risks).rejected.tolist() == [1]  # a fifth by default, 1.2 of six
    nothing = reject(risks, share=0.0)
    assert nothing.rejected.size == 0
    assert nothing.unknown == 1


def test_a_limit_rejects_at_and_above_it_and_what_is_unknown():
    risks = np.array([0.5, NAN, 2.0, 0.4, 0.6, 0.5])
    result = reject(risks, limit=0.5)
    assert result.kept.tolist() == [3]
    assert result.strata[0].most == 0.4
    assert result.candidates_per_kept == 6.0
    # Wilson's interval of 5 of 6 by its formula.
    z, p, n = norm.ppf(0.95), 5 / 6, 6
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    got = reject(risks, limit=0.5, confidence=0.9)
    np.testing.assert_allclose((got.share, got.low, got.high), (p, centre - half, centre + half))
    everything = reject(risks, limit=-1.0)
    assert everything.kept.size == 0
    assert everything.candidates_per_kept == np.inf


def test_a_limit_within_strata_keeps_the_mix():
    """Four of eight are risky, all of one class: two of each class go."""
    risks = np.array([0.9, 0.8, 0.7, 0.6, 0.1, 0.2, 0.3, 0.4])
    result = reject(risks, limit=0.5, strata=np.arange(8) // 4)
    assert result.kept.tolist() == [2, 3, 4, 5]
    assert [part.most for part in result.strata] == [0.7, 0.2]
    assert reject(risks, limit=0.5).kept.tolist() == [4, 5, 6, 7]


def test_the_mix_is_kept_where_copies_are_of_one_class():
    """Risks that tell classes apart: by risk alone the mix moves, within strata by one at most."""
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 5, 1000)
    risks = draws.normal(size=1000) + labels
    before = np.bincount(labels, minlength=5) / 1000
    alone, within = reject(risks, share=0.2), reject(risks, share=0.2, strata=labels)
    assert alone.kept.size == within.kept.size == 800

    def moved(result):
        return np.abs(np.bincount(labels[result.kept], minlength=5) / 800 - before)

    assert moved(within).max() <= 1 / 800
    assert moved(alone).max() > 0.05


def test_arrays_of_jax_and_truth_values_are_taken():
    risks = jnp.array([0.1, 0.9, 0.8, 0.2])
    result = reject(risks, share=0.5, strata=jnp.array([True, True, False, False]))
    assert isinstance(result, Rejection)
    assert result.rejected.tolist() == [1, 2]
    assert [part.label for part in result.strata] == [0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.0}, r"share must lie in \[0, 1\), got 1.0"),
        ({"share": -0.1}, "share must lie in"),
        ({"share": 0.2, "limit": 0.5}, "limit must be left out where a share is given, got 0.5"),
        ({"limit": NAN}, "limit must be a finite number"),
        ({"strata": np.zeros(3, int)}, r"strata must be of shape \(4,\), got shape \(3,\)"),
        ({"strata": np.zeros(4)}, "strata must be whole numbers, got dtype float64"),
        ({"risk": np.zeros((2, 2))}, r"risk must be a vector, .* got shape \(2, 2\)"),
        ({"risk": np.zeros(0)}, "risk must be a vector"),
        ({"confidence": 1.5}, r"confidence must lie in \(0, 1\)"),
    ],
)
def test_settings_out_of_range(settings, message, own_messages):
    with pytest.raises(ValueError, match=message):
        reject(**{"risk": np.zeros(4)} | settings)


def test_clusters_are_those_that_are_far_apart():
    draws = np.random.default_rng(0)
    own = draws.integers(0, 4, 200)
    rows = draws.normal(size=(200, 3)) * 0.1 + 10 * np.eye(4)[own][:, :3]
    key = jax.random.key(0)
    labels = clusters(rows, 4, key=key)
    # One label for each of the four, and no two share one.
    pairs = set(zip(own.tolist(), labels.tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 4
    np.testing.assert_array_equal(labels, clusters(rows, 4, key=key))
    np.testing.assert_array_equal(labels, clusters(rows, 4, key=jax.random.PRNGKey(0)))
    assert set(clusters(rows, 1, key=key).tolist()) == {0}


def test_clusters_depend_on_the_key_and_nothing_else():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    np.random.seed(0)
    first = clusters(rows, 5, key=jax.random.key(1))
    np.random.seed(1)
    np.testing.assert_array_equal(first, clusters(rows, 5, key=jax.random.key(1)))
    others = [clusters(rows, 5, key=jax.random.key(seed)) for seed in range(2, 6)]
    assert any((first != other).any() for other in others)


@pytest.mark.parametrize(
    ("features", "k", "message"),
    [
        (np.zeros((5, 2)), 2, r"k must be a whole number in \[1, 1\], the number of different"),
        (np.zeros(5), 1, "features must be a matrix"),
        (np.array([[0.0, NAN]]), 1, "features must be finite"),
        (np.eye(3), 0, "k must be a whole number"),
    ],
)
def test_features_without_clusters(features, k, message, own_messages):
    with pytest.raises(ValueError, match=message):
        clusters(features, k, key=jax.random.key(0))
    with pytest.raises(ValueError, match="key must be one JAX random key"):
        clusters(np.eye(3), 2, key=np.zeros(3))
