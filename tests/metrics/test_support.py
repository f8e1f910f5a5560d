"""Support, rank correlation and novelty against scikit-learn, SciPy and loops by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.neighbors import KernelDensity, NearestNeighbors

from kinetic_jax import kde_support, knn_support
from kinetic_jax.metrics import authpct, ct_score, spearman
from kinetic_jax.metrics._support import scott_bandwidth


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# Searches share their programs: 20 points in 6 dimensions, in chunks of 64 rows.
@pytest.mark.parametrize("k", [1, 10])
def test_knn_support_is_scikit_learns(k):
    x, rows = normal(0, 20, 6), normal(1, 300, 6)
    distances = NearestNeighbors(n_neighbors=k).fit(rows).kneighbors(x)[0]
    np.testing.assert_allclose(
        knn_support(x, rows, k, chunk_size=64), -distances.mean(axis=1), rtol=1e-5
    )


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize("bandwidth", [0.05, 0.5, 3.0])
def test_kde_support_by_its_formula(bandwidth, size):
    rows = normal(1, 200, size)
    x = np.concatenate([normal(0, 10, size), rows[:5] + 0.01])
    squared = np.sum((x[:, None].astype(float) - rows[None].astype(float)) ** 2, axis=2)
    wanted = special.logsumexp(-squared / (2 * bandwidth**2), axis=1) - np.log(200)
    wanted -= size * (np.log(bandwidth) + np.log(2 * np.pi) / 2)
    found = kde_support(x, rows, bandwidth, chunk_size=64)
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-4)
    if bandwidth == 3.0:  # of far points scikit-learn's tree gives other, greater densities
        theirs = KernelDensity(bandwidth=bandwidth).fit(rows).score_samples(x)
        np.testing.assert_allclose(found, theirs, rtol=2e-5, atol=2e-4)


def test_scotts_rule(tmp_path):
    rows = (normal(2, 150, 100) * np.geomspace(0.5, 2, 100) + 50).astype(np.float32)
    wanted = 150 ** (-1 / 104) * np.sqrt(rows.astype(float).var(axis=0, ddof=1).mean())
    width = scott_bandwidth(rows, chunk_size=64)
    assert width == pytest.approx(wanted, rel=1e-6)
    mapped = np.memmap(tmp_path / "rows", np.float32, "w+", shape=rows.shape)
    mapped[:] = rows
    assert scott_bandwidth(mapped, chunk_size=64) == pytest.approx(wanted, rel=1e-6)
    np.testing.assert_array_equal(
        kde_support(rows[:15], mapped, chunk_size=64),
        kde_support(rows[:15], rows, width, chunk_size=64),
    )


def test_support_errors():
    with pytest.raises(ValueError, match=r"bandwidth must be >= 0\.001, got 0\.0"):
        kde_support(normal(0, 3, 2), normal(1, 9, 2), 0.0)
    with pytest.raises(ValueError, match="reference must have more spread"):
        kde_support(np.ones((3, 2), np.float32), np.ones((9, 2), np.float32))
    with pytest.raises(
        ValueError, match=r"x must have the reference's shape, \(2,\), got rows of sh"
    ):
        kde_support(normal(0, 3, 3), normal(1, 9, 2), 1.0)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 999), st.integers(3, 40))
def test_spearman_is_scipys(seed, count):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 8, (2, count)).astype(float)  # with ties
    a[0], b[0] = -1, -1
    found = spearman(a, b, resamples=20)
    assert found.value == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 999), st.integers(5, 40))
def test_partial_correlation_is_that_of_what_a_regression_leaves(seed, count):
    ranks = stats.rankdata(np.random.default_rng(seed).normal(size=(3, count)), axis=1)
    third = np.stack([np.ones(count), ranks[2]], axis=1)
    left = [own - third @ np.linalg.lstsq(third, own, rcond=None)[0] for own in ranks[:2]]
    found = spearman(ranks[0] ** 3, ranks[1], given=ranks[2], resamples=20)
    assert found.value == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-9)


def test_a_common_cause_is_held_fixed():
    rng = np.random.default_rng(0)
    cause = rng.normal(size=2000)
    a, b = (cause + 0.5 * rng.normal(size=2000) for _ in range(2))
    assert spearman(a, b, resamples=50).value > 0.7
    held = spearman(a, b, given=cause, resamples=200)
    assert held.low < 0.05
    assert abs(held.value) < 0.1


@pytest.mark.long
def test_spearmans_interval_covers():
    """A percentile bootstrap at 80% holds the true value in about 80% of data sets."""
    rng, inside = np.random.default_rng(0), 0
    truth = 6 / np.pi * np.arcsin(0.5 / 2)  # of a Gaussian pair with correlation 0.5
    for _ in range(100):
        a = rng.normal(size=150)
        b = 0.5 * a + np.sqrt(0.75) * rng.normal(size=150)
        found = spearman(a, b, confidence=0.8, resamples=59)
        inside += found.low <= truth <= found.high
    assert 68 <= inside <= 92


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], r"a must be \(n,\), n >= 3, got shape \(2,\)"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], r"b must have shape \(3,\), got shape \(2,\)"),
        ([1.0, 2.0, np.nan], [1.0, 2.0, 3.0], "a must be finite, got 1 numbers that are not"),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], "b must vary, to have ranks"),
    ],
)
@pytest.mark.usefixtures("own_messages")
def test_spearman_errors(a, b, message):
    with pytest.raises(ValueError, match=message):
        spearman(np.array(a), np.array(b))


@pytest.mark.usefixtures("own_messages")
def test_what_is_held_fixed_must_fit():
    a = np.arange(4.0)
    with pytest.raises(ValueError, match=r"given must have shape \(4,\), got shape \(3,\)"):
        spearman(a, a, given=np.arange(3.0))
    with pytest.raises(ValueError, match="given must vary, to have ranks"):
        spearman(a, a, given=np.ones(4))


def test_authpct_by_hand():
    train, samples = normal(0, 90, 6), normal(1, 20, 6) * np.float32(1.5)
    samples[:9] /= 3
    samples[4] = np.nan
    found = authpct(samples, train, chunk_size=64)
    for i, sample in enumerate(samples.astype(float)):
        gaps = np.linalg.norm(sample - train, axis=1)
        row = np.argmin(gaps)
        own = np.delete(np.linalg.norm(train[row].astype(float) - train, axis=1), row).min()
        assert found.authentic[i] == (gaps[row] > own)
    assert found.invalid == 1
    assert 0 < found.fraction == found.authentic.sum() / 19 < 1
    interval = stats.binomtest(int(found.authentic.sum()), 19).proportion_ci(method="wilson")
    assert (found.low, found.high) == (interval.low, interval.high)


def test_copies_are_not_authentic():
    train = normal(0, 90, 6)
    copies, twice = train[:20] + np.float32(1e-4), np.concatenate([train, train])
    assert authpct(copies, train, chunk_size=64).fraction == 0
    # A row that occurs twice has its own copy beside it: nothing is nearer than that.
    assert authpct(copies, twice, chunk_size=64).fraction == 1


def test_ct_score_by_hand():
    train, samples, held_out = normal(0, 90, 6), normal(1, 20, 6), normal(2, 20, 6)

    def score(rows):
        return ct_score(rows, held_out, train, chunk_size=64)

    def nearest(rows):
        return np.linalg.norm(rows[:, None] - train, axis=2).min(axis=1)

    pairs = np.sum(nearest(samples)[:, None] > nearest(held_out)[None])
    wanted = (pairs - 200) / np.sqrt(400 * 41 / 12)
    assert score(samples) == pytest.approx(wanted)
    assert score(train[:20] + np.float32(1e-3)) < -4
    assert score(jnp.asarray(samples * 10)) > 3
    with pytest.raises(ValueError, match="samples must be finite, got 1 rows that are not"):
        score(np.where(np.arange(20)[:, None] == 3, np.float32(np.nan), samples))
