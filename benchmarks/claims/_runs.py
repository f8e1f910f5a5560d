"""Samples of one field, with every kinetic quantity of each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims._subjects import BATCH
from kinetic_jax.copies import bending, early_bending
from kinetic_jax.copies._paths import EARLY
from kinetic_jax.energy import in_frame
from kinetic_jax.fields import VelocityField
from kinetic_jax.sampling import Trajectories, complete, noise, sample
from kinetic_jax.transforms import Transform, identity

QUANTITIES = {
    "total": "energy E",
    "displacement": "displacement",
    "excess": "excess",
    "length": "path length",
    "bending": "bending",
    "early bending": "bending, t in [0.2, 0.4]",
    "late": "energy, t ≥ 0.8",
}
# E in other frames and under a mass, where it is measured.
FRAMES = {
    "mean frame": "E, frame of the mean",
    "class frames": "E, frames of classes",
    "whitened": "E, whitened",
    "without ten axes": "E, whitened, 10 axes out",
}


class Run(NamedTuple):
    """Samples of valid trajectories.

    Attributes:
        images: x1, shape (n, height, width, channels).
        completed: the images completed by one evaluation, of the same shape.
        residual: the share of its start that is left on each image, shape (n,).
        quantities: those of `QUANTITIES`, and E in each frame by its name, each of shape (n,).
        is_valid: flags of the rows of the noise they came from, shape (rows,).
        ts: left ends of the steps.
        speed2: ||u||² of each step, shape (n, steps).
        evaluations: calls of the field a sample.
    """

    images: np.ndarray
    completed: np.ndarray
    residual: np.ndarray
    quantities: dict[str, np.ndarray]
    is_valid: np.ndarray
    ts: np.ndarray
    speed2: np.ndarray
    evaluations: int

    @property
    def bad(self) -> int:
        """The number of failed trajectories, which are left out."""
        return int(np.sum(~self.is_valid))

    @property
    def norm2(self) -> np.ndarray:
        """||x1||² of each sample."""
        return np.sum(np.asarray(self.images, np.float64) ** 2, axis=(1, 2, 3))


def common_noise(n: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The same starting points for every row of a claim: differences are the rows' own."""
    return np.asarray(noise(jax.random.key(seed), jnp.arange(n), shape))


def sampled(
    field: VelocityField,
    x0: np.ndarray,
    cond: np.ndarray | None = None,
    *,
    transform: Transform | None = None,
    frames: Mapping[str, np.ndarray | Callable[[np.ndarray], np.ndarray]] | None = None,
    progress: Any = None,
    **options: Any,
) -> Run:
    """Runs a field from `x0`, in batches.

    Args:
        field: the field.
        x0: shape (n, *event); the batches are of equal size if `BATCH` divides n.
        cond: one entry a row, or None.
        transform: of the field; none by default.
        frames: frames in which E is measured as well, by name: a velocity, one for each row, or
            a function from the samples of a batch to one for each.
        progress: called with the number of rows done after each batch.
        **options: of `sample`, on a fixed grid.
    """
    shaped = (transform or identity())(field)
    parts, completed = [], []
    in_frames: dict[str, list[np.ndarray]] = {name: [] for name in frames or {}}
    for start in range(0, len(x0), BATCH):
        rows = slice(start, start + BATCH)
        label = None if cond is None else jnp.asarray(cond[rows])
        begin = jnp.asarray(x0[rows])
        part = sample(shaped, begin, label, **options)
        parts.append(jax.tree.map(np.asarray, part))
        completed.append(np.asarray(complete(shaped, part, label)))
        for name, frame in (frames or {}).items():
            if callable(frame):
                own = frame(np.asarray(part.x1))
            else:
                own = frame[rows] if frame.ndim == begin.ndim else frame
            seen = in_frame(part.energy, begin, part.x1, own, duration=options.get("t1", 1.0))
            in_frames[name].append(np.asarray(seen.total, np.float64))
        if progress is not None:
            progress(len(x0[rows]))
    run = _joined(parts, np.concatenate(completed), float(options.get("t1", 1.0)))
    for name, energies in in_frames.items():
        run.quantities[name] = np.concatenate(energies)[run.is_valid]
    return run


def _joined(parts: list[Trajectories], completed: np.ndarray, t1: float) -> Run:
    def all_of(get: Any) -> np.ndarray:
        return np.concatenate([np.asarray(get(part)) for part in parts])

    is_valid = all_of(lambda part: part.status) == 0
    profile = parts[0].profile
    assert profile is not None, "claims are measured on fixed grids"
    ts = np.asarray(profile.ts, np.float64)
    speed2 = all_of(lambda part: part.profile.speed2)[is_valid].astype(np.float64)
    quantities = {
        name: all_of(lambda part, name=name: getattr(part.energy, name))[is_valid].astype(
            np.float64
        )
        for name in ("total", "displacement", "excess", "length")
    }
    durations = np.diff(np.append(ts, t1))
    late = ts >= 0.8 - 1e-9
    turns = {"bending": all_of(lambda part: bending(part.profile, end=t1))}
    turns["early bending"] = np.zeros_like(turns["bending"])
    if np.any((ts > EARLY[0] - 1e-6) & (ts < EARLY[1] - 1e-6)):  # not with few steps
        turns["early bending"] = all_of(lambda part: early_bending(part.profile, end=t1))
    quantities |= {name: values[is_valid].astype(np.float64) for name, values in turns.items()}
    quantities["late"] = (speed2 * durations[None] / 2)[:, late].sum(axis=1)
    evaluations = int(parts[0].num_evals[0])
    return Run(
        all_of(lambda part: part.x1)[is_valid],
        completed[is_valid],
        all_of(lambda part: part.residual)[is_valid],
        quantities,
        is_valid,
        ts,
        speed2,
        evaluations,
    )
