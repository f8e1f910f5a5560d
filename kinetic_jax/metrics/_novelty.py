"""Distances of samples to the training data, compared with those of other data."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import fraction, numbers, require
from kinetic_jax._mesh import gathered
from kinetic_jax._progress import check_progress
from kinetic_jax._streaming import DEFAULT_CHUNK_SIZE, Rows, checked_rows, read_again
from kinetic_jax.metrics._features import rows_in_memory
from kinetic_jax.metrics._intervals import wilson
from kinetic_jax.metrics._neighbors import find_neighbors


class Authenticity(NamedTuple):
    """The result of `authpct`.

    Attributes:
        fraction: share of authentic samples among the valid ones (AuthPct is 100 times this).
        low: lower end of its Wilson interval.
        high: upper end.
        authentic: whether each sample is authentic, shape (n,).
        valid: whether each sample is finite, shape (n,).
        invalid: number of samples that are not finite; they are excluded.
    """

    fraction: float
    low: float
    high: float
    authentic: np.ndarray
    valid: np.ndarray
    invalid: int


def authpct(
    samples: Float[ArrayLike, "n *event"],
    train: Rows,
    *,
    confidence: float = 0.95,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> Authenticity:
    """The share of samples farther from their nearest training row than it is from its own.

    A row that occurs twice has distance 0 from its nearest, so copies of it count as authentic:
    remove duplicates from the training data first.

    Args:
        samples: shape (n, *event).
        train: the training data, shape (rows, *event), at least two rows; may be a memmap.
        confidence: level of the interval, in (0, 1).
        chunk_size: as in `nearest_neighbors`.
        progress: whether to draw progress bars; None: on a terminal only.

    Returns:
        The share with its interval, and which samples are authentic.

    Raises:
        ValueError: if there are no samples or fewer than two training rows, or shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.metrics import authpct
        >>> train = jnp.array([[0.0], [1.0], [5.0]])
        >>> authpct(jnp.array([[0.1], [4.0], [-2.0]]), train).authentic
        array([False, False,  True])

    References:
        Alaa et al., How faithful is your synthetic data?, arXiv 2102.08921.
    """
    confidence = fraction("confidence", confidence)
    check_progress(progress)
    samples = rows_in_memory("samples", samples)
    train = gathered("train", train) if hasattr(train, "shape") else numbers("train", train)
    shape = checked_rows("train", train)
    require(shape[0] >= 2, "train", shape, "have at least two rows")
    stream: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
    distances, indices = find_neighbors(samples, train, 1, names=("samples", "train"), **stream)
    rows, place = read_again(train, indices)
    rows = rows.reshape(-1, *shape[1:])
    within, _ = find_neighbors(rows, train, 2, names=("train", "train"), **stream)
    spacing = np.asarray(within)[np.asarray(place)[:, 0], 1]  # 0 is the row itself, or a copy
    nearest = np.asarray(distances)[:, 0]
    valid = np.isfinite(nearest)
    authentic = valid & (nearest > spacing)
    count, number = int(authentic.sum()), int(valid.sum())
    share = count / number if number else float("nan")
    low, high = wilson(count, number, confidence)
    return Authenticity(share, low, high, authentic, valid, len(nearest) - number)


def ct_score(
    samples: Float[ArrayLike, "n *event"],
    held_out: Float[ArrayLike, "m *event"],
    train: Rows,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> float:
    """C_T of one cell: a z-score of distances to training data, samples against held-out data.

    Mann–Whitney's U over the distances to the nearest training row, standardised:
    `(U − nm/2)/√(nm (n + m + 1)/12)`, where U counts the pairs in which the sample is farther.
    Far below 0 the samples are nearer (data copying), far above 0 farther (underfitting). The
    published score is the mean over cells of the space.

    Args:
        samples: shape (n, *event), finite.
        held_out: data the model never saw, shape (m, *event).
        train: the training data, shape (rows, *event); may be a memmap.
        chunk_size: as in `nearest_neighbors`.
        progress: whether to draw progress bars; None: on a terminal only.

    Returns:
        The z-score.

    Raises:
        ValueError: if a set is empty or holds rows that are not finite, or shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.metrics import ct_score
        >>> train = jnp.array([[0.0], [10.0]])
        >>> print(round(ct_score(jnp.array([[0.1], [9.9]]), jnp.array([[2.0], [7.0]]), train), 2))
        -1.55

    References:
        Meehan, Chaudhuri and Dasgupta, A non-parametric test to detect data-copying in generative
        models, arXiv 2004.05675.
    """
    from scipy.stats import mannwhitneyu

    stream: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
    sets = [
        (name, rows_in_memory(name, rows))
        for name, rows in (("samples", samples), ("held_out", held_out))
    ]
    distances = []
    for name, rows in sets:
        nearest = find_neighbors(rows, train, 1, names=(name, "train"), **stream).distances
        broken = int(np.sum(~np.isfinite(np.asarray(nearest))))
        require(broken == 0, name, f"{broken} rows that are not", "be finite")
        distances.append(np.asarray(nearest)[:, 0])
    n, m = map(len, distances)
    farther = float(mannwhitneyu(*distances).statistic)
    return float((farther - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))
