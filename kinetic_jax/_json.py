"""Values without NaN, which JSON lacks."""

from typing import Any

import numpy as np
from jaxtyping import PyTree


def as_number(value: float) -> float | None:
    """`value`, or None for NaN."""
    return float(value) if np.isfinite(value) else None


def without_nan(tree: PyTree[Any]) -> PyTree[Any]:
    """`tree` of dictionaries and lists, with None in place of NaN."""
    if isinstance(tree, dict):
        return {name: without_nan(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [without_nan(value) for value in tree]
    return as_number(tree) if isinstance(tree, float) else tree
