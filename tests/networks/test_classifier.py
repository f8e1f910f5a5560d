"""The classifier against NumPy, and what its margins mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax.networks import ImageClassifier

IMAGES = np.random.default_rng(0).normal(size=(6, 4, 3, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return ImageClassifier((4, 3, 1), 5, widths=(7, 6), key=jax.random.key(0))


def by_hand(model):
    h = IMAGES.reshape(6, -1).astype(np.float64)
    *hidden, last = zip(model.weights, model.biases, strict=True)
    for weight, bias in hidden:
        h = h @ np.asarray(weight) + np.asarray(bias)
        h = h - h.mean(axis=1, keepdims=True)
        h = np.maximum(h / np.sqrt((h**2).mean(axis=1, keepdims=True) + 1e-5), 0)
    return h, h @ np.asarray(last[0]) + np.asarray(last[1])


def test_reference(model):
    features, logits = by_hand(model)
    np.testing.assert_allclose(model.features(IMAGES), features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model(IMAGES), logits, rtol=1e-4, atol=1e-4)


def test_margins(model):
    logits = by_hand(model)[1]
    ordered = np.sort(logits, axis=1)
    want = ordered[:, -1] - ordered[:, -2]
    np.testing.assert_allclose(model.margin(IMAGES), want, rtol=1e-3, atol=1e-4)
    best = jnp.asarray(logits.argmax(axis=1))
    np.testing.assert_allclose(model.margin(IMAGES, best), want, rtol=1e-3, atol=1e-4)
    worst = jnp.asarray(logits.argmin(axis=1))
    want = ordered[:, 0] - ordered[:, -1]
    np.testing.assert_allclose(model.margin(IMAGES, worst), want, rtol=1e-3, atol=1e-4)


def test_dropout_keeps_the_mean(model):
    wide = ImageClassifier((4, 3, 1), 2, widths=(4000,), key=jax.random.key(1))
    dropped = wide.features(IMAGES, dropout=0.25, key=jax.random.key(2))
    kept = np.asarray(wide.features(IMAGES))
    share = np.mean(np.asarray(dropped)[kept > 0] == 0)
    assert abs(share - 0.25) < 0.02
    ratio = np.asarray(dropped)[(kept > 0) & (np.asarray(dropped) > 0)] / kept[
        (kept > 0) & (np.asarray(dropped) > 0)]  # fmt: skip
    np.testing.assert_allclose(ratio, 4 / 3, rtol=1e-5)


def test_errors():
    with pytest.raises(ValueError, match="num_classes must be a whole number >= 2, got 1"):
        ImageClassifier((4, 4, 1), 1, key=jax.random.key(0))
