"""Precision, recall, density and coverage of two sets of features."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import whole_number
from kinetic_jax._progress import check_progress
from kinetic_jax._streaming import DEFAULT_CHUNK_SIZE, Tally, stream_from_host
from kinetic_jax.metrics._features import two_sets
from kinetic_jax.metrics._neighbors import nearest_neighbors

# Distances are computed by differences, because the expanded square cancels for near copies and
# for clusters far apart. Two sums of the same terms may differ by this many rounding errors;
# points so close to the edge of a ball count as inside.
_ROUNDING = 8


class PrecisionRecall(NamedTuple):
    """The result of `precision_recall`.

    Attributes:
        precision: share of the rows of a inside a ball of b: the share of realistic samples.
        recall: share of the rows of b inside a ball of a: the share of the data reached.
        density: mean number of balls of b that contain a row of a, over k: a precision that
            outliers of b do not inflate; it may exceed 1.
        coverage: share of the balls of b that contain a row of a.
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
    """Mutual coverage of samples and data, by balls around the rows of each set.

    The radius of a ball is the distance to the row's k-th neighbour in its own set; a point on
    the edge is inside. Copies of training rows score well: report it beside `memorization`.
    Compare sets of equal size.

    Args:
        a: features of the samples, shape (n, d), n > k.
        b: features of the data, shape (m, d), m > k.
        k: the neighbour that sets the radius, not counting the row itself.
        chunk_size: rows searched together.
        progress: whether to draw progress bars; None: on a terminal only.

    Returns:
        Precision, recall, density and coverage.

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
    samples, data = _in_single_precision(first, second)

    def radii(rows: Array) -> Array:
        """Distances to each row's k-th neighbour, rounded up."""
        nearest, _ = nearest_neighbors(rows, rows, k + 1, chunk_size=chunk_size, progress=progress)
        return nearest[:, k] * (1 + _ROUNDING * float(jnp.finfo(rows.dtype).eps))

    def count_balls(points: Array, rows: Array, radii: Array) -> np.ndarray:
        """The number of balls around rows that contain each point."""
        count = stream_from_host(
            _DepthScore(),
            Tally(),
            points,
            rows,
            radii,
            chunk_size=chunk_size,
            dtype=points.dtype,
            description="counting",
            progress=progress,
        )
        return np.asarray(count)

    sample_radii, data_radii = radii(samples), radii(data)
    data_balls = count_balls(samples, data, data_radii)
    sample_balls = count_balls(data, samples, sample_radii)
    nearest, _ = nearest_neighbors(data, samples, 1, chunk_size=chunk_size, progress=progress)
    return PrecisionRecall(
        precision=float(np.mean(data_balls > 0)),
        recall=float(np.mean(sample_balls > 0)),
        density=float(np.mean(data_balls) / k),
        coverage=float(np.mean(np.asarray(nearest[:, 0] <= data_radii))),
    )


def _in_single_precision(*sets: np.ndarray) -> list[Float[Array, "n d"]]:
    """The sets shifted to the origin and scaled, which changes no share, in JAX's default dtype.

    Float32 numbers are not rounded, so equal distances stay equal: the scale is a power of two,
    and only dimensions whose values lie within a factor of two are shifted, which is exact.
    """
    low = np.min([rows.min(axis=0) for rows in sets], axis=0)
    high = np.max([rows.max(axis=0) for rows in sets], axis=0)
    is_far = (high <= 2 * low) | (2 * high <= low)
    shifted = [rows - np.where(is_far, low, 0.0) for rows in sets]
    sizes = np.concatenate([np.abs(rows).max(axis=1) for rows in shifted])
    # The median, so that one row far out does not change the scale of the others.
    typical = float(np.median(sizes)) or float(sizes.max())
    factor = 2.0 ** -np.floor(np.log2(typical)) if typical > 0 else 1.0
    return [jnp.asarray(rows * factor, float) for rows in shifted]


class _DepthScore(eqx.Module):
    """ρ_j − ||q − r_j||, by differences: at least 0 inside the closed ball around row j."""

    def __call__(self, query: Array, rows: Array, squares: Array, radii: Array) -> Array:
        del squares
        distances = jnp.sqrt(jnp.sum((query[None, :] - rows) ** 2, axis=1))
        return radii - distances
