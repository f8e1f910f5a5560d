"""The Fréchet distance between two sets of features."""

import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import require


def frechet_distance(a: Float[ArrayLike, "n d"], b: Float[ArrayLike, "m d"]) -> float:
    """The squared Fréchet distance of Gaussians fitted to two sets of features.

    `||μ_a − μ_b||² + tr(Σ_a + Σ_b − 2 (Σ_a^{1/2} Σ_b Σ_a^{1/2})^{1/2})`, in float64. With
    Inception features this is FID. It is biased upwards on few samples: compare sets of equal
    size, and show what two halves of real data score.

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
    first, second = _features("a", a), _features("b", b)
    require(
        first.shape[1] == second.shape[1],
        "b",
        f"{second.shape[1]} features",
        f"have the {first.shape[1]} features of a",
    )
    root = _symmetric_root(np.atleast_2d(np.cov(first, rowvar=False)))
    other = np.atleast_2d(np.cov(second, rowvar=False))
    # The eigenvalues of the symmetric product are real and >= 0 but for rounding.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    traces = np.trace(root @ root) + np.trace(other)
    moved = first.mean(axis=0) - second.mean(axis=0)
    return float(max(moved @ moved + traces - 2 * cross, 0.0))


def _features(name: str, array: ArrayLike) -> np.ndarray:
    features = np.asarray(array, np.float64)
    require(
        features.ndim == 2 and features.shape[0] >= 2 and features.shape[1] >= 1,
        name,
        f"shape {features.shape}",
        "be features of shape (n >= 2, d >= 1)",
    )
    bad = int(np.sum(~np.isfinite(features).all(axis=1)))
    require(bad == 0, name, f"{bad} rows that are not", "be finite")
    return features


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
