"""The result of `diagnose_job`."""

import dataclasses
from typing import NamedTuple

import numpy as np

from kinetic_jax.jobs._read import Job
from kinetic_jax.jobs._shards import EnergyParts
from kinetic_jax.metrics import Correlation, EnergyGroup, Memorization


class Failures(NamedTuple):
    """Excluded samples of a job.

    Attributes:
        not_finite: number of samples that are not finite.
        step_limit: number of samples at the step limit.
        first: indices of the first of them, at most 10.
    """

    not_finite: int
    step_limit: int
    first: list[int]


class Spread(NamedTuple):
    """Mean, spread and quartiles of a quantity over the valid samples; NaN where undefined.

    Attributes:
        mean: the mean.
        sd: standard deviation, with n − 1.
        min: the least value.
        q1: first quartile.
        median: the median.
        q3: third quartile.
        max: the greatest value.
    """

    mean: float
    sd: float
    min: float
    q1: float
    median: float
    q3: float
    max: float


class Groups(NamedTuple):
    """Fifths of the valid samples by an energy, lowest first.

    Attributes:
        memorized: share of memorised samples in each.
        nearest: mean distance to the nearest training row in each.
    """

    memorized: list[EnergyGroup]
    nearest: list[EnergyGroup]


class Fifths(NamedTuple):
    """The samples by fifth of an energy.

    Attributes:
        total: by fifth of the total energy.
        excess: by fifth of the straightness excess.
    """

    total: Groups
    excess: Groups


class Scales(NamedTuple):
    """Standard deviations of raw numbers, to notice data on another scale than the samples.

    Attributes:
        samples: of the first shard.
        train: of some training rows.
        alike: False if one is more than four times the other.
    """

    samples: float
    train: float
    alike: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis:
    """The result of `diagnose_job`; statistics are over the valid samples.

    Attributes:
        job: the job.
        num_train: number of training rows.
        threshold: threshold of the ratio of the two distances.
        confidence: level of the intervals.
        index: index of every sample, shape (n,).
        label: its class, shape (n,), or None.
        status: 0 ok, 1 not finite, 2 step limit, shape (n,).
        energy: parts of its energy, each of shape (n,).
        memorization: F_mem of the samples, and of the held-out data if any.
        failures: the excluded samples.
        spreads: spread of each part of the energy.
        nearest_distance: spread of the distance to the nearest training row.
        fifths: memorization and that distance by fifth of the energy.
        correlations: Spearman's, of each part of the energy with that distance.
        scales: scales of the samples and of the training data.
    """

    job: Job
    num_train: int
    threshold: float
    confidence: float
    index: np.ndarray
    label: np.ndarray | None
    status: np.ndarray
    energy: EnergyParts[np.ndarray]
    memorization: Memorization
    failures: Failures
    spreads: EnergyParts[Spread]
    nearest_distance: Spread
    fifths: Fifths
    correlations: EnergyParts[Correlation]
    scales: Scales

    @property
    def valid(self) -> np.ndarray:
        """True for samples of status 0 that are finite, shape (n,)."""
        return (self.status == 0) & self.memorization.valid
