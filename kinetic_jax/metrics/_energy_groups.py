"""A statistic of samples by quantile of their energy: the table behind the Goldilocks curve."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from kinetic_jax._checks import fraction, real_array, require, whole_number
from kinetic_jax.metrics._features import require_finite_numbers
from kinetic_jax.metrics._intervals import bootstrap_mean, wilson


class EnergyGroup(NamedTuple):
    """One of the groups that `energy_groups` returns.

    Attributes:
        lowest: the least energy in the group.
        highest: the greatest.
        number: number of samples.
        mean: mean of the quantity over them.
        low: lower end of the interval of the mean.
        high: upper end.
    """

    lowest: float
    highest: float
    number: int
    mean: float
    low: float
    high: float


def energy_groups(
    energy: Float[ArrayLike, " n"],
    values: Shaped[ArrayLike, " n"],
    num_groups: int = 5,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[EnergyGroup]:
    """Means of a quantity over equally large groups of samples, from low energy to high.

    The Goldilocks table. The quantity may be a margin, a confidence, or 0 and 1 for not memorised
    and memorised (of valid samples only). Equal energies are grouped in the given order. The
    intervals are percentile bootstraps over the samples of a group, with the groups fixed; they
    are Wilson's if every value is 0 or 1, because the bootstrap of zeros alone has no width.

    Args:
        energy: energies (or a part of them), shape (n,), finite.
        values: the quantity, shape (n,), finite.
        num_groups: number of groups, at most n.
        confidence: level of the intervals, in (0, 1).
        resamples: number of bootstrap draws.
        seed: seed of the draws.

    Returns:
        The groups, from the lowest energy to the highest.

    Raises:
        ValueError: if the shapes differ, a number is not finite, or a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import energy_groups
        >>> low, high = energy_groups(np.array([3.0, 1.0, 2.0, 4.0]), np.array([1, 0, 0, 1.0]), 2)
        >>> (low.lowest, low.highest, low.mean), (high.lowest, high.highest, high.mean)
        ((1.0, 2.0, 0.0), (3.0, 4.0, 1.0))
    """
    confidence, seed = fraction("confidence", confidence), whole_number("seed", seed, 0)
    resamples = whole_number("resamples", resamples, 1)
    energies, numbers = real_array("energy", energy), real_array("values", values)
    require(energies.ndim == 1 and energies.size >= 1, "energy", energies.shape, "have shape (n,)")
    fits = numbers.shape == energies.shape
    require(fits, "values", f"shape {numbers.shape}", f"have the energies' shape, {energies.shape}")
    num_groups = whole_number("num_groups", num_groups, 1, energies.size)
    require_finite_numbers("energy", energies)
    require_finite_numbers("values", numbers)
    draws = np.random.default_rng(seed)
    is_share = bool(np.isin(numbers, (0, 1)).all())
    groups = []
    for members in np.array_split(np.argsort(energies, kind="stable"), num_groups):
        group = numbers[members]
        if is_share:
            low, high = wilson(int(group.sum()), group.size, confidence)
        else:
            low, high = bootstrap_mean(group, confidence, resamples, draws)
        lowest, highest = map(float, energies[members[[0, -1]]])
        groups.append(EnergyGroup(lowest, highest, group.size, float(group.mean()), low, high))
    return groups


def group_rows(statistics: Mapping[str, Sequence[EnergyGroup]]) -> list[dict[str, Any]]:
    """One row per group of energy, with the mean and the interval of each statistic, for JSON."""
    rows = []
    for members in zip(*statistics.values(), strict=True):
        first, row = members[0], dict[str, Any]()
        row |= {"samples": first.number, "range": [first.lowest, first.highest]}
        for name, group in zip(statistics, members, strict=True):
            row |= {name: group.mean, f"{name}_interval": [group.low, group.high]}
        rows.append(row)
    return rows
