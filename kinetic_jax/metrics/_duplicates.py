"""Training rows that are copies of one another, where they decide about a sample."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from kinetic_jax.metrics._neighbors import nearest_neighbors
from kinetic_jax.streaming import read_again

MOST_DUPLICATES = 512  # of one row; beyond them a search for the next row takes too long
_AT_ONCE = 1024


def duplicated(
    distances: np.ndarray, indices: np.ndarray, train: Any, tolerance: float
) -> np.ndarray:
    """Whether the two training rows nearest to a sample lie within `tolerance` of each other.

    Args:
        distances: of the samples to them, shape (n, 2).
        indices: which rows they are, shape (n, 2).
        train: the training rows.
        tolerance: the greatest distance of duplicates.

    Returns:
        Shape (n,).
    """
    # By the triangle inequality no others can be.
    apart = distances[:, 1] - distances[:, 0]
    close = np.flatnonzero(apart <= tolerance + 1e-5 * distances[:, 1])
    found = np.zeros(len(distances), bool)
    for start in range(0, close.size, _AT_ONCE):
        some = close[start : start + _AT_ONCE]
        found[some] = _apart(train, indices[some])[:, 1] <= tolerance
    return found


def beyond_duplicates(
    samples: Any,
    train: Any,
    tolerance: float,
    *,
    chunk_size: int,
    progress: bool | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Distance and index of the nearest row to each sample that is no duplicate of its nearest.

    Raises:
        ValueError: if a row has too many duplicates, or there are no others.
    """
    distance = np.empty(len(samples), np.float64)
    index = np.empty(len(samples), np.int64)
    left, k, total = np.arange(len(samples)), 4, train.shape[0]
    while left.size:
        k = min(2 * k, total)
        near, which = map(np.asarray, nearest_neighbors(
            samples[left], train, k, chunk_size=chunk_size, progress=progress))  # fmt: skip
        others = np.concatenate(
            [_apart(train, which[start : start + 64]) for start in range(0, len(which), 64)]
        ) > tolerance  # fmt: skip
        solved, first = others.any(axis=1), others.argmax(axis=1)
        distance[left[solved]] = near[solved, first[solved]]
        index[left[solved]] = which[solved, first[solved]]
        if not solved.all() and (k == total or k > MOST_DUPLICATES):
            row = int(which[~solved][0, 0])
            raise ValueError(
                f"train must hold other rows than duplicates of row {row}, and fewer than "
                f"{MOST_DUPLICATES} of those, got {k} within {tolerance:g} of it"
            )
        left = left[~solved]
    return distance, index


def _apart(train: Any, indices: np.ndarray) -> np.ndarray:
    """Distances of the rows that `indices` names, shape (some, k), from the first of each."""
    rows, place = read_again(train, jnp.asarray(indices))
    near = rows[place]
    return np.asarray(jnp.sqrt(jnp.sum((near - near[:, :1]) ** 2, axis=2)))
