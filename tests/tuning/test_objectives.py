"""Objectives and distances: the numbers of the metrics that they are made of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import EmpiricalField, GaussianField, frechet_distance, kts, memorization
from kinetic_jax.metrics import kernel_distance
from kinetic_jax.sampling import complete, noise, sample
from kinetic_jax.tuning import Drawn, copies_of, frechet_to, kernel_penalty, kernel_to, snap_of

ROWS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


@pytest.mark.long
def test_copies_hidden_under_noise_are_counted():
    """Landing leaves noise on every copy; F_mem of the completed samples is 1, and 0 is not."""
    train = np.array([[2.0, 0.0], [-2.0, 0.0]], np.float32)
    field = kts(beta0=0.05)(EmpiricalField(train))
    run = sample(field, noise(jax.random.key(0), jnp.arange(20), (2,)), num_steps=20)
    drawn = Drawn(run, complete(field, run))
    np.testing.assert_array_equal(copies_of(train)(drawn), np.ones(20))
    assert memorization(run.x1, train, threshold=0.02).fraction < 1
    np.testing.assert_array_equal(copies_of(train, threshold=0.02)(drawn), np.ones(20))


def test_scores_of_failed_samples_are_unknown():
    completed = jnp.array([[0.0, 0.1], [jnp.nan, 0.0], [0.5, 0.3]])
    run = sample(lambda t, x, cond=None: 0 * x, jnp.nan_to_num(completed), num_steps=1)
    train = np.array([[0.0, 0.0], [1.0, 0.0]])
    scores = copies_of(train)(Drawn(run, completed))
    np.testing.assert_array_equal(scores, [1, np.nan, 0])
    model, earlier = GaussianField(jnp.zeros(2), 1.0), GaussianField(jnp.zeros(2), 2.0)
    scores = snap_of(model, earlier, key=jax.random.key(0), draws=2)(Drawn(run, completed))
    np.testing.assert_array_equal(np.isnan(scores), [False, True, False])


def test_copies_between_features():
    """Both sides are embedded: of features x², −1 copies 1."""
    train = np.array([[1.0], [3.0]], np.float32)
    run = sample(lambda t, x, cond=None: 0 * x, jnp.array([[-1.0], [2.0]]), num_steps=1)
    drawn = Drawn(run, run.x1)
    np.testing.assert_array_equal(copies_of(train)(drawn), [0, 0])
    scores = copies_of(train, embed=lambda rows: rows.astype(np.float64) ** 2)(drawn)
    np.testing.assert_array_equal(scores, [1, 0])


def test_distances_are_those_of_the_metrics():
    other = ROWS + 1
    wanted = kernel_distance(other, ROWS).value
    assert frechet_to(ROWS)(other) == pytest.approx(frechet_distance(other, ROWS), rel=1e-12)
    assert kernel_to(ROWS)(other) == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(kernel_penalty(ROWS)(jnp.asarray(other)), wanted, rtol=1e-5)
    doubled = kernel_penalty(ROWS, embed=lambda rows: 2 * rows)(jnp.asarray(other))
    np.testing.assert_allclose(doubled, kernel_distance(2 * other, 2 * ROWS).value, rtol=1e-5)


def test_features_of_samples():
    """Flat rows, or those of `embed`; NaN where a sample is not finite."""
    images = np.arange(8.0).reshape(2, 2, 2)
    distance = frechet_to(images)
    np.testing.assert_array_equal(distance.features(images), images.reshape(2, 4))
    means = dataclasses.replace(distance, embed=lambda rows: rows.mean(axis=(1, 2))[:, None])
    images[1, 0, 0] = np.nan
    np.testing.assert_array_equal(means.features(images), [[1.5], [np.nan]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: copies_of(ROWS[:1]), "train must have at least two, got 1 rows"),
        (lambda: copies_of(ROWS, threshold=2.0), r"threshold must lie in \(0, 1\], got 2.0"),
        (lambda: frechet_to(ROWS[:1]), "held_out must be features of shape"),
        (lambda: kernel_to(ROWS, subset_size=1), "subset_size must be a whole number >= 2"),
        (lambda: kernel_to(ROWS[:1]), "held_out must be features of shape"),
        (lambda: kernel_penalty(ROWS[:1]), "held_out must have at least two rows"),
        (lambda: kernel_penalty(ROWS, embed=1), "embed must be a function of rows, got 1"),
        (lambda: snap_of(1, ROWS, key=jax.random.key(0)), "field must"),
        (lambda: snap_of(GaussianField(0.0, 1.0), 1, key=jax.random.key(0)), "earlier must"),
    ],
)
def test_bad_input(call, message, own_messages):
    with pytest.raises(ValueError, match=message):
        call()
