"""F_mem with planted copies, its interval written out, and what counts neither way."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.datasets import load_digits

from kinetic_jax import EmpiricalField, identity, kts, memorization, noise, sample

LINE = jnp.array([[0.0], [3.0], [100.0]])


def wilson(count, total, confidence):
    """The two roots p of (count/total − p)² = z² p (1 − p)/total."""
    z = norm.ppf((1 + confidence) / 2)
    share, weight = count / total, z**2 / total
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    return middle - half, middle + half


def on_the_line(count, total):
    """Samples of which `count` are copies of the row at 0 and the rest lie halfway to 3."""
    return jnp.concatenate([jnp.full((count, 1), 0.1), jnp.full((total - count, 1), 1.5)])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 20), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_wilson_interval(count, confidence):
    found = memorization(on_the_line(count, 20), LINE, confidence=confidence)
    assert found.fraction == count / 20
    low, high = wilson(count, 20, confidence)
    assert found.low == pytest.approx(low, abs=1e-12)
    assert found.high == pytest.approx(high, abs=1e-12)
    assert 0 <= found.low <= found.fraction <= found.high <= 1


def test_none_of_ten_thousand():
    found = memorization(jnp.full((10_000, 1), 1.5), LINE)
    assert (found.fraction, found.low) == (0.0, 0.0)
    assert round(100 * found.high, 3) == 0.038


def test_planted_copies():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(200, 8, 8)).astype(np.float32)
    samples = rng.normal(size=(60, 8, 8)).astype(np.float32)
    planted, rows = rng.permutation(60)[:13], rng.permutation(200)[:13]
    samples[planted] = train[rows] + 0.01 * rng.normal(size=(13, 8, 8))
    found = memorization(samples, train, chunk_size=37)
    np.testing.assert_array_equal(np.flatnonzero(found.memorized), np.sort(planted))
    assert found.fraction == 13 / 60
    np.testing.assert_array_equal(found.indices[planted, 0], rows)
    assert found.invalid == 0
    # The ratio is that of the distances, in full precision.
    flat = train.reshape(200, -1).astype(np.float64)
    for i in range(60):
        nearest = np.sort(np.linalg.norm(samples[i].ravel().astype(np.float64) - flat, axis=1))[:2]
        np.testing.assert_allclose(found.distances[i], nearest, rtol=1e-5)
        assert found.ratios[i] == pytest.approx(nearest[0] / nearest[1], rel=1e-5)


@pytest.mark.parametrize(
    ("threshold", "memorized"),
    [(0.5, [True, False, False]), (0.500001, [True, True, False]), (1.0, [True, True, False])],
)
def test_the_threshold_is_strict(threshold, memorized):
    # Distances 1 and 4, 1 and 2 (a ratio of exactly 1/2), 3 and 3: all exact in float32.
    train = jnp.array([[0.0], [3.0], [9.0]])
    samples = jnp.array([[-1.0], [1.0], [6.0]])
    found = memorization(samples, train, threshold=threshold)
    np.testing.assert_array_equal(found.ratios, [0.25, 0.5, 1.0])
    np.testing.assert_array_equal(found.memorized, memorized)
    assert found.fraction == sum(memorized) / 3


def test_the_threshold_is_a_third():
    train = jnp.array([[0.0], [100.0]])
    found = memorization(jnp.array([[24.9], [25.1]]), train)  # 1/3 lies at 25
    np.testing.assert_array_equal(found.memorized, [True, False])


def test_duplicate_rows_hide_copies():
    # Known of the measure: a copy of a row that occurs twice has two equal distances.
    train = jnp.array([[0.0], [0.0], [5.0]])
    found = memorization(jnp.array([[0.0], [0.1], [5.0]]), train)
    np.testing.assert_array_equal(found.ratios, [1.0, 1.0, 0.0])
    np.testing.assert_array_equal(found.memorized, [False, False, True])
    np.testing.assert_array_equal(found.indices[:2], [[0, 1], [0, 1]])


def test_broken_samples_count_neither_way():
    good, bad = on_the_line(3, 10), jnp.array([[jnp.nan], [jnp.inf]])
    found = memorization(jnp.concatenate([bad[:1], good, bad[1:]]), LINE)
    alone = memorization(good, LINE)
    assert (found.invalid, alone.invalid) == (2, 0)
    assert found[:3] == alone[:3] == pytest.approx((0.3, *wilson(3, 10, 0.95)), abs=1e-12)
    np.testing.assert_array_equal(np.isnan(found.ratios), [True] + 10 * [False] + [True])
    np.testing.assert_array_equal(found.memorized[[0, -1]], [False, False])
    assert np.all(np.isnan(found.distances[[0, -1]]))


def test_nothing_but_broken_samples():
    # No number, rather than zero: zero would look like a good result.
    found = memorization(jnp.full((4, 1), jnp.nan), LINE)
    assert found.invalid == 4
    assert np.all(np.isnan(found[:3]))


BAD = {
    "no samples": ({"samples": np.zeros((0, 1))}, r"samples must have rows, got \(0, 1\)"),
    "a single number": ({"samples": np.float32(1)}, r"samples must have rows, got \(\)"),
    "one row": ({"train": LINE[:1]}, r"train must have at least two rows.*\(1, 1\)"),
    "no rows": ({"train": LINE[:0]}, r"train must have at least two rows.*\(0, 1\)"),
    "other shapes": (
        {"samples": np.zeros((3, 2))},
        r"must have the reference's, \(1,\), got rows of shape \(2,\)",
    ),
    "not finite": ({"train": LINE.at[0].set(jnp.nan)}, r"must be finite"),
    "threshold of zero": ({"threshold": 0.0}, r"threshold must lie in \(0, 1\], got 0.0"),
    "threshold above one": ({"threshold": 1.1}, r"threshold must lie in \(0, 1\], got 1.1"),
    "confidence of one": ({"confidence": 1.0}, r"confidence must lie in \(0, 1\), got 1.0"),
    "confidence of zero": ({"confidence": 0.0}, r"confidence must lie in \(0, 1\), got 0.0"),
    "chunk size": ({"chunk_size": 0}, r"chunk_size must be >= 1, got 0"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
@pytest.mark.usefixtures("own_messages")
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        memorization(**{"samples": jnp.ones((3, 1)), "train": LINE} | change)


def test_the_exact_flow_of_real_digits_copies_them_all():
    """Empirical flow matching has nowhere else to go: F_mem 100%, whatever the launch."""
    digits = (load_digits().images[:200] / 8 - 1).astype(np.float32)
    x0 = noise(jax.random.key(0), jnp.arange(64), (8, 8))
    for transform in (identity(), kts(alpha0=0.05, beta0=0.02)):
        x1 = sample(transform(EmpiricalField(digits)), x0, num_steps=100).x1
        assert memorization(x1, digits).fraction == 1.0
