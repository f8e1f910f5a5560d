"""The Fréchet distance between two sets of features, and its floor from held-out data."""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import whole_number
from kinetic_jax.metrics._features import features, two_sets
from kinetic_jax.metrics._intervals import repeated


def frechet_distance(a: Float[ArrayLike, "n d"], b: Float[ArrayLike, "m d"]) -> float:
    """The squared Fréchet distance of Gaussians fitted to two sets of features.

    `||μ_a − μ_b||² + tr(Σ_a + Σ_b − 2 (Σ_a^{1/2} Σ_b Σ_a^{1/2})^{1/2})`, in float64. With
    Inception features this is FID. It is biased upwards for few samples: compare sets of equal
    size, and report `frechet_floor` beside it.

    Args:
        a: features of shape (n, d), n ≥ 2.
        b: features of shape (m, d), m ≥ 2.

    Returns:
        The distance, 0 or more, in squared units of the features.

    Raises:
        ValueError: if the shapes do not fit, a set has fewer than two rows, or a number is not
            finite (leave such samples out, and report their number).

    Example:
        >>> import numpy as np
        >>> from kinetic_jax import frechet_distance
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> print(round(frechet_distance(x, x + 2.0), 6))  # 3 dimensions, each moved by 2
        12.0

    References:
        Dowson and Landau, The Fréchet distance between multivariate normal distributions, 1982.
        Heusel et al., GANs trained by a two time-scale update rule, arXiv 1706.08500.
    """
    first, second = two_sets(a, b)
    return _distance(_Gaussian(first), _Gaussian(second))


class FrechetReference:
    """A reference for many Fréchet distances, whose Gaussian is fitted once.

    `FrechetReference(b)(a)` is `frechet_distance(a, b)`.

    Args:
        b: features of shape (m, d), m ≥ 2.

    Raises:
        ValueError: as `frechet_distance`.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import FrechetReference
        >>> b = np.random.default_rng(0).normal(size=(100, 2))
        >>> round(FrechetReference(b)(b + 3.0), 3)  # the mean moves by 3 in both dimensions
        18.0
    """

    def __init__(self, b: Float[ArrayLike, "m d"]):
        self._features = features("b", b)
        self._gaussian = _Gaussian(self._features)

    def __call__(self, a: Float[ArrayLike, "n d"]) -> float:
        """The distance between `a`, features of shape (n, d), and the reference."""
        first, _ = two_sets(a, self._features[:2])
        return _distance(self._gaussian, _Gaussian(first))


class FrechetFloor(NamedTuple):
    """The result of `frechet_floor`.

    Attributes:
        mean: mean distance over the draws.
        smallest: the smallest distance.
        largest: the largest. Draws share rows, so the range is too narrow unless `size` is a small
            part of the held-out rows, and 0 if it is all of them.
    """

    mean: float
    smallest: float
    largest: float


def frechet_floor(
    train: Float[ArrayLike, "n d"],
    held_out: Float[ArrayLike, "m d"],
    size: int,
    *,
    draws: int = 20,
    seed: int = 0,
    progress: bool | None = None,
) -> FrechetFloor:
    """The Fréchet distance from `train` that `size` samples of a perfect model would have.

    Estimated by repeatedly drawing `size` held-out rows without replacement. The distance of a
    finite sample is never 0. Samples clearly below this floor are nearer to the training data
    than fresh data are: look at `memorization`.

    Args:
        train: features of the training data, shape (n, d).
        held_out: features of data from the same distribution that are not in `train`, shape
            (m, d).
        size: number of samples, at most m.
        draws: number of draws; they are all the same if size is m.
        seed: seed of the draws.
        progress: whether to draw a progress bar; None: on a terminal only.

    Returns:
        The mean of the distances, the smallest and the largest.

    Raises:
        ValueError: as `frechet_distance`, or if `size` lies outside [2, m].

    Example:
        >>> import numpy as np
        >>> from kinetic_jax import frechet_distance
        >>> from kinetic_jax.metrics import frechet_floor
        >>> train, held_out, samples = np.random.default_rng(0).normal(size=(3, 500, 4))
        >>> floor = frechet_floor(train, held_out, 100)
        >>> floor.smallest < frechet_distance(train, samples[:100]) < floor.largest
        True
    """
    first, second = two_sets(train, held_out, ("train", "held_out"))
    size = whole_number("size", size, 2, len(second), why=", the held-out rows")
    draws, seed = whole_number("draws", draws, 1), whole_number("seed", seed, 0)
    rng, reference = np.random.default_rng(seed), FrechetReference(first)

    def distance() -> float:
        return reference(second[rng.choice(len(second), size, replace=False)])

    distances = repeated("Fréchet floor", draws, distance, progress)
    return FrechetFloor(float(distances.mean()), float(distances.min()), float(distances.max()))


class _Gaussian:
    """Mean, covariance and the root of the covariance of a set of features."""

    def __init__(self, rows: np.ndarray):
        self.mean = rows.mean(axis=0)
        self.covariance = np.atleast_2d(np.cov(rows, rowvar=False))

    @functools.cached_property
    def root(self) -> np.ndarray:
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _distance(a: _Gaussian, b: _Gaussian) -> float:
    # The eigenvalues of the symmetric product are >= 0 except for rounding.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(a.root @ b.covariance @ a.root), 0)).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    difference = a.mean - b.mean
    return float(max(difference @ difference + traces - 2 * cross, 0.0))
