"""Values as JSON has them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kinetic_jax.metrics import EnergyGroup


def as_number(value: float) -> float | None:
    """`value`, or None for NaN."""
    return float(value) if np.isfinite(value) else None


def without_nan(tree: Any) -> Any:
    """`tree` of dictionaries and lists, with None in place of NaN."""
    if isinstance(tree, dict):
        return {name: without_nan(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [without_nan(value) for value in tree]
    return as_number(tree) if isinstance(tree, float) else tree


def group_rows(statistics: Mapping[str, Sequence["EnergyGroup"]]) -> list[dict[str, Any]]:
    """One row per group of energy, with the mean and the interval of each statistic."""
    rows = []
    for members in zip(*statistics.values(), strict=True):
        first, row = members[0], dict[str, Any]()
        row |= {"samples": first.number, "range": [first.lowest, first.highest]}
        for name, group in zip(statistics, members, strict=True):
            row |= {name: group.mean, f"{name}_interval": [group.low, group.high]}
        rows.append(row)
    return rows
