"""Intervals of shares and means."""

import numpy as np


def wilson(count: int, number: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a share; NaN of nothing."""
    from scipy.stats import binomtest  # most of a second

    if not number:
        return float("nan"), float("nan")
    found = binomtest(count, number).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def bootstrap_share(count: int, number: int, confidence: float) -> tuple[float, float]:
    """The percentile bootstrap of a share, without draws; NaN of nothing.

    The count in a resample of the same number is binomial, and so its quantiles are known.
    """
    from scipy.stats import binom

    if not number:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = binom.ppf([tail, 1 - tail], number, count / number) / number
    return float(low), float(high)


def bootstrap_mean(
    values: np.ndarray, confidence: float, resamples: int, draws: np.random.Generator
) -> tuple[float, float]:
    """The percentile bootstrap of a mean."""
    # One resample at a time: all of them would take resamples × n numbers.
    means = [values[draws.integers(0, values.size, values.size)].mean() for _ in range(resamples)]
    return percentiles(np.array(means), confidence)


def percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """What leaves equal shares outside on both sides; NaN counts for nothing, and alone is NaN."""
    if np.isnan(values).all():
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def newcombe(
    share: float, ends: tuple[float, float], other: float, other_ends: tuple[float, float]
) -> tuple[float, float]:
    """Newcombe's interval of the difference share − other, from the Wilson interval of each."""
    down = np.hypot(share - ends[0], other_ends[1] - other)
    up = np.hypot(ends[1] - share, other - other_ends[0])
    return float(share - other - down), float(share - other + up)
