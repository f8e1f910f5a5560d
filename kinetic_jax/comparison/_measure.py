"""Samples of one model, and the measurements of its report."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from kinetic_jax.comparison._report import FewSteps, ModelReport, Quantities
from kinetic_jax.copies import bending, snap
from kinetic_jax.copies._checkpoints import share_snapped
from kinetic_jax.fields import VelocityField
from kinetic_jax.metrics import (
    Estimate,
    Memorization,
    TransportBounds,
    efficiency,
    kernel_distance,
    memorization,
)
from kinetic_jax.metrics._features import Embedding
from kinetic_jax.metrics._intervals import bootstrap_mean
from kinetic_jax.sampling import noise, sample

RESAMPLES, SEED = 2000, 0  # of the bootstrap
Update = Callable[[int], None]


class Settings(NamedTuple):
    """Checked settings of `compare`, the same for every model."""

    key: PRNGKeyArray
    num_samples: int
    cond: PyTree[Any]
    event_shape: tuple[int, ...]
    num_steps: int
    solver: diffrax.AbstractSolver | None
    fewer: tuple[int, ...]
    tolerance: float
    confidence: float
    batch_size: int


class Data(NamedTuple):
    """Data in the scale of the field, and the quantities that are computed from them once."""

    train: np.ndarray | None = None
    bounds: TransportBounds | None = None
    held_out: np.ndarray | None = None
    floor: Memorization | None = None  # of `held_out`
    features: np.ndarray | None = None  # of `held_out`
    embed: Embedding | None = None

    @property
    def held_out_share(self) -> Estimate | None:
        """The share of the held-out rows that are as near to training rows as copies."""
        if self.floor is None:
            return None
        return Estimate(self.floor.fraction, self.floor.low, self.floor.high)


class Run(NamedTuple):
    """Samples of all noise, and kinetic quantities of each."""

    x0: np.ndarray
    x1: np.ndarray
    is_valid: np.ndarray
    quantities: dict[str, np.ndarray]


def sampled(
    field: VelocityField, settings: Settings, num_steps: int, update: Update | None = None
) -> Run:
    """Samples from the noise that all models share, in batches of equal size."""
    n = settings.num_samples
    count = -(-n // settings.batch_size)
    size = -(-n // count)
    parts: list[Run] = []
    for start in range(0, count * size, size):
        index = np.minimum(np.arange(start, start + size), n - 1)  # repeats the last row
        x0 = noise(settings.key, index, settings.event_shape)
        cond = jax.tree.map(lambda leaf, rows=index: leaf[rows], settings.cond)
        run = sample(field, x0, cond, solver=settings.solver, num_steps=num_steps)
        assert run.profile is not None, "the grid is fixed"
        quantities = {
            "total": run.energy.total,
            "launch": run.energy.launch,
            "landing": run.energy.landing,
            "displacement": run.energy.displacement,
            "straightness": 2 * run.energy.excess,
            "length": run.energy.length,
            "bending": bending(run.profile),
        }
        parts.append(
            Run(
                np.asarray(x0),
                np.asarray(run.x1),
                np.asarray(run.status) == 0,
                {name: np.asarray(values, np.float64) for name, values in quantities.items()},
            )
        )
        if update is not None:
            update(min(start + size, n) - start)
    joined: Run = jax.tree.map(lambda *arrays: np.concatenate(arrays)[:n], *parts)
    return joined


def measured(
    name: str,
    step: int | None,
    field: VelocityField,
    earliest: VelocityField | None,
    settings: Settings,
    data: Data,
    update: Update,
) -> ModelReport:
    """The report of one model; `earliest` is None for a model without scores of snap."""
    run = sampled(field, settings, settings.num_steps, update)
    errors = {
        steps: _error(run, sampled(field, settings, steps, update)) for steps in settings.fewer
    }
    count = int(run.is_valid.sum())
    report = ModelReport(name, step, settings.num_samples, count)
    if count < 2:
        return report
    valid = {name: values[run.is_valid] for name, values in run.quantities.items()}
    means = {name: mean(values, settings.confidence) for name, values in valid.items()}
    return dataclasses.replace(
        report,
        energy=Quantities(**means),
        few_steps=tuple(FewSteps(*pair) for pair in errors.items() if np.isfinite(pair[1])),
        steps_needed=steps_needed(errors, settings.tolerance),
        **_snaps(run, field, earliest, settings),
        **_against(run.x1[run.is_valid], valid["total"], data, settings),
    )


def mean(values: np.ndarray, confidence: float) -> Estimate:
    """A mean with its bootstrap interval."""
    ends = bootstrap_mean(values, confidence, RESAMPLES, np.random.default_rng(SEED))
    return Estimate(float(values.mean()), *ends)


def snap_scores(
    run: Run, field: VelocityField, earliest: VelocityField, settings: Settings
) -> np.ndarray:
    """`snap` of the valid samples."""
    scores, size = [], settings.batch_size
    for start in range(0, len(run.x1), size):
        rows = np.minimum(np.arange(start, start + size), len(run.x1) - 1)
        cond = jax.tree.map(lambda leaf, rows=rows: leaf[rows], settings.cond)
        score = snap(field, earliest, jnp.asarray(run.x1[rows]), cond, key=settings.key)
        scores.append(np.asarray(score, np.float64))
    return np.concatenate(scores)[: len(run.x1)][run.is_valid]


def _snaps(
    run: Run, field: VelocityField, earliest: VelocityField | None, settings: Settings
) -> dict[str, Any]:
    if earliest is None:
        return {}
    scores = snap_scores(run, field, earliest, settings)
    finite = scores[np.isfinite(scores)]
    if len(finite) < 2:
        return {}
    share = share_snapped(finite, settings.confidence)
    return {"snap": mean(finite, settings.confidence), "snapped": share}


def _against(
    samples: np.ndarray, energies: np.ndarray, data: Data, settings: Settings
) -> dict[str, Any]:
    """Copies, efficiency and the distance to held-out rows, as far as there are data."""
    confidence = settings.confidence
    report: dict[str, Any] = {}
    if data.train is not None and data.bounds is not None:
        copied = memorization(samples, data.train, confidence=confidence, progress=False)
        report |= _copies(copied._replace(held_out=data.floor))
        if bool(np.all(energies > 0)):
            share = efficiency(energies, data.bounds, confidence=confidence)
            report["efficiency"] = Estimate(*share)
    if data.features is not None:
        distance = kernel_distance(
            features_of("samples", samples, data.embed), data.features, progress=False
        )
        std = distance.std if np.isfinite(distance.std) else None
        report |= {"distance": distance.value, "distance_std": std}
    return report


def _copies(copied: Memorization) -> dict[str, Estimate]:
    report = {"f_mem": Estimate(copied.fraction, copied.low, copied.high)}
    if copied.held_out is not None:
        report["over_held_out"] = Estimate(*copied.excess)
    return report


def features_of(name: str, rows: np.ndarray, embed: Embedding | None) -> np.ndarray:
    """Features for distances: those of `embed`, or the flattened rows.

    Raises:
        ValueError: if `embed` does not return one row of numbers for each row.
    """
    if embed is None:
        return rows.reshape(len(rows), -1).astype(np.float64)
    features = np.asarray(embed(rows))
    if features.ndim != 2 or len(features) != len(rows):
        raise ValueError(
            f"embed must return one row of features for each row, got shape {features.shape} of "
            f"{len(rows)} {name}"
        )
    return features


def _error(run: Run, shorter: Run) -> float:
    """`relative_error` of the samples that are valid with both numbers of steps."""
    both = run.is_valid & shorter.is_valid
    return relative_error(run.x0[both], run.x1[both], shorter.x1[both])


def relative_error(x0: np.ndarray, x1: np.ndarray, shorter: np.ndarray) -> float:
    """RMS distance of samples from those of more steps, x1, over the RMS of x1 − x0."""
    start, end, other = (rows.astype(np.float64) for rows in (x0, x1, shorter))
    way = float(np.mean((end - start) ** 2)) if len(x1) else 0.0
    return float(np.sqrt(np.mean((other - end) ** 2) / way)) if way > 0 else float("nan")


def steps_needed(errors: Mapping[int, float], tolerance: float) -> int | None:
    """The least of the tried numbers of steps from which on the error is within the tolerance."""
    needed = None
    for steps in sorted(errors, reverse=True):
        if not errors[steps] <= tolerance:
            break
        needed = steps
    return needed
