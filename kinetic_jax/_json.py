"""Numbers as JSON has them: it knows no NaN."""

from typing import Any

import numpy as np


def as_number(value: float) -> float | None:
    """`value`, or None for NaN."""
    return float(value) if np.isfinite(value) else None


def without_nan(tree: Any) -> Any:
    """`tree` of dictionaries and lists, with None (JSON has no NaN) for numbers that are none."""
    if isinstance(tree, dict):
        return {name: without_nan(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [without_nan(value) for value in tree]
    return as_number(tree) if isinstance(tree, float) else tree
