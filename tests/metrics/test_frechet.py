"""The Fréchet distance where it is known."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetic_jax import frechet_distance
from kinetic_jax.metrics import FrechetReference, frechet_floor

seeds = st.integers(0, 10_000)


def with_moments(seed, size, mean, covariance):
    """Features whose sample mean and sample covariance are the given ones, not nearly so."""
    raw = np.random.default_rng(seed).normal(size=(size, len(mean)))
    raw -= raw.mean(axis=0)
    whitening = np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False).reshape(len(mean), -1)))
    return raw @ whitening.T @ np.linalg.cholesky(np.asarray(covariance)).T + mean


def by_matrix_root(a, b):
    """||μ_a − μ_b||² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^{1/2}), as FID is usually written."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second)
    moved = a.mean(axis=0) - b.mean(axis=0)
    return moved @ moved + np.trace(first + second - 2 * np.real(root))


def random_covariance(rng, size):
    root = rng.normal(size=(size, size))
    return root @ root.T + 0.1 * np.eye(size)


@given(seeds, st.lists(st.floats(-10, 10), min_size=3, max_size=3))
def test_moved(seed, shift):
    x = np.random.default_rng(seed).normal(size=(20, 3))
    want = np.sum(np.square(shift))
    assert frechet_distance(x, x + np.array(shift)) == pytest.approx(want, rel=1e-9, abs=1e-9)


@given(
    seeds,
    st.lists(st.floats(0.01, 10), min_size=4, max_size=4),
    st.lists(st.floats(0.01, 10), min_size=4, max_size=4),
)
def test_diagonal(seed, first, second):
    # Independent dimensions: Σ (μ − ν)² + (s − r)².
    a = with_moments(seed, 20, np.zeros(4), np.diag(np.square(first)))
    b = with_moments(seed + 1, 35, np.arange(4.0), np.diag(np.square(second)))
    want = 14 + np.sum((np.array(first) - np.array(second)) ** 2)
    assert frechet_distance(a, b) == pytest.approx(want, rel=1e-6, abs=1e-6)


def test_a_reference_is_one_side_of_the_distance():
    rng = np.random.default_rng(0)
    b = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3))
    reference = FrechetReference(b)
    for size in (20, 35):
        a = 0.5 + rng.normal(size=(size, 3))
        assert reference(a) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    with pytest.raises(ValueError, match="features"):
        reference(rng.normal(size=(20, 2)))


def test_one_dimension():
    a = with_moments(0, 10, [1.0], [[4.0]])
    b = with_moments(1, 12, [4.0], [[0.25]])
    assert frechet_distance(a, b) == pytest.approx(9 + 1.5**2, rel=1e-9)


@pytest.mark.parametrize("size", [2, 5, 12])
def test_general_covariances(size):
    rng = np.random.default_rng(size)
    a = with_moments(0, 40, rng.normal(size=size), random_covariance(rng, size))
    b = with_moments(1, 60, rng.normal(size=size), random_covariance(rng, size))
    got = frechet_distance(a, b)
    assert got == pytest.approx(by_matrix_root(a, b), rel=1e-8)
    # Covariances that do not commute: the formula of diagonal ones would not do.
    commuting = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.sum((a.std(0) - b.std(0)) ** 2)
    assert abs(got - commuting) > 0.01


@settings(max_examples=30)
@given(seeds)
def test_symmetry_and_rotation(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(15, 4)), rng.normal(size=(25, 4)) @ rng.normal(size=(4, 4)) + 1
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    shift = rng.normal(size=4)
    want = frechet_distance(a, b)
    assert frechet_distance(b, a) == pytest.approx(want, rel=1e-7)
    assert frechet_distance(a @ rotation + shift, b @ rotation + shift) == pytest.approx(
        want, rel=1e-7
    )
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * want, rel=1e-7)


@given(seeds, st.sampled_from([(5, 20), (30, 4), (2, 3)]))
def test_never_negative_and_zero_for_equal_sets(seed, shape):
    x = np.random.default_rng(seed).normal(size=shape)
    same = frechet_distance(x, x[::-1])
    assert 0 <= same < 1e-6


def test_rank_deficient():
    # Fewer rows than features, in planes at right angles: nothing is shared, tr Σ_a + tr Σ_b.
    rng = np.random.default_rng(0)
    a, b = np.zeros((5, 12)), np.zeros((5, 12))
    a[:, :6], b[:, 6:] = rng.normal(size=(5, 6)), rng.normal(size=(5, 6))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    want = np.var(a, axis=0, ddof=1).sum() + np.var(b, axis=0, ddof=1).sum()
    assert frechet_distance(a, b) == pytest.approx(want, rel=1e-7)
    # All rows equal: a Gaussian of no extent.
    point = np.full((3, 12), 2.0)
    spread = np.var(a, axis=0, ddof=1).sum()
    assert frechet_distance(a, point) == pytest.approx(12 * 4 + spread, rel=1e-9)


def test_float32_features_are_summed_in_float64():
    # A mean of 1e4 and a spread of 1: float32 squares would be off by whole units.
    x = (1e4 + np.random.default_rng(0).normal(size=(500, 2))).astype(np.float32)
    y = x + np.float32(0.5)
    got = frechet_distance(jnp.asarray(x), jnp.asarray(y))
    assert got == pytest.approx(0.5, abs=1e-3)
    assert isinstance(got, float)


def test_the_floor_is_what_real_data_score():
    rng = np.random.default_rng(0)
    train, held_out = rng.normal(size=(400, 3)), rng.normal(size=(60, 3))
    floor = frechet_floor(train, held_out, 20, draws=5, seed=3)
    again = np.random.default_rng(3)
    wanted = [
        frechet_distance(train, held_out[again.choice(60, 20, replace=False)]) for _ in range(5)
    ]
    assert floor == pytest.approx((np.mean(wanted), min(wanted), max(wanted)))
    # Fresh data of as many rows have it on average.
    fresh = [frechet_distance(train, rng.normal(size=(20, 3))) for _ in range(200)]
    many = frechet_floor(train, rng.normal(size=(5000, 3)), 20, draws=200)
    assert many.mean == pytest.approx(np.mean(fresh), rel=0.1)
    # Of fewer rows it is higher, and all rows leave nothing to draw.
    assert frechet_floor(train, held_out, 10).mean > floor.mean
    whole = frechet_floor(train, held_out, 60, draws=2)
    assert whole.smallest == pytest.approx(whole.largest, rel=1e-9)
    assert whole.mean == pytest.approx(frechet_distance(train, held_out), rel=1e-9)


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.usefixtures("own_messages")
def test_a_floor_of_more_rows_than_there_are(size):
    with pytest.raises(ValueError, match=rf"size must be a whole number in \[2, 6\].* got {size}"):
        frechet_floor(GOOD, GOOD, size)
    with pytest.raises(ValueError, match="held_out must have the 3 features of train, got 2"):
        frechet_floor(GOOD, GOOD[:, :2], 2)


GOOD = np.random.default_rng(0).normal(size=(6, 3))
BAD = {
    "one row": (GOOD[:1], GOOD, r"a must be features of shape \(n >= 2, d >= 1\), got .*\(1, 3\)"),
    "no features": (GOOD, GOOD[:, :0], r"b must be features of shape .*\(6, 0\)"),
    "images": (GOOD[..., None], GOOD, r"a must be features of shape .*\(6, 3, 1\)"),
    "other features": (GOOD, GOOD[:, :2], r"b must have the 3 features of a, got 2 features"),
    "not finite": (
        GOOD, np.where(GOOD > 1.2, np.nan, GOOD),
        rf"b must be finite, got {int((GOOD > 1.2).any(axis=1).sum())} rows that are not",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("a", "b", "message"), BAD.values(), ids=BAD)
@pytest.mark.usefixtures("own_messages")
def test_errors(a, b, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)
