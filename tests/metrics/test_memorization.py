"""F_mem with planted copies, its interval written out, and what counts neither way."""

import math
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.datasets import load_digits

from kinetic_jax import EmpiricalField, kts, memorization, sample
from kinetic_jax.data import load_images
from kinetic_jax.sampling import complete

LINE = np.float32([[0], [3], [100]])


def wilson(count, total, confidence):
    """The two roots p of (count/total − p)² = z² p (1 − p)/total."""
    z = norm.ppf((1 + confidence) / 2)
    share, weight = count / total, z**2 / total
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    return middle - half, middle + half


def on_the_line(count, total):
    """Samples of which `count` are copies of the row at 0 and the rest lie nearly halfway to 3.

    Mostly 20, so that tests share their programs.
    """
    return np.where(np.arange(total) < count, np.float32(0.1), np.float32(1.4))[:, None]


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
    found = memorization(on_the_line(0, 10_000), jnp.asarray(LINE))
    assert (found.fraction, found.low) == (0.0, 0.0)
    assert round(100 * found.high, 3) == 0.038


def test_planted_copies():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(200, 8, 8)).astype(np.float32)
    samples = rng.normal(size=(64, 8, 8)).astype(np.float32)
    planted, rows = rng.permutation(64)[:13], rng.permutation(200)[:13]
    samples[planted] = train[rows] + 0.01 * rng.normal(size=(13, 8, 8))
    found = memorization(samples, train, chunk_size=37)
    np.testing.assert_array_equal(np.flatnonzero(found.memorized), np.sort(planted))
    assert found.fraction == 13 / 64
    np.testing.assert_array_equal(found.indices[planted, 0], rows)
    assert found.invalid == 0
    # The ratio is that of the distances, in full precision.
    flat = train.reshape(200, -1).astype(np.float64)
    for i in range(64):
        nearest = np.sort(np.linalg.norm(samples[i].ravel().astype(np.float64) - flat, axis=1))[:2]
        np.testing.assert_allclose(found.distances[i], nearest, rtol=1e-5)
        assert found.ratios[i] == pytest.approx(nearest[0] / nearest[1], rel=1e-5)


@pytest.mark.parametrize(
    ("threshold", "memorized"),
    [(0.5, [True, False, False]), (0.500001, [True, True, False]), (1.0, [True, True, False])],
)
def test_the_threshold_is_strict(threshold, memorized):
    # Distances 1 and 4, 1 and 2 (a ratio of exactly 1/2), 3 and 3: all exact in float32.
    train = np.float32([[0], [3], [9]])
    samples = np.float32([[-1], [1], [6]])
    found = memorization(samples, train, threshold=threshold)
    np.testing.assert_array_equal(found.ratios, [0.25, 0.5, 1.0])
    np.testing.assert_array_equal(found.memorized, memorized)
    assert found.fraction == sum(memorized) / 3


def test_the_threshold_is_a_third():
    train = np.float32([[0], [100], [10_000]])
    found = memorization(np.float32([[24.9], [25.1], [50]]), train)  # 1/3 lies at 25
    np.testing.assert_array_equal(found.memorized, [True, False, False])


def test_duplicate_rows_hide_copies():
    # Known of the measure: a copy of a row that occurs twice has two equal distances.
    train = np.float32([[0], [0], [5]])
    found = memorization(np.float32([[0], [0.1], [5]]), train)
    np.testing.assert_array_equal(found.ratios, [1.0, 1.0, 0.0])
    np.testing.assert_array_equal(found.memorized, [False, False, True])
    np.testing.assert_array_equal(found.indices[:2], [[0, 1], [0, 1]])


def test_broken_samples_count_neither_way():
    samples = on_the_line(7, 20)
    samples[[0, -1], 0] = np.nan, np.inf
    found = memorization(samples, LINE)
    assert found.invalid == 2
    assert found[:3] == pytest.approx((6 / 18, *wilson(6, 18, 0.95)), abs=1e-12)
    np.testing.assert_array_equal(np.isnan(found.ratios), [True] + 18 * [False] + [True])
    np.testing.assert_array_equal(found.memorized[[0, -1]], [False, False])
    assert np.all(np.isnan(found.distances[[0, -1]]))


def test_nothing_but_broken_samples():
    # No number, rather than zero: zero would look like a good result.
    found = memorization(np.full((20, 1), np.float32(np.nan)), LINE)
    assert found.invalid == 20
    assert np.all(np.isnan(found[:3]))


BAD = {
    "no samples": ({"samples": np.zeros((0, 1))}, r"samples must have rows, got \(0, 1\)"),
    "a single number": ({"samples": np.float32(1)}, r"samples must have rows, got \(\)"),
    "one row": ({"train": LINE[:1]}, r"train must have at least two rows.*\(1, 1\)"),
    "no rows": ({"train": LINE[:0]}, r"train must have at least two rows.*\(0, 1\)"),
    "other shapes": (
        {"samples": np.zeros((3, 2))},
        r"samples must have rows like train's, \(1,\), got rows of shape \(2,\)",
    ),
    "not finite": (
        {"train": np.where(LINE == 3, np.float32(np.nan), LINE)},
        r"train must be finite.* got row 1 .*1 of 3",
    ),
    "threshold of zero": ({"threshold": 0.0}, r"threshold must lie in \(0, 1\], got 0.0"),
    "threshold above one": ({"threshold": 1.1}, r"threshold must lie in \(0, 1\], got 1.1"),
    "confidence of one": ({"confidence": 1.0}, r"confidence must lie in \(0, 1\), got 1.0"),
    "confidence of zero": ({"confidence": 0.0}, r"confidence must lie in \(0, 1\), got 0.0"),
    "no held-out data": ({"held_out": np.zeros((0, 1))}, r"held_out must have rows, got \(0, 1\)"),
    "other held-out data": (
        {"held_out": np.zeros((3, 4))},
        r"held_out must have rows like train's, \(1,\), got .* \(4,\)",
    ),
    "sweep to two": ({"thresholds": [0.5, 2.0]}, r"thresholds must lie in \(0, 1\], got"),
    "sweep of a table": ({"thresholds": [[0.5]]}, r"thresholds must be one axis of numbers, got"),
    "distance below zero": (
        {"duplicate_distance": -1.0},
        "duplicate_distance must be >= 0, got -1.0",
    ),
    "an embedding of nothing": (
        {"embed": lambda rows: rows.sum()},
        r"embed must return one row of features for each row, got shape \(\) of 3 rows of train",
    ),
    "an embedding that is none": ({"embed": 3}, "embed must be a function of rows, got 3"),
    "complex numbers": ({"samples": np.ones((3, 1)) * 1j}, "samples must hold real numbers, got"),
    "one row often": (
        {"train": np.ones((3, 1), np.float32), "merge_duplicates": True},
        r"train must hold other rows than duplicates of row 0",
    ),
    "chunk size": ({"chunk_size": 0}, r"chunk_size must be a whole number >= 1, got 0"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
@pytest.mark.usefixtures("own_messages")
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        memorization(**{"samples": np.ones((3, 1), np.float32), "train": LINE} | change)


def test_the_sweep_is_the_share_under_each_threshold():
    rng = np.random.default_rng(0)
    train, step = rng.normal(size=(50, 8)), np.geomspace(0.1, 5, 20)[:, None]
    samples = train[:20] + step * rng.normal(size=(20, 8)) / np.sqrt(8)
    rows = np.float32(samples), np.float32(train)
    found = memorization(*rows, threshold=0.5, chunk_size=16)
    assert len(set(found.sweep.fraction)) > 9
    np.testing.assert_allclose(found.sweep.thresholds, np.arange(1, 21) / 20)
    assert found.sweep.fraction[9] == found.fraction
    assert (found.sweep.low[9], found.sweep.high[9]) == (found.low, found.high)
    distances = np.sort(np.linalg.norm(samples[:, None] - train, axis=2), axis=1)
    ratios = distances[:, 0] / distances[:, 1]
    for i, threshold in enumerate(found.sweep.thresholds):
        assert found.sweep.fraction[i] == np.mean(ratios < threshold)
        ends = wilson(np.sum(ratios < threshold), 20, 0.95)
        assert (found.sweep.low[i], found.sweep.high[i]) == pytest.approx(ends, abs=1e-12)
    own = memorization(*rows, thresholds=[0.5, 0.25], chunk_size=16)
    np.testing.assert_array_equal(own.sweep.fraction, found.sweep.fraction[[9, 4]])


def test_the_bootstrap_interval_is_that_of_resampling():
    found = memorization(on_the_line(5, 20), LINE, confidence=0.9)
    draws = np.random.default_rng(0).integers(0, 20, (200_000, 20))
    low, high = np.quantile(found.memorized[draws].mean(axis=1), [0.05, 0.95])
    assert found.bootstrap == pytest.approx((low, high), abs=1e-12)
    sure = memorization(on_the_line(0, 20), LINE)
    assert sure.bootstrap == (0, 0)  # which Wilson's interval does not claim
    assert sure.high > 0.05


def test_held_out_rows_that_are_training_rows_are_counted():
    seen = np.concatenate([LINE[:2], on_the_line(3, 8)])
    with pytest.warns(UserWarning, match="held_out has 2 rows of train among 10:"):
        memorization(on_the_line(5, 10), LINE, held_out=seen)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memorization(seen, LINE, held_out=on_the_line(3, 10))


def test_what_held_out_data_score():
    """The difference of two shares, with the textbook's interval."""
    samples, held_out = on_the_line(56, 70), on_the_line(48, 80)
    found = memorization(samples, LINE, held_out=held_out)
    exchanged = memorization(held_out, LINE, held_out=samples)
    for mine, theirs in zip(found.held_out[:8], exchanged[:8], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # Newcombe, 1998, table II, method 10: 56/70 − 48/80.
    assert found.excess == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    with pytest.raises(ValueError, match="held_out must be given"):
        _ = found.held_out.excess


def test_duplicates_are_flagged_and_merged():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 8)).astype(np.float32)
    train = np.concatenate([rows, rows[:5], rows[:5], rows[:1]])  # 5 rows thrice, one four times
    samples = rows[[0, 3, 10, 20]] + np.float32(1e-3)
    samples = np.concatenate([samples, rng.normal(size=(6, 8)).astype(np.float32)])
    found = memorization(samples, train, chunk_size=16)
    nearest = np.argmin(np.linalg.norm(samples[:, None] - rows, axis=2), axis=1)
    np.testing.assert_array_equal(found.duplicated, nearest < 5)
    assert found.memorized[:4].tolist() == [False, False, True, True]
    merged = memorization(samples, train, merge_duplicates=True, chunk_size=16)
    apart = memorization(samples, rows, chunk_size=16)
    np.testing.assert_array_equal(merged.duplicated, found.duplicated)
    np.testing.assert_array_equal(merged.memorized, apart.memorized)
    np.testing.assert_allclose(merged.ratios, apart.ratios, rtol=1e-6)
    np.testing.assert_array_equal(merged.indices[:, 0], apart.indices[:, 0])
    np.testing.assert_array_equal(train[merged.indices[:, 1]], rows[apart.indices[:, 1]])


@pytest.mark.parametrize("memmap", [False, True])
def test_near_duplicates(tmp_path, memmap):
    """Thirty rows within 0.02 of one another: the second nearest is the first one outside."""
    rng = np.random.default_rng(1)
    near = 0.005 * rng.normal(size=(30, 3)) / np.sqrt(3)
    train = np.concatenate([near, [[1.0, 0, 0], [0, 3.0, 0]]]).astype(np.float32)
    if memmap:
        rows = np.memmap(tmp_path / "rows", np.float32, "w+", shape=train.shape)
        rows[:] = train
        train = rows
    samples = np.array([[0.1, 0, 0], [0.9, 0, 0], [0, 2.9, 0]], np.float32)
    settings = {"duplicate_distance": 0.05, "chunk_size": 10}
    found = memorization(samples, train, **settings)
    np.testing.assert_array_equal(found.duplicated, [True, False, False])
    merged = memorization(samples, train, merge_duplicates=True, **settings)
    np.testing.assert_array_equal(merged.indices[0, 1], 30)
    assert merged.ratios[0] == pytest.approx(0.1 / 0.9, rel=0.1)
    np.testing.assert_array_equal(merged.ratios[1:], found.ratios[1:])
    strict = memorization(samples, train, chunk_size=10)
    np.testing.assert_array_equal(strict.duplicated, [False, False, False])


@pytest.mark.parametrize("memmap", [False, True])
def test_in_an_embedding(tmp_path, memmap):
    """Copies scaled by 0.6 are no copies in pixels; in directions they are."""
    rng = np.random.default_rng(0)
    train = rng.normal(size=(50, 4, 2)).astype(np.float32)
    samples = np.float32(0.6) * train[:10]
    if memmap:
        rows = np.memmap(tmp_path / "rows", np.float32, "w+", shape=train.shape)
        rows[:] = train
        train = rows
    seen = []

    def directions(images):
        assert np.isfinite(images).all()
        seen.append(len(images))
        flat = images.reshape(len(images), -1)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    assert memorization(samples, train, chunk_size=16).fraction < 0.3
    found = memorization(samples, train, embed=directions, held_out=samples, chunk_size=16)
    assert found.fraction == found.held_out.fraction == 1.0
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(10))
    assert max(seen) <= 16
    assert sum(seen) == 50 + 10 + 10  # each row once
    broken = samples.copy()
    broken[2, 0, 0] = np.inf
    some = memorization(
        broken, train, embed=lambda rows: np.tanh(rows.reshape(len(rows), -1)), chunk_size=16
    )
    np.testing.assert_array_equal(some.valid, np.arange(10) != 2)
    assert (some.invalid, some.memorized[2]) == (1, False)
    alike = directions(samples)
    wanted = memorization(alike, directions(np.asarray(train)), held_out=alike, chunk_size=16)
    np.testing.assert_allclose(found.distances, wanted.distances, atol=1e-6)


def test_the_exact_flow_of_real_digits_copies_them_all():
    """Empirical flow matching has nowhere else to go: F_mem 100%, of a shaped launch as well."""
    digits = (load_digits().images[:200] / 8 - 1).astype(np.float32)
    x0 = jnp.asarray(np.random.default_rng(0).normal(size=(64, 8, 8)), jnp.float32)
    x1 = sample(kts(alpha0=0.05, beta0=0.02)(EmpiricalField(digits)), x0, num_steps=20).x1
    assert memorization(x1, digits, chunk_size=37).fraction == 1.0


@pytest.mark.long
def test_the_exact_flow_of_images_copies_them_all():
    """1,024 images of clothes: all of 64 samples are copies, and nowhere near a second image."""
    images = load_images("fashion-mnist-1024").images
    x0 = jnp.asarray(np.random.default_rng(0).normal(size=(64, 28, 28, 1)), jnp.float32)
    run = sample(EmpiricalField(images), x0, num_steps=20).check()
    found = memorization(run.x1, images)
    assert (found.fraction, found.invalid) == (1.0, 0)
    assert found.ratios.max() < 1e-5
    assert not found.duplicated.any()
    assert len(np.unique(found.indices[:, 0])) > 48  # not all the same image
    for beta0 in (0.02, 0.049):  # a landing hides copies, down to a gain of 0.06 at the end
        slowed = kts(beta0=beta0)(EmpiricalField(images))
        shaped = sample(slowed, x0, num_steps=20)
        ends = complete(slowed, shaped)
        found = memorization(shaped.x1, images, completed=ends, plain=run.x1)
        assert found.completed.fraction == 1.0
        assert found.completed.ratios.max() < 1e-3
        assert (found.kept.fraction, found.kept_copies.fraction) == (1.0, 1.0)


def test_completed_and_plain_samples_beside_them():
    """Shares by hand: 1 of 4 copies is hidden by noise, another completed sample is elsewhere."""
    train = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], np.float32)
    plain = np.array([[0.1, 0.0], [10.1, 0.0], [0.0, 9.9], [6.0, 1.0], [np.nan, 0.0]], np.float32)
    noisy = np.array([[0.1, 0.0], [4.0, 0.0], [0.0, 9.9], [6.0, 1.0], [1.0, 1.0]], np.float32)
    ends = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 0.1], [6.0, 1.1], [1.0, 0.0]], np.float32)
    found = memorization(noisy, train, completed=ends, plain=plain)
    assert found.fraction == 3 / 5
    assert found.completed.fraction == 4 / 5
    # Samples 0, 1 and 3 keep their nearest row, 2 does not, and 4 failed without the gain.
    assert found.completed.indices[:, 0].tolist() == [0, 1, 1, 1, 0]
    assert found.kept_copies.fraction == 2 / 3
    assert (found.kept_copies.low, found.kept_copies.high) == pytest.approx(
        tuple(binomtest(2, 3).proportion_ci(0.95, method="wilson"))
    )
    assert found.kept.fraction == 3 / 4
    alone = memorization(noisy, train, completed=ends)
    assert alone.kept is None
    assert alone.completed.fraction == 4 / 5
    for name in ("completed", "plain"):
        short = {"completed": ends, "plain": plain} | {name: ends[:3]}
        with pytest.raises(ValueError, match=f"{name} must have a row for each of 5 samples"):
            memorization(noisy, train, **short)
    with pytest.raises(ValueError, match="plain must be given with completed"):
        memorization(noisy, train, plain=plain)
