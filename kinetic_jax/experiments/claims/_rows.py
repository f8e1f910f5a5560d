"""Rows of a table of F_mem and Fréchet distance, compared with a baseline on the same noise."""

from typing import Any, NamedTuple

import numpy as np

from kinetic_jax.experiments.claims._runs import Run
from kinetic_jax.experiments.claims._subjects import Subjects
from kinetic_jax.experiments.claims._words import CONFIDENCE
from kinetic_jax.metrics import FrechetReference, Memorization, memorization

FRECHET_RESAMPLES = 100


class Row(NamedTuple):
    """One setting, measured.

    Attributes:
        run: its samples.
        copied: which of them are copies.
        features: the classifier's, of the samples.
    """

    run: Run
    copied: Memorization
    features: np.ndarray


def measured(run: Run, subjects: Subjects) -> Row:
    """Finds the copies among the samples of a run, and their features."""
    copied = memorization(run.images, subjects.few, progress=False)
    return Row(run, copied, subjects.features(run.images))


def compared(name: str, family: str, row: Row, baseline: Row, subjects: Subjects) -> dict[str, Any]:
    """The row as JSON has it, with its differences from the baseline, sample by sample.

    Args:
        name: what the setting is called.
        family: which rows it belongs with.
        row: what was measured.
        baseline: the row of no gain on the same noise.
        subjects: whose held-out images the Fréchet distance is taken to.
    """
    both = row.run.good & baseline.run.good
    mine, theirs = both[row.run.good], both[baseline.run.good]
    pairs = row.copied.memorized[mine].astype(float) - baseline.copied.memorized[theirs]
    moved = _frechet_changes(row.features[mine], baseline.features[theirs], subjects.frechet)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(moved, [tail, 1 - tail])
    return {
        "name": name,
        "family": family,
        "bad": row.run.bad,
        "evaluations": row.run.evaluations,
        "energy": float(row.run.quantities["total"].mean()),
        "f_mem": {"value": row.copied.fraction, "low": row.copied.low, "high": row.copied.high},
        "f_mem change": paired_difference(pairs),
        "frechet": subjects.frechet(row.features),
        "frechet change": {"value": float(np.mean(moved)), "low": float(low), "high": float(high)},
    }  # fmt: skip


def paired_difference(pairs: np.ndarray) -> dict[str, float]:
    """The mean of differences −1, 0 and 1 of paired samples, with an interval.

    Wald's with half a pair added to each kind (Agresti and Min, Simple improved confidence
    intervals for comparing matched proportions, 2005): few pairs that differ show nothing.
    """
    more, less, n = np.sum(pairs > 0) + 0.5, np.sum(pairs < 0) + 0.5, len(pairs) + 2
    middle = (more - less) / n
    half = 1.96 * np.sqrt(more + less - (more - less) ** 2 / n) / n
    return {"value": float(pairs.mean()), "low": float(middle - half), "high": float(middle + half)}


def _frechet_changes(mine: np.ndarray, theirs: np.ndarray, frechet: FrechetReference) -> np.ndarray:
    """Paired bootstrap of the difference of two Fréchet distances: their bias cancels."""
    draws = np.random.default_rng(0)
    found = []
    for _ in range(FRECHET_RESAMPLES):
        rows = draws.integers(len(mine), size=len(mine))
        distances = [frechet(part[rows]) for part in (mine, theirs)]
        found.append(distances[0] - distances[1])
    return np.array(found)


def on_front(rows: list[dict[str, Any]]) -> list[str]:
    """Names of the rows that none other beats in both F_mem and Fréchet distance."""

    def beaten(row: dict[str, Any]) -> bool:
        own = row["f_mem"]["value"], row["frechet"]
        return any(
            other["f_mem"]["value"] <= own[0]
            and other["frechet"] <= own[1]
            and (other["f_mem"]["value"], other["frechet"]) != own
            for other in rows
        )

    return [row["name"] for row in rows if not beaten(row)]
