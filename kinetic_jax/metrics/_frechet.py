"""The Fréchet distance between two sets of features, and the floor that real data set."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import whole_number
from kinetic_jax._progress import progress_bar
from kinetic_jax.metrics._features import features, two_sets


def frechet_distance(a: Float[ArrayLike, "n d"], b: Float[ArrayLike, "m d"]) -> float:
    """The squared Fréchet distance of Gaussians fitted to two sets of features.

    `||μ_a − μ_b||² + tr(Σ_a + Σ_b − 2 (Σ_a^{1/2} Σ_b Σ_a^{1/2})^{1/2})`, in float64. With
    Inception features this is FID. It is biased upwards on few samples: compare sets of equal
    size, and beside `frechet_floor`.

    Args:
        a: features of shape (n, d), n ≥ 2.
        b: features of shape (m, d), m ≥ 2.

    Raises:
        ValueError: if the shapes do not fit, a set has fewer than two rows, or a number is not
            finite (leave bad samples out, and say how many).

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
    return _distance(_gaussian(first), _gaussian(second))


class _Gaussian(NamedTuple):
    """Mean and covariance of a set of features."""

    mean: np.ndarray
    covariance: np.ndarray


def _gaussian(rows: np.ndarray) -> _Gaussian:
    return _Gaussian(rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False)))


def _distance(a: _Gaussian, b: _Gaussian, root: np.ndarray | None = None) -> float:
    """The squared distance of two Gaussians; `root` is Σ_a^{1/2}, if it is known."""
    root = _symmetric_root(a.covariance) if root is None else root
    # The eigenvalues of the symmetric product are real and >= 0 but for rounding.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b.covariance @ root), 0)).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    moved = a.mean - b.mean
    return float(max(moved @ moved + traces - 2 * cross, 0.0))


class FrechetReference:
    """One side of many Fréchet distances, its Gaussian fitted once.

    `FrechetReference(b)(a)` is `frechet_distance(a, b)`.

    Args:
        b: features of shape (m, d), m ≥ 2.

    Raises:
        ValueError: as `frechet_distance`.
    """

    def __init__(self, b: Float[ArrayLike, "m d"]):
        self._features = features("b", b)
        self._gaussian = _gaussian(self._features)
        self._root = _symmetric_root(self._gaussian.covariance)

    def __call__(self, a: Float[ArrayLike, "n d"]) -> float:
        """The distance of `a`, features of shape (n, d), from the reference."""
        first, _ = two_sets(a, self._features[:2])
        return _distance(self._gaussian, _gaussian(first), self._root)


class FrechetFloor(NamedTuple):
    """What `frechet_floor` returns.

    Attributes:
        mean: of the distance over the draws.
        low: the least of them.
        high: the greatest; draws share rows, so that the range is too narrow where `size` is no
            small part of the held-out rows, and nothing where it is all of them.
    """

    mean: float
    low: float
    high: float


def frechet_floor(
    train: Float[ArrayLike, "n d"],
    held_out: Float[ArrayLike, "m d"],
    size: int,
    *,
    draws: int = 20,
    seed: int = 0,
    progress: bool | None = None,
) -> FrechetFloor:
    """The Fréchet distance from `train` that a perfect model's `size` samples would have.

    What `size` rows of held-out data have, drawn without replacement again and again. The
    distance of a finite sample is never 0. Samples clearly below this floor are nearer to the
    training data than fresh data are: look at `memorization`.

    Args:
        train: features of what samples are compared with, shape (n, d).
        held_out: features of as good data that are not in it, shape (m, d).
        size: how many samples there are, at most m.
        draws: of rows; the same rows again if size is m.
        seed: of the draws.
        progress: whether to draw a progress bar; None: on a terminal only.

    Raises:
        ValueError: as `frechet_distance`, or if `size` lies outside [2, m].

    Example:
        >>> import numpy as np
        >>> from kinetic_jax import frechet_distance, frechet_floor
        >>> train, held_out, good = np.random.default_rng(0).normal(size=(3, 500, 4))
        >>> floor = frechet_floor(train, held_out, 100)
        >>> floor.low < frechet_distance(train, good[:100]) < floor.high
        True
    """
    first, second = two_sets(train, held_out, ("train", "held_out"))
    size = whole_number("size", size, 2, len(second), why=", the held-out rows")
    draws, seed = whole_number("draws", draws, 1), whole_number("seed", seed, 0)
    rng, found = np.random.default_rng(seed), []
    known = _gaussian(first)
    root = _symmetric_root(known.covariance)
    with progress_bar("Fréchet floor", draws, show=progress) as update:
        for done in range(draws):
            rows = rng.choice(len(second), size, replace=False)
            found.append(_distance(known, _gaussian(second[rows]), root))
            update(done + 1, "")
    return FrechetFloor(float(np.mean(found)), min(found), max(found))


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
