"""The classifier behind features and margins."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from kinetic_jax._progress import progress_bar
from kinetic_jax.data import Images
from kinetic_jax.networks import ImageClassifier
from kinetic_jax.training._optax import optax_promotion

EPOCHS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY, DROPOUT, SHIFT = 40, 250, 2e-3, 0.05, 0.1, 1


def train_classifier(data: Images, *, seed: int = 0, epochs: int = EPOCHS) -> ImageClassifier:
    """Trains on all labelled images, each time moved by up to a pixel, by AdamW.

    Args:
        data: images with labels.
        seed: of weights, batches, dropout and moves.
        epochs: passes over the images.

    Raises:
        ValueError: if there are no labels.
    """
    if data.labels is None or data.num_classes is None:
        raise ValueError(f"{data.name} must have labels to train a classifier on")
    keys = jax.random.split(jax.random.key(seed), 2)
    model = ImageClassifier(data.event_shape, data.num_classes, key=keys[0])
    size = min(BATCH_SIZE, len(data.images))
    batches = len(data.images) // size
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, epochs * batches)
    optimizer = optax.adamw(schedule, weight_decay=WEIGHT_DECAY)
    with optax_promotion():
        state = model, optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    images, labels = jnp.asarray(data.images), jnp.asarray(data.labels)
    epoch = _epoch(optimizer, size, batches)
    with progress_bar("training the classifier", epochs) as update:
        for number in range(epochs):
            state, loss = epoch(state, images, labels, jax.random.fold_in(keys[1], number))
            update(number + 1, f"loss {float(loss):.3g}")
    return state[0]


def accuracy(model: ImageClassifier, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose likeliest class is theirs."""
    return float(np.mean(np.argmax(np.asarray(eqx.filter_jit(model)(images)), axis=1) == labels))


def _epoch(optimizer: optax.GradientTransformation, size: int, batches: int) -> Any:
    """A compiled pass over the images."""

    def loss(model: ImageClassifier, images: Array, labels: Array, key: PRNGKeyArray) -> Array:
        moved = _moved(images, jax.random.fold_in(key, 1))
        logits = model.logits_of(model.features(moved, dropout=DROPOUT, key=key))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def epoch(state: Any, images: Array, labels: Array, key: PRNGKeyArray) -> Any:
        order = jax.random.permutation(key, len(images))[: size * batches].reshape(batches, size)

        def step(state: Any, xs: Any) -> Any:
            (model, moments), (rows, number) = state, xs
            key_step = jax.random.fold_in(key, number)
            value, gradient = jax.value_and_grad(loss)(model, images[rows], labels[rows], key_step)
            with optax_promotion():
                updates, moments = optimizer.update(gradient, moments, model)
                model = optax.apply_updates(model, updates)
            return (model, moments), value

        state, losses = jax.lax.scan(step, state, (order, jnp.arange(batches)))
        return state, losses.mean()

    return epoch


def _moved(images: Array, key: PRNGKeyArray) -> Array:
    """Each image moved by up to `SHIFT` pixels; what comes in at an edge is the edge."""
    n, height, width, _ = images.shape
    moves = jax.random.randint(key, (2, n, 1), -SHIFT, SHIFT + 1)
    rows = jnp.clip(jnp.arange(height)[None] + moves[0], 0, height - 1)
    columns = jnp.clip(jnp.arange(width)[None] + moves[1], 0, width - 1)
    by_row = jnp.take_along_axis(images, rows[:, :, None, None], axis=1)
    return jnp.take_along_axis(by_row, columns[:, None, :, None], axis=2)
