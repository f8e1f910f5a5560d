"""The 8 × 8 digits of scikit-learn, split into disjoint parts."""

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
