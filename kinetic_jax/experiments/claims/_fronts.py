"""Fronts of F_mem against Fréchet distance, compared where their distances are equal."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kinetic_jax.experiments.claims._rows import Row
from kinetic_jax.metrics import FrechetReference

OURS = "KTS"  # families that begin with it are taken together
POINTS = 33  # on the way from one setting of a family to the next


class Halves(NamedTuple):
    """One row in two halves of the noise: what is chosen on one is measured on the other.

    Attributes:
        copied: 1 for a copy, NaN for a bad trajectory, shape (rows of the noise,).
        frechet: the distance of the even and of the odd rows, shape (2,).
    """

    copied: np.ndarray
    frechet: np.ndarray


def in_halves(row: Row, frechet: FrechetReference) -> Halves:
    """The halves of a row that was measured."""
    good = row.run.good
    copied = np.full(len(good), np.nan)
    copied[good] = row.copied.memorized
    side = np.arange(len(good))[good] % 2
    distances = [frechet(row.features[side == half]) for half in (0, 1)]
    return Halves(copied, np.array(distances))


def at_equal_distance(
    rows: Sequence[dict[str, Any]], halves: Sequence[Halves], margins: Sequence[float]
) -> list[dict[str, Any]]:
    """The least F_mem that each family reaches no farther from real images than no gain, or so.

    A family is walked from no gain through its settings in their order; between two, F_mem and
    distance are taken to change evenly. The point of least F_mem is chosen on either half of the
    noise and measured on the other, so that a family with more settings has no better luck.

    Args:
        rows: of `compared`, no gain first.
        halves: theirs.
        margins: how much farther than no gain a setting may be, as shares of no gain's distance.

    Returns:
        For each margin and family F_mem, what it is above that of KTS on the same noise, and how
        much farther off the chosen points are on the half they were not chosen on.
    """
    found = []
    for margin in margins:
        values: dict[str, np.ndarray] = {}
        farther: dict[str, float] = {}
        for name, paths in _paths(rows, halves).items():
            values[name], farther[name] = _crossed(paths, margin)
        families = {
            name: {
                "f_mem": _mean(values[name]),
                f"more than {OURS}": _mean(values[name] - values[OURS]),
                "farther by": farther[name],
            }
            for name in values
        }
        found.append({"margin": margin, "families": families})
    return found


def _paths(rows: Sequence[dict[str, Any]], halves: Sequence[Halves]) -> dict[str, Any]:
    """By family the ways to walk; KTS has several."""
    paths: dict[str, list[list[Halves]]] = {}
    for family in dict.fromkeys(row["family"] for row in rows[1:]):
        own = [half for row, half in zip(rows, halves, strict=True) if row["family"] == family]
        name = OURS if family.startswith(OURS) else family
        paths.setdefault(name, []).append([halves[0], *own])
    return paths


def _crossed(paths: list[list[Halves]], margin: float) -> tuple[np.ndarray, float]:
    """F_mem row by row at points chosen on the other half, and how much farther off they are."""
    base = paths[0][0]
    values = np.full(len(base.copied), np.nan)
    farther = []
    steps = [pair for path in paths for pair in itertools.pairwise(path)]
    for half in (0, 1):
        start, end, share = _chosen(steps, base.frechet[half] * (1 + margin), half)
        other = 1 - half
        a, b = start.copied[other::2], end.copied[other::2]
        values[other::2] = (1 - share) * a + share * b
        distance = (1 - share) * start.frechet[other] + share * end.frechet[other]
        farther.append(distance - base.frechet[other])
    return values, float(np.mean(farther))


def _chosen(
    steps: list[tuple[Halves, Halves]], limit: float, half: int
) -> tuple[Halves, Halves, float]:
    """The point of least F_mem within the limit: two settings, and the share of the second."""
    shares = np.linspace(0, 1, POINTS)
    best, least = (*steps[0], 0.0), np.inf
    for start, end in steps:
        f_mem = [np.nanmean(setting.copied[half::2]) for setting in (start, end)]
        copied = f_mem[0] + shares * (f_mem[1] - f_mem[0])
        distance = start.frechet[half] + shares * (end.frechet[half] - start.frechet[half])
        copied = np.where(distance <= limit + 1e-12, copied, np.inf)
        at = int(np.argmin(copied))
        if copied[at] < least:
            best, least = (start, end, float(shares[at])), copied[at]
    return best


def _mean(values: np.ndarray) -> dict[str, float]:
    """The mean over rows with its normal interval; NaN rows are left out."""
    good = values[~np.isnan(values)]
    middle, half = float(good.mean()), float(1.96 * good.std() / np.sqrt(len(good)))
    return {"value": middle, "low": middle - half, "high": middle + half}


def better(level: dict[str, Any]) -> list[str]:
    """The families that are clearly below KTS at a level of `at_equal_distance`."""
    of = level["families"]
    return [name for name in of if of[name][f"more than {OURS}"]["high"] < 0]


def undecided(level: dict[str, Any]) -> list[str]:
    """The families that are not clearly on either side of KTS."""
    of = {name: one[f"more than {OURS}"] for name, one in level["families"].items() if name != OURS}
    return [name for name, more in of.items() if more["low"] <= 0 <= more["high"]]
