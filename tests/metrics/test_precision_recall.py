"""Precision, recall, density and coverage, by all distances at once in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from kinetic_jax import precision_recall
from kinetic_jax._streaming import Highest, Tally, Together, stream


def by_hand(a, b, k):
    """From the definitions; a point on the edge is inside."""

    def radius(x):
        return np.sort(cdist(x, x), axis=1)[:, k]

    between = cdist(a, b)
    inside = between <= radius(b)
    return (
        inside.any(axis=1).mean(),
        (radius(a) >= between.T).any(axis=1).mean(),
        inside.sum() / (k * len(a)),
        inside.any(axis=0).mean(),
    )


# All tests share their programs: 90 rows against 150, in chunks of 37.
@pytest.mark.long
@pytest.mark.parametrize(("size", "k"), [(2, 5), (40, 3)])
@pytest.mark.parametrize("shift", [0.0, 1.0, 100.0])
def test_against_all_distances(size, shift, k):
    rng = np.random.default_rng(k)
    b = (rng.normal(size=(150, size)) + shift).astype(np.float32)
    a = (0.8 * rng.normal(size=(90, size)) + shift + 0.3).astype(np.float32)
    found = precision_recall(a, b, k, chunk_size=37)
    wanted = by_hand(np.float64(a), np.float64(b), k)
    assert found == pytest.approx(wanted, abs=1e-9)
    assert found.recall > 0
    assert found.precision > 0


def test_a_set_against_itself():
    x = np.random.default_rng(0).normal(size=(150, 40))
    found = precision_recall(x, x, 3, chunk_size=37)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    # Each ball holds its own row and k others, the k-th on the edge.
    assert found.density == pytest.approx(4 / 3)


@pytest.mark.long
@pytest.mark.parametrize(("apart", "size"), [(300, 2), (1000, 40), (3000, 40)])
def test_clusters_far_apart(apart, size):
    """Where the expanded square has no digits left for what is inside a cluster."""
    rng = np.random.default_rng(0)
    sides = apart * rng.choice([-1, 1], (150, 1))
    a = np.float32(rng.normal(size=(90, size)) + sides[:90])
    b = np.float32(rng.normal(size=(150, size)) + sides)
    k = 5 if size == 2 else 3
    found = precision_recall(a, b, k, chunk_size=37)
    assert found == pytest.approx(by_hand(np.float64(a), np.float64(b), k))


def test_rows_that_occur_five_times():
    rng = np.random.default_rng(0)
    b = np.repeat(10 * rng.normal(size=(30, 40)), 5, axis=0).astype(np.float32)
    a = np.float32(10 * rng.normal(size=(90, 40)))
    assert precision_recall(b, b, 3, chunk_size=37).density == pytest.approx(5 / 3)
    found = precision_recall(a, b, 3, chunk_size=37)
    assert found == pytest.approx(by_hand(np.float64(a), np.float64(b), 3))


def test_sets_apart():
    x = np.random.default_rng(0).normal(size=(150, 2))
    assert precision_recall(x[:90] + 100, x, chunk_size=37) == (0, 0, 0, 0)


def test_few_modes_and_many():
    """Samples of one mode of two: all look real, and the data of the other are not reached."""
    rng = np.random.default_rng(0)
    data = np.concatenate([rng.normal(size=(90, 2)), rng.normal(size=(60, 2)) + 50])
    found = precision_recall(data[:90] + 0.01, data, chunk_size=37)
    assert found.precision == 1
    assert found.recall == pytest.approx(0.6, abs=0.02)
    assert found.coverage == pytest.approx(0.6, abs=0.02)


def test_the_tally_counts_each_row_once():
    """In chunks that overlap at the end as well."""
    scores = np.float32([1.0, 0.0, -1.0, 2.0, -0.1, 3.0, 0.5])

    @functools.partial(jax.jit, static_argnums=1)
    def tally(scores, chunk_size):
        return stream(
            lambda rows, known: known, Together(Highest(2), Tally()), jnp.zeros((7, 1)), scores,
            dtype=jnp.float32, chunk_size=chunk_size,
        )  # fmt: skip

    for chunk_size in (1, 3, 7):
        (top, _), count = tally(scores, chunk_size)
        assert int(count) == 5
        np.testing.assert_array_equal(top, [3, 2])


GOOD = np.random.default_rng(0).normal(size=(6, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 6}, r"k must be a whole number in \[1, 5\], the other rows of the smaller"),
        ({"k": 0}, r"k must be a whole number in \[1, 5\]"),
        ({"b": GOOD[:, :2]}, "b must have the 3 features of a, got 2 features"),
        ({"a": GOOD * np.nan}, "a must be finite, got 6 rows that are not"),
        ({"a": GOOD[:1]}, r"a must be features of shape \(n >= 2, d >= 1\)"),
        ({"chunk_size": 0}, "chunk_size must be a whole number >= 1, got 0"),
    ],
)
@pytest.mark.usefixtures("own_messages")
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        precision_recall(**({"a": GOOD, "b": GOOD} | change))
