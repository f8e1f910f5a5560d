"""The classifier against NumPy, and what its margins mean."""

import jax
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
    got = jax.jit(lambda model, images: (model.features(images), model(images)))(model, IMAGES)
    np.testing.assert_allclose(got[0], features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[1], logits, rtol=1e-4, atol=1e-4)


def test_margins(model):
    logits = by_hand(model)[1]
    ordered = np.sort(logits, axis=1)
    want = ordered[:, -1] - ordered[:, -2]
    margin = jax.jit(lambda model, images, labels=None: model.margin(images, labels))
    np.testing.assert_allclose(margin(model, IMAGES), want, rtol=1e-3, atol=1e-4)
    best = logits.argmax(axis=1).astype(np.int32)
    np.testing.assert_allclose(margin(model, IMAGES, best), want, rtol=1e-3, atol=1e-4)
    worst = logits.argmin(axis=1).astype(np.int32)
    want = ordered[:, 0] - ordered[:, -1]
    np.testing.assert_allclose(margin(model, IMAGES, worst), want, rtol=1e-3, atol=1e-4)


def test_dropout_keeps_the_mean(model):
    wide = ImageClassifier((4, 3, 1), 2, widths=(4000,), key=jax.random.key(1))
    dropping = jax.jit(lambda model, key: model.features(IMAGES, dropout=0.25, key=key))
    dropped = np.asarray(dropping(wide, jax.random.key(2)))
    kept = np.asarray(jax.jit(lambda model: model.features(IMAGES))(wide))
    share = np.mean(dropped[kept > 0] == 0)
    assert abs(share - 0.25) < 0.02
    both = (kept > 0) & (dropped > 0)
    ratio = dropped[both] / kept[both]
    np.testing.assert_allclose(ratio, 4 / 3, rtol=1e-5)


def test_errors():
    with pytest.raises(ValueError, match="num_classes must be a whole number >= 2, got 1"):
        ImageClassifier((4, 4, 1), 1, key=jax.random.key(0))
