"""Numbers and outcomes in words and intervals."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from kinetic_jax.metrics import EnergyGroup, Memorization, energy_groups, roc_auc, spearman
from kinetic_jax.metrics._comparison import resampled
from kinetic_jax.metrics._intervals import wilson
from kinetic_jax.plotting import Estimate, Interval


class Line(NamedTuple):
    """A figure of the README's table.

    Attributes:
        what: in words.
        published: the figure of the paper, if it has one.
        here: with its interval.
    """

    what: str
    published: str
    here: str


CONFIDENCE = 0.95
RESAMPLES = 500
LEAST = 10


def groups(energy: np.ndarray, values: np.ndarray, number: int = 5) -> list[dict[str, float]]:
    """`energy_groups` as JSON has it."""
    table = energy_groups(energy, values, number, resamples=RESAMPLES)
    return [group._asdict() for group in table]


def correlation(a: np.ndarray, b: np.ndarray, given: np.ndarray | None = None) -> dict[str, float]:
    """`spearman` as JSON has it."""
    return as_json(spearman(a, b, given=given, resamples=RESAMPLES, progress=False))


def as_json(estimate: Estimate) -> dict[str, float]:
    """A value and its interval as JSON has them."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def share(copied: Memorization) -> dict[str, float]:
    """F_mem as JSON has it."""
    return {"value": copied.fraction, "low": copied.low, "high": copied.high}


def share_of(flags: np.ndarray) -> dict[str, float]:
    """The share of true flags with its Wilson interval; NaN of none."""
    value = float(np.mean(flags)) if flags.size else float("nan")
    low, high = wilson(int(np.sum(flags)), flags.size, CONFIDENCE)
    return {"value": value, "low": low, "high": high}


def within(classes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The rank of each value in its class, in (0, 1): free of what classes differ in."""
    ranks = np.zeros(len(values))
    for own in np.unique(classes):
        members = classes == own
        ranks[members] = rankdata(values[members]) / (members.sum() + 1)
    return ranks


def bootstrap(
    statistic: Any, arrays: Sequence[np.ndarray], resamples: int | None = None, seed: int = 0
) -> dict[str, float]:
    """A statistic of samples with its percentile bootstrap interval; rows are drawn together."""
    draws = resampled(
        lambda rows: statistic(*(array[rows] for array in arrays)),
        np.arange(len(arrays[0])),
        resamples=resamples or RESAMPLES,
        seed=seed,
    )
    low = high = float("nan")
    if not np.isnan(draws).all():
        low, high = np.nanquantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"value": float(statistic(*arrays)), "low": float(low), "high": float(high)}


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """`roc_auc` of the positive samples against the others.

    NaN with fewer than `LEAST` on either side: an interval from so few would be made up.
    """
    is_positive = positive.astype(bool)
    groups = scores[is_positive], scores[~is_positive]
    return roc_auc(*groups).value if min(map(len, groups)) >= LEAST else float("nan")


def interval(estimate: dict[str, Any], factor: float = 1.0) -> Interval:
    """A value with its interval from JSON, times a factor; NaN for null."""
    numbers = [estimate[name] for name in ("value", "low", "high")]
    return Interval(*(float("nan") if n is None else factor * n for n in numbers))


def energy_group_series(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[EnergyGroup]]:
    """The groups of `groups`, from JSON."""
    return {name: [EnergyGroup(**group) for group in own] for name, own in tables.items()}


def with_interval(estimate: dict[str, Any], form: str = "+.2f") -> str:
    """Value (low to high)."""
    numbers = [estimate.get("value", estimate.get("mean")), estimate["low"], estimate["high"]]
    if None in numbers:  # JSON's NaN
        return "none" if numbers[0] is None else f"{numbers[0]:{form}} (no interval)"
    middle, low, high = (f"{number:{form}}" for number in numbers)
    return f"{middle} ({low} to {high})"


def percent(estimate: dict[str, Any]) -> str:
    """A share with its interval, in percent."""
    numbers = [estimate.get("value", estimate.get("mean")), estimate["low"], estimate["high"]]
    if None in numbers:
        return "none"
    middle, low, high = (f"{100 * number:.1f}" for number in numbers)
    return f"{middle}% ({low} to {high})"


def points(estimate: dict[str, Any]) -> str:
    """A difference of shares in points."""
    numbers = [estimate[name] for name in ("value", "low", "high")]
    if None in numbers:
        return "none"
    middle, low, high = (f"{100 * number:+.1f}" for number in numbers)
    return f"{middle} ({low} to {high}) points"


def rise(grouped: list[dict[str, Any]]) -> str:
    """The trend of a mean from the lowest group to the highest: rises, falls, or not clearly."""
    lowest, highest = grouped[0], grouped[-1]
    if highest["low"] > lowest["high"]:
        return "rises"
    return "falls" if highest["high"] < lowest["low"] else "does not clearly change"
