"""A statistic of samples by quantile of their energy: the table behind the Goldilocks curve."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import require, require_between


class EnergyGroup(NamedTuple):
    """One of the groups that `energy_groups` returns.

    Attributes:
        lowest: the least energy in the group.
        highest: the greatest.
        number: how many samples it has.
        mean: mean of the quantity over them.
        low: lower end of its interval.
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
    values: Float[ArrayLike, " n"],
    num_groups: int = 5,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[EnergyGroup]:
    """Means of a quantity over groups of samples of equal number, from low energy to high.

    The quantity may be a margin, a confidence, or 0 and 1 for not memorised and memorised. The
    intervals are percentile bootstraps over the samples of a group; the grouping itself is kept.

    Args:
        energy: energies (or a part of them), shape (n,), finite.
        values: the quantity, shape (n,), finite.
        num_groups: how many groups; at most n.
        confidence: of the intervals, in (0, 1).
        resamples: bootstrap draws.
        seed: of those draws.

    Raises:
        ValueError: if the shapes differ, a number is not finite, or a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax import energy_groups
        >>> low, high = energy_groups(np.array([3.0, 1.0, 2.0, 4.0]), np.array([1, 0, 0, 1.0]), 2)
        >>> (low.lowest, low.highest, low.mean), (high.lowest, high.highest, high.mean)
        ((1.0, 2.0, 0.0), (3.0, 4.0, 1.0))
    """
    require_between("confidence", confidence, 0.0, 1.0)
    require(resamples >= 1, "resamples", resamples, "be >= 1")
    amounts, numbers = np.asarray(energy, np.float64), np.asarray(values, np.float64)
    require(amounts.ndim == 1 and amounts.size >= 1, "energy", amounts.shape, "have shape (n,)")
    fits = numbers.shape == amounts.shape
    require(fits, "values", f"shape {numbers.shape}", f"have the energies', {amounts.shape}")
    require(
        1 <= num_groups <= amounts.size, "num_groups", num_groups, f"lie in [1, {amounts.size}]"
    )
    for name, array in (("energy", amounts), ("values", numbers)):
        bad = int(np.sum(~np.isfinite(array)))
        require(bad == 0, name, f"{bad} numbers that are not", "be finite")
    draws, tail = np.random.default_rng(seed), (1 - confidence) / 2
    groups = []
    for members in np.array_split(np.argsort(amounts, kind="stable"), num_groups):
        own = numbers[members]
        means = own[draws.integers(0, own.size, (resamples, own.size))].mean(axis=1)
        low, high = np.quantile(means, [tail, 1 - tail])
        first, last = amounts[members[[0, -1]]]
        groups.append(
            EnergyGroup(
                float(first), float(last), own.size, float(own.mean()), float(low), float(high)
            )
        )
    return groups
