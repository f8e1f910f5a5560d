"""Fronts of F_mem against Fréchet distance, compared where their distances are equal."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kinetic_jax.experiments.claims._rows import Spread, about

OURS = "KTS"  # families that begin with it are taken together
POINTS = 33  # on the way from one setting of a family to the next


def at_equal_distance(
    rows: Sequence[dict[str, Any]], spreads: Sequence[Spread], margins: Sequence[float]
) -> list[dict[str, Any]]:
    """The least F_mem that each family reaches no farther from real images than no gain, or so.

    A family is walked from no gain through its settings in their order; between two, F_mem and
    distance are taken to change evenly.

    Args:
        rows: of `compared`, no gain first.
        spreads: theirs.
        margins: how much farther than no gain a setting may be, as shares of no gain's distance.

    Returns:
        For each margin the distance, and for each family F_mem, and what it has more than KTS, from
        the same resamples.
    """
    points = [_both(row["f_mem"]["value"], row["frechet"]["value"]) for row in rows]
    drawn = [np.stack(spread) for spread in spreads]
    found = []
    for margin in margins:
        room = margin * rows[0]["frechet"]["value"]
        value = _reached(rows, points, room)
        draws = _reached(rows, drawn, room)
        families = {
            family: {
                "f_mem": about(float(value[family][0]), draws[family]),
                f"more than {OURS}": about(
                    float((value[family] - value[OURS])[0]), draws[family] - draws[OURS]
                ),
            }
            for family in value
        }
        distance = rows[0]["frechet"]["value"] + room
        found.append({"margin": margin, "distance": distance, "families": families})
    return found


def _both(f_mem: float, frechet: float) -> np.ndarray:
    return np.array([[f_mem], [frechet]])


def _reached(
    rows: Sequence[dict[str, Any]], points: Sequence[np.ndarray], room: float
) -> dict[str, np.ndarray]:
    """By family the least F_mem, one a resample; points: F_mem and distance, (2, resamples)."""
    limit = points[0][1] + room
    reached: dict[str, np.ndarray] = {}
    for family in dict.fromkeys(row["family"] for row in rows[1:]):
        path = [points[0]]
        path += [point for row, point in zip(rows, points, strict=True) if row["family"] == family]
        least = points[0][0]
        for start, end in itertools.pairwise(path):
            way = np.linspace(start, end, POINTS)  # (points, 2, resamples)
            allowed = np.where(way[:, 1] <= limit, way[:, 0], np.inf)
            least = np.minimum(least, allowed.min(axis=0))
        name = OURS if family.startswith(OURS) else family
        reached[name] = np.minimum(least, reached.get(name, least))
    return reached


def better(level: dict[str, Any]) -> list[str]:
    """The families that are clearly below KTS at a level of `at_equal_distance`."""
    of = level["families"]
    return [name for name in of if of[name][f"more than {OURS}"]["high"] < 0]
