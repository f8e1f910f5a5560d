"""Precision and recall, density and coverage: what share of one set lies within the other."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import whole_number
from kinetic_jax._progress import check_progress
from kinetic_jax.metrics._features import two_sets
from kinetic_jax.metrics._neighbors import nearest_neighbors
from kinetic_jax.streaming import (
    DEFAULT_CHUNK_SIZE,
    Tally,
    stream_from_host,
)

# The expanded square cancels where sets have clusters far apart or near copies: who is inside is
# decided by differences, at several times its cost. Two sums of the same terms may differ by this
# many roundings; a point that far from the edge of a ball is on it.
_ROUNDING = 8


class PrecisionRecall(NamedTuple):
    """What `precision_recall` returns.

    Attributes:
        precision: share of the rows of a inside a ball of b: how many samples look real.
        recall: share of the rows of b inside a ball of a: how much of the data is reached.
        density: mean number of balls of b that a row of a is in, over k: precision that outliers
            of b do not inflate; it may exceed 1.
        coverage: share of the balls of b with a row of a inside.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(
    a: Float[ArrayLike, "n d"],
    b: Float[ArrayLike, "m d"],
    k: int = 5,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> PrecisionRecall:
    """How samples and data cover each other, by balls to each row's k-th neighbour in its own set.

    A point on the edge of a ball is inside. Copies of training rows score well: show it beside
    `memorization`. Compare sets of equal size.

    Args:
        a: features of the samples, shape (n, d), n > k.
        b: features of the data, shape (m, d), m > k.
        k: which neighbour, itself not counted, sets a row's radius.
        chunk_size: rows looked at together.
        progress: whether to draw progress bars; None: on a terminal only.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite, or k is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax import precision_recall
        >>> data = np.arange(10.0)[:, None]
        >>> precision_recall(data[:4] + 0.1, data, k=2)
        PrecisionRecall(precision=1.0, recall=0.6, density=1.125, coverage=0.5)

    References:
        Kynkäänniemi et al., Improved precision and recall metric for assessing generative models,
        arXiv 1904.06991. Naeem et al., Reliable fidelity and diversity metrics for generative
        models, arXiv 2002.09797.
    """
    first, second = two_sets(a, b)
    most = min(len(first), len(second)) - 1
    k = whole_number("k", k, 1, most, why=", the other rows of the smaller set")
    chunk_size = whole_number("chunk_size", chunk_size, 1)
    check_progress(progress)
    mine, theirs = _in_single_precision(first, second)

    def radii(rows: Array) -> Array:
        """Distances to each row's k-th neighbour, as far as rounding lets them reach."""
        found, _ = nearest_neighbors(rows, rows, k + 1, chunk_size=chunk_size, progress=progress)
        return found[:, k] * (1 + _ROUNDING * float(jnp.finfo(rows.dtype).eps))

    own, real = radii(mine), radii(theirs)
    count = _balls(mine, theirs, real, chunk_size, progress)
    reached = _balls(theirs, mine, own, chunk_size, progress)
    nearest, _ = nearest_neighbors(theirs, mine, 1, chunk_size=chunk_size, progress=progress)
    return PrecisionRecall(
        precision=float(np.mean(count > 0)),
        recall=float(np.mean(reached > 0)),
        density=float(np.mean(count) / k),
        coverage=float(np.mean(np.asarray(nearest[:, 0] <= real))),
    )


def _in_single_precision(*sets: np.ndarray) -> list[Float[Array, "n d"]]:
    """The sets moved to the origin and scaled, which changes no share, in JAX's default precision.

    Float32 numbers stay what they are, so that equal distances stay equal: the factor is a power
    of two, and only what lies within a factor of two is moved, where differences are exact.
    """
    low, high = (np.stack([pick(rows, axis=0) for rows in sets]) for pick in (np.min, np.max))
    low, high = low.min(axis=0), high.max(axis=0)
    is_far = (high <= 2 * low) | (2 * high <= low)
    center = np.where(is_far, low, 0.0)
    moved = [rows - center for rows in sets]
    sizes = np.concatenate([np.abs(rows).max(axis=1) for rows in moved])
    # A typical size: one row far out does not change the scale of the others.
    typical = float(np.median(sizes)) or float(sizes.max())
    factor = 2.0 ** -np.floor(np.log2(typical)) if typical > 0 else 1.0
    return [jnp.asarray(rows * factor, float) for rows in moved]


class _DepthScore(eqx.Module):
    """ρ_j − ||q − r_j||, by differences: at least 0 inside the ball around row j, edge included."""

    def __call__(self, query: Array, rows: Array, squares: Array, radii: Array) -> Array:
        del squares
        distances = jnp.sqrt(jnp.sum((query[None, :] - rows) ** 2, axis=1))
        return radii - distances


def _balls(
    points: Float[Array, "n d"],
    rows: Float[Array, "m d"],
    radii: Float[Array, " m"],
    chunk_size: int,
    progress: bool | None,
) -> np.ndarray:
    """In how many balls around a row each point lies."""
    count = stream_from_host(
        _DepthScore(),
        Tally(),
        points,
        rows,
        radii,
        chunk_size=chunk_size,
        dtype=points.dtype,
        description="counting",
        check=lambda *_: None,
        progress=progress,
    )
    return np.asarray(count)
