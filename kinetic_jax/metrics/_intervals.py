"""Confidence intervals of shares and means."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kinetic_jax._progress import progress_bar

NAN = float("nan")


class Interval(NamedTuple):
    """A confidence interval.

    Attributes:
        low: lower end.
        high: upper end.
    """

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean or a share over samples, with its interval.

    Attributes:
        value: the estimate.
        low: lower end of its interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


def repeated(
    description: str, number: int, draw: Callable[[], float], progress: bool | None
) -> np.ndarray:
    """The results of `number` random draws, with a progress bar."""
    results = np.empty(number)
    with progress_bar(description, number, show=progress) as update:
        for i in range(number):
            results[i] = draw()
            update(i + 1, "")
    return results


def wilson(count: int, number: int, confidence: float) -> Interval:
    """Wilson's score interval of a share; NaN without samples."""
    from scipy.stats import binomtest  # a slow import

    if not number:
        return Interval(NAN, NAN)
    interval = binomtest(count, number).proportion_ci(confidence, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def bootstrap_share(count: int, number: int, confidence: float) -> Interval:
    """The exact percentile bootstrap of a share, by binomial quantiles; NaN without samples."""
    from scipy.stats import binom

    if not number:
        return Interval(NAN, NAN)
    tail = (1 - confidence) / 2
    return Interval(*map(float, binom.ppf([tail, 1 - tail], number, count / number) / number))


def bootstrap_mean(
    values: np.ndarray, confidence: float, resamples: int, draws: np.random.Generator
) -> Interval:
    """The percentile bootstrap of a mean."""
    # One resample at a time, to hold n numbers and not resamples × n.
    means = [values[draws.integers(0, values.size, values.size)].mean() for _ in range(resamples)]
    return percentiles(np.array(means), confidence)


def percentiles(values: np.ndarray, confidence: float) -> Interval:
    """The central interval of the values that are not NaN; NaN if there are none."""
    if np.isnan(values).all():
        return Interval(NAN, NAN)
    tail = (1 - confidence) / 2
    return Interval(*map(float, np.nanquantile(values, [tail, 1 - tail])))


def newcombe(share: float, ends: Interval, other: float, other_ends: Interval) -> Interval:
    """Newcombe's interval of the difference share − other, from their Wilson intervals."""
    down = np.hypot(share - ends.low, other_ends.high - other)
    up = np.hypot(ends.high - share, other - other_ends.low)
    return Interval(float(share - other - down), float(share - other + up))
