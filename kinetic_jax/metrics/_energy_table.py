"""Several statistics by quantile of energy, side by side, as JSON has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from kinetic_jax.metrics._energy_groups import EnergyGroup, energy_groups


def energy_table(
    energy: Float[ArrayLike, " n"],
    statistics: Mapping[str, Shaped[ArrayLike, " n"]],
    num_groups: int = 5,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row per group of energy, with the mean and the interval of every statistic.

    Args:
        energy: energies, shape (n,); without any there are no rows.
        statistics: quantities of the samples by name, each (n,); see `energy_groups`.
        num_groups: number of groups, or n if that is smaller.
        confidence: level of the intervals.
        resamples: number of bootstrap draws.
        seed: seed of the draws.

    Returns:
        Rows with "samples", "range", and for each statistic NAME and NAME_interval.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import energy_table
        >>> energy_table(np.array([1.0, 2.0]), {"f_mem": np.array([0, 1])}, 1)[0]["range"]
        [1.0, 2.0]
    """
    size = np.size(np.asarray(energy))
    if not size:
        return []
    groups = {
        name: energy_groups(
            energy,
            values,
            min(num_groups, size),
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )
        for name, values in statistics.items()
    }
    rows = []
    for members in zip(*groups.values(), strict=True):
        row: dict[str, Any] = {
            "samples": members[0].number,
            "range": [members[0].lowest, members[0].highest],
        }
        for name, group in zip(groups, members, strict=True):
            row |= {name: group.mean, f"{name}_interval": [group.low, group.high]}
        rows.append(row)
    return rows


def table_groups(table: Sequence[Mapping[str, Any]], name: str) -> list[EnergyGroup]:
    """The groups of one statistic in a table of `energy_table`."""
    return [
        EnergyGroup(
            lowest=row["range"][0],
            highest=row["range"][1],
            number=row["samples"],
            mean=row[name],
            low=row[f"{name}_interval"][0],
            high=row[f"{name}_interval"][1],
        )
        for row in table
    ]
