"""Whether samples keep as far from the training data as other data do."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import fraction, numbers, require
from kinetic_jax._mesh import gathered
from kinetic_jax._progress import check_progress
from kinetic_jax.metrics._intervals import wilson
from kinetic_jax.metrics._neighbors import find_neighbors
from kinetic_jax.streaming import DEFAULT_CHUNK_SIZE, checked_rows, read_again


class Authenticity(NamedTuple):
    """What `authpct` returns.

    Attributes:
        fraction: share of authentic samples among the valid ones (AuthPct is 100 times that).
        low: lower end of its Wilson interval.
        high: upper end.
        authentic: whether each sample is, shape (n,).
        valid: whether each sample is finite, shape (n,).
        invalid: how many samples are not finite; they count neither way.
    """

    fraction: float
    low: float
    high: float
    authentic: np.ndarray
    valid: np.ndarray
    invalid: int


def authpct(
    samples: Float[ArrayLike, "n *event"],
    train: Any,
    *,
    confidence: float = 0.95,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> Authenticity:
    """The share of samples farther from their training neighbour than that one from its own.

    A row that occurs twice is at no distance from its own neighbour, and its copies pass for
    authentic: take duplicates out of the training data first.

    Args:
        samples: shape (n, *event).
        train: the training data, shape (rows, *event), at least two rows; may be a memmap.
        confidence: of the interval, in (0, 1).
        chunk_size: as in `nearest_neighbors`.
        progress: whether to draw progress bars; None: on a terminal only.

    Raises:
        ValueError: if there are no samples or fewer than two training rows, or shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import authpct
        >>> train = jnp.array([[0.0], [1.0], [5.0]])
        >>> authpct(jnp.array([[0.1], [4.0], [-2.0]]), train).authentic
        array([False, False,  True])

    References:
        Alaa et al., How faithful is your synthetic data?, arXiv 2102.08921.
    """
    confidence = fraction("confidence", confidence)
    check_progress(progress)
    samples = _some_rows("samples", samples)
    train = gathered("train", train) if hasattr(train, "shape") else numbers("train", train)
    shape = checked_rows("train", train)
    require(shape[0] >= 2, "train", shape, "have at least two rows")
    over: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
    distances, indices = find_neighbors(samples, train, 1, names=("samples", "train"), **over)
    rows, place = read_again(train, indices)
    rows = rows.reshape(-1, *shape[1:])
    among, _ = find_neighbors(rows, train, 2, names=("train", "train"), **over)
    own = np.asarray(among)[np.asarray(place)[:, 0], 1]  # the first is the row, or a copy of it
    nearest = np.asarray(distances)[:, 0]
    valid = np.isfinite(nearest)
    authentic = valid & (nearest > own)
    count, number = int(authentic.sum()), int(valid.sum())
    share = count / number if number else float("nan")
    low, high = wilson(count, number, confidence)
    return Authenticity(share, low, high, authentic, valid, len(nearest) - number)


def ct_score(
    samples: Float[ArrayLike, "n *event"],
    held_out: Float[ArrayLike, "m *event"],
    train: Any,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> float:
    """C_T of one cell: a z-score of how samples lie nearer to training data than held-out data do.

    Mann–Whitney's U over the distances to the nearest training row, standardised:
    `(U − nm/2)/√(nm (n + m + 1)/12)` with U the number of pairs in which the sample is farther.
    Far below 0: samples are nearer, data copying; far above 0: they underfit. The published score
    averages it over cells of the space.

    Args:
        samples: shape (n, *event), finite.
        held_out: data the model never saw, shape (m, *event).
        train: the training data, shape (rows, *event); may be a memmap.
        chunk_size: as in `nearest_neighbors`.
        progress: whether to draw progress bars; None: on a terminal only.

    Raises:
        ValueError: if a set is empty or holds rows that are not finite, or shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import ct_score
        >>> train = jnp.array([[0.0], [10.0]])
        >>> print(round(ct_score(jnp.array([[0.1], [9.9]]), jnp.array([[2.0], [7.0]]), train), 2))
        -1.55

    References:
        Meehan, Chaudhuri and Dasgupta, A non-parametric test to detect data-copying in generative
        models, arXiv 2004.05675.
    """
    sets = {}
    both = {"samples": _some_rows("samples", samples), "held_out": _some_rows("held_out", held_out)}
    for name, rows in both.items():
        found, _ = find_neighbors(
            rows,
            train,
            1,
            names=(name, "train"),
            chunk_size=chunk_size,
            progress=progress,
        )
        nearest = np.asarray(found)[:, 0]
        bad = int(np.sum(~np.isfinite(nearest)))
        require(bad == 0, name, f"{bad} rows that are not", "be finite")
        sets[name] = nearest
    from scipy.stats import mannwhitneyu

    n, m = len(sets["samples"]), len(sets["held_out"])
    pairs = float(mannwhitneyu(sets["samples"], sets["held_out"]).statistic)
    return float((pairs - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))


def _some_rows(name: str, rows: Any) -> Any:
    """`rows`, if they are numbers and there are any."""
    rows = gathered(name, rows) if isinstance(rows, jax.Array) else numbers(name, rows)
    require(rows.shape[:1] not in ((), (0,)), name, f"shape {rows.shape}", "have rows")
    return rows
