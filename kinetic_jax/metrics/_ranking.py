"""The area under the ROC curve, with an interval."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import fraction, real_array, require


class RocAuc(NamedTuple):
    """The result of `roc_auc`.

    Attributes:
        value: the area, in [0, 1].
        low: lower end of its interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


def roc_auc(
    positive: Float[ArrayLike, " n"],
    negative: Float[ArrayLike, " m"],
    *,
    confidence: float = 0.95,
) -> RocAuc:
    """The area under the ROC curve of a score: P(positive > negative) + P(equal) / 2.

    Near 1 if the score separates the two groups, 0.5 if it does not, and below 0.5 if the positive
    samples have less of it. For example, the energies of memorised samples against the others'.
    The interval solves |value − θ| = z sqrt(V(θ)) for θ, as Wilson's does for a share, with
    V(θ) = θ (1 − θ) (1 + (N − 1) ((1 − θ)/(2 − θ) + θ/(1 + θ))) / (n m), N = (n + m)/2. It stays
    within [0, 1], and has a width if the groups do not overlap.

    Args:
        positive: scores of one group, shape (n,), n ≥ 1, finite.
        negative: scores of the other, shape (m,), m ≥ 1, finite.
        confidence: level of the interval, in (0, 1).

    Returns:
        The area with its interval.

    Raises:
        ValueError: if a group is empty, not one-dimensional or not finite, or `confidence` lies
            outside (0, 1).

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import roc_auc
        >>> high, low = np.array([2.0, 3.0]), np.array([1.0, 2.0])
        >>> roc_auc(high, low).value  # three of the four pairs are in order, one is equal
        0.875

    References:
        Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney
        statistic, part 2, Statistics in Medicine 25, 2006 (method 5).
    """
    from scipy.stats import norm, rankdata  # a slow import

    confidence = fraction("confidence", confidence)
    groups = []
    for name, scores in (("positive", positive), ("negative", negative)):
        values = real_array(name, scores)
        require(values.ndim == 1 and values.size >= 1, name, values.shape, "be (n,), n >= 1")
        bad = int(np.sum(~np.isfinite(values)))
        require(bad == 0, name, f"{bad} numbers that are not", "be finite")
        groups.append(values)
    n, m = (values.size for values in groups)
    ranks = rankdata(np.concatenate(groups))[:n]
    value = float((ranks.sum() - n * (n + 1) / 2) / (n * m))
    return RocAuc(value, *_interval(value, n, m, float(norm.isf((1 - confidence) / 2))))


def _interval(value: float, n: int, m: int, z: float) -> tuple[float, float]:
    from scipy.optimize import brentq

    # The excess is positive at 0 and at 1, and negative next to the value.
    inside, given = 1 - 1e-12, (value, n, m, z)
    low = 0.0 if value == 0 else brentq(_excess, 0.0, value * inside, args=given)
    high = 1.0 if value == 1 else brentq(_excess, 1 - (1 - value) * inside, 1.0, args=given)
    return float(low), float(high)


def _excess(area: float, value: float, n: int, m: int, z: float) -> float:
    """(value − θ)² − z² V(θ), whose roots are the ends of the interval."""
    spread = (1 - area) / (2 - area) + area / (1 + area)
    variance = area * (1 - area) * (1 + ((n + m) / 2 - 1) * spread) / (n * m)
    return (value - area) ** 2 - z**2 * variance
