"""Rank correlation, with an interval."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy import stats

from kinetic_jax._checks import require, require_between
from kinetic_jax._progress import progress_bar
from kinetic_jax.metrics._intervals import percentiles


class Correlation(NamedTuple):
    """What `spearman` returns.

    Attributes:
        value: the correlation, in [−1, 1].
        low: lower end of its interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


def spearman(
    a: Float[ArrayLike, " n"],
    b: Float[ArrayLike, " n"],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    progress: bool | None = None,
) -> Correlation:
    """Spearman's rank correlation of two quantities of the same samples (energy and support, say).

    The interval is a percentile bootstrap over samples. Leave samples that are not finite out, and
    say how many.

    Args:
        a: shape (n,), n ≥ 3.
        b: shape (n,).
        confidence: of the interval, in (0, 1).
        resamples: bootstrap draws.
        seed: of those draws.
        progress: whether to draw a progress bar; None: on a terminal only.

    Raises:
        ValueError: if the shapes differ, there are fewer than three samples, a number is not
            finite, all are equal, or a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax import spearman
        >>> x = np.arange(50.0)
        >>> print(round(spearman(x, x**3).value, 6))
        1.0
    """
    require_between("confidence", confidence, 0.0, 1.0)
    require(resamples >= 1, "resamples", resamples, "be >= 1")
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    require(first.ndim == 1 and first.size >= 3, "a", f"shape {first.shape}", "be (n,), n >= 3")
    require(first.shape == second.shape, "b", f"shape {second.shape}", f"have {first.shape}")
    for name, values in (("a", first), ("b", second)):
        bad = int(np.sum(~np.isfinite(values)))
        require(bad == 0, name, f"{bad} numbers that are not", "be finite")
        require(bool(np.ptp(values) > 0), name, "equal numbers alone", "vary, to have ranks")
    value = float(stats.spearmanr(first, second).statistic)
    draws = np.random.default_rng(seed)
    found = []
    with progress_bar("resamples", resamples, show=progress) as update:
        for done in range(resamples):
            draw = draws.integers(0, first.size, first.size)
            found.append(_correlation(first[draw], second[draw]))
            update(done + 1, "")
    return Correlation(value, *percentiles(np.array(found), confidence))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = stats.rankdata(a), stats.rankdata(b)
    if not (np.ptp(ranks[0]) and np.ptp(ranks[1])):
        return float("nan")  # a draw of equal numbers
    return float(np.corrcoef(*ranks)[0, 1])
