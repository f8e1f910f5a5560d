"""The 8 × 8 digits of scikit-learn in disjoint parts, and a classifier of them."""

import warnings
from typing import NamedTuple

import numpy as np

from kinetic_jax._checks import require
from kinetic_jax.networks import Scaling

PIXELS = Scaling(shift=8.0, scale=8.0)  # 0 ... 16 to [−1, 1]
NUM_HELD_OUT = 900


class Part(NamedTuple):
    """Part of the digits: images scaled to [−1, 1], shape (n, 8, 8), and labels, shape (n,)."""

    images: np.ndarray
    labels: np.ndarray


class Digits(NamedTuple):
    """Three disjoint parts of the 1,797 digits.

    Attributes:
        train: training data of the flow.
        held_out: reference data for samples, not used for training.
        metric: training data of the classifier used by the metrics.
    """

    train: Part
    held_out: Part
    metric: Part


def split_digits(num_train: int, seed: int) -> Digits:
    """Splits the digits at random: `num_train`, 900 held out, and the rest for the metrics."""
    from sklearn.datasets import load_digits  # of the extra `demo`

    bunch = load_digits()
    images = PIXELS.apply(bunch.images.astype(np.float32))
    most = len(images) - NUM_HELD_OUT - 300
    require(2 <= num_train <= most, "num_train", num_train, f"lie in [2, {most}]")
    order = np.random.default_rng(seed).permutation(len(images))
    ends = (num_train, num_train + NUM_HELD_OUT)
    parts = (Part(images[rows], bunch.target[rows]) for rows in np.split(order, ends))
    return Digits(*parts)


class Classifier:
    """A two-layer MLP on flat images, trained by scikit-learn.

    Args:
        part: the training data.
        seed: seed of the initial weights and batches.
    """

    def __init__(self, part: Part, seed: int):
        from sklearn.exceptions import ConvergenceWarning  # of the extra `demo`
        from sklearn.neural_network import MLPClassifier

        self._model = MLPClassifier((128, 64), max_iter=60, random_state=seed)
        with warnings.catch_warnings():
            # The number of passes is fixed on purpose; the accuracy is measured and reported.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(_flat(part.images), part.labels)

    def features(self, images: np.ndarray) -> np.ndarray:
        """The last hidden layer, shape (n, 64)."""
        hidden = _flat(images)
        for weights, bias in zip(self._model.coefs_[:-1], self._model.intercepts_, strict=False):
            hidden = np.maximum(hidden @ weights + bias, 0)
        return hidden

    def confidence(self, images: np.ndarray) -> np.ndarray:
        """The probability of the most likely class, shape (n,)."""
        return self._model.predict_proba(_flat(images)).max(axis=1)

    def accuracy(self, part: Part) -> float:
        """Share of correctly classified images."""
        return float(self._model.score(_flat(part.images), part.labels))


def _flat(images: np.ndarray) -> np.ndarray:
    return np.asarray(images, np.float64).reshape(len(images), -1)
