"""Checks of the sets of features that distances between distributions take."""

import numpy as np
from jaxtyping import ArrayLike

from kinetic_jax._checks import real_array, require


def features(name: str, array: ArrayLike, *, least: int = 2) -> np.ndarray:
    """`array` as float64 features of shape (n, d).

    Raises:
        ValueError: if the shape differs, there are fewer than `least` rows, or a number is not
            finite.
    """
    rows = real_array(name, array)
    require(
        rows.ndim == 2 and rows.shape[0] >= least and rows.shape[1] >= 1,
        name,
        f"shape {rows.shape}",
        f"be features of shape (n >= {least}, d >= 1)",
    )
    bad = int(np.sum(~np.isfinite(rows).all(axis=1)))
    require(bad == 0, name, f"{bad} rows that are not", "be finite")
    return rows


def two_sets(
    a: ArrayLike, b: ArrayLike, names: tuple[str, str] = ("a", "b"), *, least: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of `features` with the same d.

    Raises:
        ValueError: as `features`, or if d differs.
    """
    first, second = features(names[0], a, least=least), features(names[1], b, least=least)
    require(
        first.shape[1] == second.shape[1],
        names[1],
        f"{second.shape[1]} features",
        f"have the {first.shape[1]} features of {names[0]}",
    )
    return first, second
