"""Settings that others beat in both F_mem and Fréchet distance."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from benchmarks.claims._rows import Row, paired_difference

OURS = "KTS"  # families that begin with it are compared with all others


class Measure(NamedTuple):
    """The two measures by which rows are compared.

    Attributes:
        name: family and setting.
        ours: whether it is of KTS.
        copied: 1 for a copy, NaN for a bad trajectory, shape (rows of the noise,).
        frechet: its distance to real images.
    """

    name: str
    ours: bool
    copied: np.ndarray
    frechet: float


def measure_of(name: str, family: str, row: Row) -> Measure:
    """The two measures of a row."""
    copied = np.full(len(row.run.good), np.nan)
    copied[row.run.good] = row.copied.memorized
    return Measure(f"{family}: {name}", family.startswith(OURS), copied, row.frechet)


def beaten(measures: Sequence[Measure]) -> dict[str, Any]:
    """For every setting of KTS the controls that beat it, and the other way round.

    One beats another with clearly fewer copies on the same noise, at a distance that is not
    greater. "Clearly" allows for all the pairs that are looked at (Bonferroni, 5% in all), so that
    many settings are no better luck than few; the distances are compared as they were measured.

    Args:
        measures: of all rows but that of no gain.

    Returns:
        The number of pairs, and by name the names that beat it, of KTS's settings and of controls.
    """
    ours = [one for one in measures if one.ours]
    others = [one for one in measures if not one.ours]
    pairs = 2 * len(ours) * len(others)
    z = float(norm.isf(0.025 / pairs)) if pairs else 0.0
    return {
        "pairs": pairs,
        "kts": {one.name: _beating(one, others, z) for one in ours},
        "controls": {one.name: _beating(one, ours, z) for one in others},
    }


def _beating(one: Measure, others: Sequence[Measure], z: float) -> list[str]:
    found = []
    for other in others:
        pairs = other.copied - one.copied
        fewer = paired_difference(pairs[~np.isnan(pairs)], z)
        if fewer["high"] < 0 and other.frechet <= one.frechet:
            found.append(other.name)
    return found
