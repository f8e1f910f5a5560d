"""A small classifier for features and confidence of samples."""

import warnings

import numpy as np

from kinetic_jax.demo._digits import Part


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
