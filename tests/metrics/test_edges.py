"""Statistics at the edges: exact ties, very small and very large numbers, data far away."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy.spatial.distance import cdist

from kinetic_jax import (
    EmpiricalField,
    frechet_distance,
    kde_support,
    knn_support,
    memorization,
    nearest_neighbors,
    precision_recall,
)
from kinetic_jax.metrics import authpct, ct_score, kernel_distance, spearman


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


TRAIN, SAMPLES, FRESH = normal(0, 200, 8), normal(1, 20, 8), normal(2, 20, 8)
TRAIN[7] = TRAIN[3]
SAMPLES[:5] = TRAIN[:5] + 1e-3 * normal(3, 5, 8)


def log_density(x, rows, width):
    squared = cdist(np.float64(x), np.float64(rows), "sqeuclidean")
    size = rows.shape[1]
    norm = np.log(len(rows)) + size * (np.log(width) + np.log(2 * np.pi) / 2)
    return special.logsumexp(-squared / (2 * width**2), axis=1) - norm


DENSITY = jax.jit(lambda x, rows: kde_support(x, rows, 0.75))


@pytest.mark.parametrize("shift", [0.0, 10.0, 1e4])
def test_density_of_data_far_away(shift):
    rows = (np.random.default_rng(0).normal(size=(500, 16)) + shift).astype(np.float32)
    x = (np.random.default_rng(1).normal(size=(50, 16)) + shift).astype(np.float32)
    wanted = log_density(x, rows, 0.75)
    np.testing.assert_allclose(kde_support(x, rows, 0.75, chunk_size=128), wanted, atol=2e-5)
    # The same in one program.
    np.testing.assert_allclose(DENSITY(x, rows), wanted, atol=2e-4)
    if shift == 10:  # the rule's bandwidth, of rows that are known
        chosen = jax.jit(lambda x: kde_support(x, rows))(x)
        np.testing.assert_allclose(chosen, kde_support(x, rows, chunk_size=128), atol=2e-4)


def test_density_has_a_gradient():
    """Towards the rows: (mean under the weights − x)/h²."""
    x = SAMPLES[:1]
    weights = special.softmax(-cdist(np.float64(x), np.float64(TRAIN), "sqeuclidean") / 2)
    gradient = jax.grad(lambda x: kde_support(x, TRAIN, 1.0)[0])(jnp.asarray(x))
    np.testing.assert_allclose(gradient, weights @ TRAIN - x, atol=1e-5)


CHUNKS = {"chunk_size": 64}  # everywhere, so that searches share their programs
SCALED = {  # how a metric changes with the scale
    "neighbors": (lambda s: nearest_neighbors(SAMPLES * s, TRAIN * s, 3, **CHUNKS)[0], 1),
    "support": (lambda s: knn_support(SAMPLES * s, TRAIN * s, 3, **CHUNKS), 1),
    "memorization": (
        lambda s: (
            memorization(
                SAMPLES * s,
                TRAIN * s,
                merge_duplicates=True,
                duplicate_distance=float(1e-4 * s),
                **CHUNKS,
            ).ratios
        ),
        0,
    ),
    "duplicates": (lambda s: memorization(SAMPLES * s, TRAIN * s, **CHUNKS).duplicated, 0),
    "authenticity": (lambda s: authpct(SAMPLES * s, TRAIN * s, **CHUNKS).authentic, 0),
    "ct": (lambda s: ct_score(SAMPLES * s, FRESH * s, TRAIN * s, **CHUNKS), 0),
    "precision": (lambda s: precision_recall(SAMPLES * s, TRAIN * s, 2, **CHUNKS), 0),
    "frechet": (lambda s: frechet_distance(SAMPLES * np.float64(s), TRAIN * np.float64(s)), 2),
    "rank": (lambda s: spearman(SAMPLES[:, 0] * s, SAMPLES[:, 1] * s, resamples=20).value, 0),
}


@pytest.mark.long
@pytest.mark.parametrize("name", SCALED)
def test_the_scale_of_the_data_does_not_matter(name):
    """2^±66 is 10^±20; a power of two rounds nothing."""
    metric, power = SCALED[name]
    plain = np.asarray(metric(np.float32(1)), np.float64)
    for exponent in (-66, 66):
        scale = np.float32(2.0**exponent)
        np.testing.assert_allclose(metric(scale), plain * np.float64(scale) ** power, rtol=1e-6)


WILD = normal(1, 20, 8)
WILD[:5] = TRAIN[:5] + 1e-3 * normal(3, 5, 8)


@pytest.mark.long
@pytest.mark.parametrize("size", [1e12, 1e16, 1e20])
def test_a_row_far_out_changes_nothing_for_the_others(size):
    """Squares of 1e20 are no float32 numbers: such a sample is invalid, such a row refused.

    (The nearest rows of the fifth copy are duplicates, between which no ratio tells.)
    """
    samples, train = WILD.copy(), TRAIN.copy()
    samples[-1] = train[0] = size
    is_number = size < 1e19
    judged, clean = (memorization(rows, TRAIN, **CHUNKS) for rows in (samples, WILD))
    assert judged.invalid == (0 if is_number else 1)
    assert judged.fraction == pytest.approx(4 / 20 if is_number else 4 / 19)
    np.testing.assert_array_equal(judged.distances[:-1], clean.distances[:-1])
    if is_number:
        for metric in (nearest_neighbors, knn_support):
            wanted = jax.tree.leaves(metric(WILD, TRAIN[1:], 3, **CHUNKS))[0]
            found = jax.tree.leaves(metric(WILD, train, 3, **CHUNKS))[0]
            np.testing.assert_allclose(found, wanted, rtol=1e-6)  # searched in another way
        wild, clean = (precision_recall(rows, TRAIN, 2, **CHUNKS) for rows in (samples, WILD))
        assert abs(wild.precision - clean.precision) <= 0.05
        assert wild.density == pytest.approx(clean.density, abs=0.1)
    else:
        with pytest.raises(ValueError, match=r"reference must be finite, .* got row 0"):
            nearest_neighbors(WILD, train)
        with pytest.raises(ValueError, match=r"must be finite, .* got row 19"):
            precision_recall(samples, TRAIN, 2)


def test_a_first_chunk_of_another_scale():
    rows = np.concatenate([1e-30 * TRAIN[:8], TRAIN[8:16]])
    distances, index = nearest_neighbors(TRAIN[8:16], rows, 1, chunk_size=8)
    np.testing.assert_array_equal(index[:, 0], np.arange(8, 16))
    np.testing.assert_array_equal(distances, np.zeros((8, 1)))


def test_scales_that_a_kernel_cannot_have_are_refused():
    """A kernel's width is a scale of its own."""
    with pytest.raises(ValueError, match="reference must be finite, and so must its rows' squared"):
        kde_support(SAMPLES * np.float32(1e20), TRAIN * np.float32(1e20), 1.0)
    with pytest.raises(ValueError, match="reference must have more spread, or come with a bandwi"):
        kde_support(SAMPLES * np.float32(1e-20), TRAIN * np.float32(1e-20))
    with pytest.raises(ValueError, match="data must be finite, and so must its rows'"):
        EmpiricalField(TRAIN * np.float32(1e20))
    small = EmpiricalField(TRAIN * np.float32(1e-20))
    np.testing.assert_allclose(small(0.5, jnp.asarray(SAMPLES[0])), -2 * SAMPLES[0], rtol=1e-6)


def test_the_kernel_distance_of_small_features():
    """MMD² of a linear kernel, 3 x·y/d, which is all that is left of the cubic one."""
    a, b = np.float64(SAMPLES) * 1e-20, np.float64(FRESH) * 1e-20 + 1e-21
    total = [np.sum(x, axis=0) @ np.sum(x, axis=0) - np.sum(x * x) for x in (a, b)]
    wanted = sum(total) / (20 * 19) - 2 * a.mean(axis=0) @ b.mean(axis=0)
    assert kernel_distance(a, b).value == pytest.approx(3 * wanted / 8, rel=1e-9)


@pytest.mark.parametrize("shift", [0, 10_000])
@pytest.mark.parametrize("step", [1.0, 2.0**-66, 2.0**66])
def test_ties_on_the_edge_of_a_ball_are_inside(shift, step):
    """On a line of whole numbers all balls end on points: of either set, for all four shares."""
    b = (np.arange(0, 200, 5.0)[:, None] + shift).repeat(2, axis=1) * step
    a = b + np.array([5.0 * step, 0.0])
    edge = b[::2] + 5.0 * step * np.array([1.0, -1.0])  # at 5√2 of one row of b, 5√2 of no other
    edge = np.repeat(edge, 2, axis=0)  # as many as a, for whose number there are programs
    assert precision_recall(a, b, 1) == (1.0, 1.0, precision_recall(a, b, 1).density, 1.0)
    found = precision_recall(edge, b, 1)
    assert (found.precision, found.coverage) == (1.0, 0.5)
    assert found.density == 1.0


def test_a_partial_correlation_that_does_not_exist():
    rng = np.random.default_rng(0)
    for n in (10, 40, 1000):
        a, b = rng.normal(size=(2, n))
        for given, name in ((np.exp(a), "a"), (-(a**3), "a"), (5 - b, "b"), (b, "b")):
            found = spearman(a, b, given=given, resamples=20)
            assert np.isnan(found[:3]).all()
            assert found.reason == f"given is a monotone function of {name}"
    ties = np.array([1.0, 1, 2, 3, 3, 3])
    assert spearman(ties, np.arange(6.0), given=-ties).reason
    assert spearman(ties, np.arange(6.0), given=np.arange(6.0)[::-1]).reason.endswith("of b")
    nearly = spearman(a, b, given=np.where(a == a.max(), a.min() - 1, a), resamples=20)
    assert nearly.reason == ""
    assert abs(nearly.value) <= 1


@pytest.mark.long
def test_no_infinity_leaves_a_program():
    """`jax_debug_infs` stops at one: masks are the lowest finite number."""
    # Shapes of their own: a program that was compiled without the check stays without it.
    samples, train = SAMPLES[:19], TRAIN[:199]
    labels = np.arange(199) % 3
    jax.config.update("jax_debug_infs", True)
    try:
        nearest_neighbors(samples, train, 2, chunk_size=64)
        nearest_neighbors(samples + 1e4, train * 1e4, 2, chunk_size=64)  # by differences
        memorization(samples, train, merge_duplicates=True, chunk_size=64)
        kde_support(samples, train, 1.0, chunk_size=64)
        weights = np.where(np.arange(199) % 5, 1.0, 0.0)
        field = EmpiricalField(train, labels=labels, weights=weights, chunk_size=64)
        values = field.values(0.5, jnp.asarray(samples[0]), 1)
        on_batch = field.on_batch(0.5, samples, np.ones(19, int))
        np.testing.assert_allclose(on_batch.velocity[0], values.velocity, atol=1e-5)
        field.posterior(0.9, jnp.asarray(samples[0]), 5, 1)
        jax.grad(lambda x: field.log_density(0.5, x, 1))(jnp.asarray(samples[0]))
    finally:
        jax.config.update("jax_debug_infs", False)
