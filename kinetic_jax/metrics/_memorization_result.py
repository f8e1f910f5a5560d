"""The result of `memorization`."""

from typing import NamedTuple

import numpy as np

from kinetic_jax._pytree import short_repr
from kinetic_jax.metrics._intervals import Interval, newcombe


class ThresholdSweep(NamedTuple):
    """F_mem at every threshold of a sweep, as NumPy arrays of shape (thresholds,).

    Attributes:
        thresholds: thresholds of the ratio of the two distances.
        fraction: the share of valid samples below each.
        low: lower ends of their Wilson intervals.
        high: upper ends.
    """

    thresholds: np.ndarray
    fraction: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Kept(NamedTuple):
    """The share of completed samples whose nearest row is that of the plain sample.

    Attributes:
        fraction: the share; NaN without samples.
        low: lower end of its Wilson interval.
        high: upper end.
    """

    fraction: float
    low: float
    high: float


class Excess(NamedTuple):
    """F_mem of samples minus that of the held-out data.

    Attributes:
        fraction: the difference.
        low: lower end of its Newcombe interval.
        high: upper end.
    """

    fraction: float
    low: float
    high: float


class Memorization(NamedTuple):
    """The result of `memorization`, as NumPy arrays.

    Attributes:
        fraction: F_mem, the share of memorised samples among the valid ones.
        low: lower end of its Wilson interval.
        high: upper end.
        distances: distances to the nearest and second nearest training row, shape (n, 2).
        indices: numbers of those rows, shape (n, 2).
        ratios: nearest / second nearest, shape (n,); 1 where both are 0, NaN for samples that are
            not finite.
        memorized: whether each sample is memorised, shape (n,); count only `valid` samples.
        invalid: number of samples that are not finite; they are excluded from `fraction`.
        bootstrap: percentile bootstrap interval of `fraction`.
        duplicated: whether the two training rows nearest to a sample are duplicates of each
            other, shape (n,). Unless duplicates are merged, a copy of them does not count as
            memorised.
        sweep: F_mem at other thresholds.
        held_out: the result for the held-out data, if any.
        completed: the result for the completed samples, if any.
        kept: how many of them keep the nearest row of the plain samples, if these were given.
        kept_copies: the same among those whose plain sample is memorised.
    """

    fraction: float
    low: float
    high: float
    distances: np.ndarray
    indices: np.ndarray
    ratios: np.ndarray
    memorized: np.ndarray
    invalid: int
    bootstrap: Interval
    duplicated: np.ndarray
    sweep: ThresholdSweep
    held_out: "Memorization | None" = None
    completed: "Memorization | None" = None
    kept: Kept | None = None
    kept_copies: Kept | None = None

    def __repr__(self) -> str:
        return short_repr(self)

    @property
    def valid(self) -> np.ndarray:
        """True for finite samples, shape (n,)."""
        return np.isfinite(self.ratios)

    @property
    def excess(self) -> Excess:
        """`fraction` minus the held-out data's.

        Raises:
            ValueError: if no held-out data were given.
        """
        other = self.held_out
        if other is None:
            raise ValueError("held_out must be given to memorization for an excess over it")
        ends, other_ends = Interval(self.low, self.high), Interval(other.low, other.high)
        interval = newcombe(self.fraction, ends, other.fraction, other_ends)
        return Excess(self.fraction - other.fraction, *interval)
