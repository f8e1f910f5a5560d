"""Confidence intervals of shares and means."""

import numpy as np


def wilson(count: int, number: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a share; NaN without samples."""
    from scipy.stats import binomtest  # a slow import

    if not number:
        return float("nan"), float("nan")
    interval = binomtest(count, number).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_share(count: int, number: int, confidence: float) -> tuple[float, float]:
    """The exact percentile bootstrap of a share, by binomial quantiles; NaN without samples."""
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
    # One resample at a time, to hold n numbers and not resamples × n.
    means = [values[draws.integers(0, values.size, values.size)].mean() for _ in range(resamples)]
    return percentiles(np.array(means), confidence)


def percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """The central interval of the values that are not NaN; NaN if there are none."""
    if np.isnan(values).all():
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def newcombe(
    share: float, ends: tuple[float, float], other: float, other_ends: tuple[float, float]
) -> tuple[float, float]:
    """Newcombe's interval of the difference share − other, from their Wilson intervals."""
    down = np.hypot(share - ends[0], other_ends[1] - other)
    up = np.hypot(ends[1] - share, other - other_ends[0])
    return float(share - other - down), float(share - other + up)
