"""Memorisation: which samples are copies of training rows."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.stats import binomtest

from kinetic_jax._checks import require, require_between
from kinetic_jax.metrics._neighbors import nearest_neighbors
from kinetic_jax.streaming import DEFAULT_CHUNK_SIZE


class Memorization(NamedTuple):
    """What `memorization` returns, as NumPy arrays.

    Attributes:
        fraction: F_mem, the share of memorised samples among the valid ones.
        low: lower end of its Wilson interval.
        high: upper end.
        distances: to the nearest and second nearest training row, shape (n, 2).
        indices: of those rows, shape (n, 2).
        ratios: nearest / second nearest, shape (n,); 1 where both are 0.
        memorized: whether a sample counts as memorised, shape (n,).
        invalid: how many samples are not finite; they count neither way, and their ratios are
            NaN.
    """

    fraction: float
    low: float
    high: float
    distances: np.ndarray
    indices: np.ndarray
    ratios: np.ndarray
    memorized: np.ndarray
    invalid: int


def memorization(
    samples: Float[ArrayLike, "n *event"],
    train: Any,
    *,
    threshold: float = 1 / 3,
    confidence: float = 0.95,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
) -> Memorization:
    """F_mem: the share of samples much nearer to one training row than to any other.

    A sample is memorised if its distance to the nearest training row is under `threshold` times
    that to the second nearest. Zero can also mean broken samples, and real data score above zero:
    show it beside a quality figure and beside what held-out data score.

    Args:
        samples: shape (n, *event).
        train: the training data, shape (rows, *event), at least two rows; may be a memmap.
        threshold: of the ratio of the two distances, in (0, 1].
        confidence: of the Wilson interval, in (0, 1).
        chunk_size: as in `nearest_neighbors`.

    Raises:
        ValueError: if there are no samples or fewer than two training rows, shapes differ, or a
            setting is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import memorization
        >>> train = jnp.array([[0.0, 0.0], [1.0, 0.0]])
        >>> found = memorization(jnp.array([[0.0, 0.1], [0.5, 0.3]]), train)
        >>> found.fraction, found.indices[:, 0].tolist()
        (0.5, [0, 0])

    References:
        Yoon et al., Diffusion probabilistic models generalize when they fail to memorize, 2023.
    """
    require(0 < threshold <= 1, "threshold", threshold, "lie in (0, 1]")
    require_between("confidence", confidence, 0.0, 1.0)
    require(np.shape(samples)[:1] not in ((), (0,)), "samples", np.shape(samples), "have rows")
    require(
        np.shape(train)[:1] not in ((), (0,), (1,)),
        "train",
        np.shape(train),
        "have at least two rows, the nearest and the second nearest",
    )
    distances, indices = map(
        np.asarray, nearest_neighbors(samples, train, 2, chunk_size=chunk_size)
    )
    nearest, second = distances.astype(np.float64).T
    with np.errstate(invalid="ignore"):
        ratios = np.where(second == 0, 1.0, nearest / second)
    memorized = ratios < threshold
    valid = int(np.sum(np.isfinite(ratios)))
    count = int(np.sum(memorized))
    if valid:
        interval = binomtest(count, valid).proportion_ci(confidence, method="wilson")
        fraction, low, high = count / valid, float(interval.low), float(interval.high)
    else:
        fraction = low = high = float("nan")
    return Memorization(
        fraction, low, high, distances, indices, ratios, memorized, len(ratios) - valid
    )
