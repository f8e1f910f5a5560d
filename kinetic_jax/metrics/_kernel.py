"""The kernel distance between two sets of features (KID)."""

from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import whole_number
from kinetic_jax.metrics._features import two_sets
from kinetic_jax.metrics._intervals import repeated

Rows = TypeVar("Rows", np.ndarray, Array)


class KernelDistance(NamedTuple):
    """The result of `kernel_distance`.

    Attributes:
        value: the mean over the subsets, an unbiased estimate: near or below 0 for equal
            distributions.
        std: standard deviation over the subsets; NaN for a single subset.
    """

    value: float
    std: float


def kernel_distance(
    a: Float[ArrayLike, "n d"],
    b: Float[ArrayLike, "m d"],
    *,
    subset_size: int = 1000,
    num_subsets: int = 100,
    seed: int = 0,
    progress: bool | None = None,
) -> KernelDistance:
    """The squared maximum mean discrepancy between two sets of features, with a cubic kernel.

    `mean_{i≠j} k(a_i, a_j) + mean_{i≠j} k(b_i, b_j) − 2 mean_{i,j} k(a_i, b_j)` with
    `k(x, y) = (x·y/d + 1)³`, averaged over subsets, in float64. With Inception features this is
    KID. Unlike the Fréchet distance it is unbiased for few samples and assumes no Gaussian.

    Args:
        a: features of shape (n, d), n ≥ 2.
        b: features of shape (m, d), m ≥ 2.
        subset_size: rows drawn from each set per subset. If neither set is larger, both are used
            entirely, once.
        num_subsets: number of subsets.
        seed: seed of the draws.
        progress: whether to draw a progress bar; None: on a terminal only.

    Returns:
        The mean over the subsets, and their standard deviation.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite, or a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import kernel_distance
        >>> same, other, moved = np.random.default_rng(0).normal(size=(3, 500, 4))
        >>> print(round(kernel_distance(same, other).value, 1))
        -0.0
        >>> print(round(kernel_distance(same, moved + 1).value, 1))
        10.4

    References:
        Bińkowski et al., Demystifying MMD GANs, arXiv 1801.01401.
    """
    first, second = two_sets(a, b)
    subset_size = whole_number("subset_size", subset_size, 2)
    num_subsets = whole_number("num_subsets", num_subsets, 1)
    seed = whole_number("seed", seed, 0)
    if subset_size >= max(len(first), len(second)):
        num_subsets = 1
    draws = np.random.default_rng(seed)

    def subset(rows: np.ndarray) -> np.ndarray:
        return rows[draws.choice(len(rows), min(subset_size, len(rows)), replace=False)]

    def distance() -> float:
        return float(discrepancy(subset(first), subset(second)))

    distances = repeated("kernel distance", num_subsets, distance, progress)
    std = float(np.std(distances, ddof=1)) if num_subsets > 1 else float("nan")
    return KernelDistance(float(np.mean(distances)), std)


def discrepancy(a: Rows, b: Rows) -> Float[Array | np.float64, ""]:
    """The unbiased estimate from all pairs of rows of two subsets, of NumPy or of JAX."""

    def kernel(x: Rows, y: Rows) -> Rows:
        # k − 1: the 1 cancels in the estimate, and would round small products away.
        products = x @ y.T / x.shape[1]
        return products * (3 + products * (3 + products))

    def within(x: Rows) -> Float[Array | np.float64, ""]:
        values = kernel(x, x)
        return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))

    return within(a) + within(b) - 2 * kernel(a, b).mean()
