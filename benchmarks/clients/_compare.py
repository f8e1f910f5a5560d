"""A run against an Euler loop of plain NumPy around a client's own network."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike

from kinetic_jax import Trajectories

# The gallery's promise, for x1 and E alike.
LIMIT = 1e-5
WITHIN = "< 1e-5"  # printed for it: rounding below the limit differs from machine to machine
SHOWN = 3

Velocity = Callable[[float, np.ndarray], ArrayLike]


class Comparison(NamedTuple):
    """A run's energies, and how far it is from the loop.

    Attributes:
        energies: E of each sample of the run.
        excesses: its part above the displacement's.
        differences: for x1, E and whatever else was compared, the largest difference, relative to
            the values where these are above 1.
    """

    energies: np.ndarray
    excesses: np.ndarray
    differences: dict[str, float]

    def __str__(self) -> str:
        shown = min(SHOWN, len(self.energies))
        energies = ", ".join(f"{energy:.4f}" for energy in self.energies[:shown])
        excesses = ", ".join(f"{excess:.4f}" for excess in self.excesses[:shown])
        differences = ", ".join(f"{name} {gap_text(gap)}" for name, gap in self.differences.items())
        return (
            f"E of samples 1 to {shown}: {energies}\nof which excess: {excesses}\n"
            f"largest differences: {differences}"
        )


def is_within(gap: float | None) -> bool:
    """True if a difference is within the limit; NaN, and None for it in a record, is not."""
    return gap is not None and gap <= LIMIT


def gap_text(gap: float | None) -> str:
    """A difference as it is printed."""
    if gap is None or np.isnan(gap):
        return "NaN"
    return WITHIN if is_within(gap) else f"{gap:.0e}"


def euler_loop(
    velocity: Velocity, x0: ArrayLike, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Euler's method and the path energy of each sample, in NumPy float64.

    Args:
        velocity: the client's network, called as `velocity(t, x)` on a float32 batch.
        x0: where the paths begin, (batch, *event).
        times: N + 1 of them, increasing.

    Returns:
        x1, (batch, *event), and `E = 1/2 Σ_i (t_{i+1} − t_i) ||u_i||²`, (batch,).
    """
    x = np.asarray(x0, np.float64)
    energy = np.zeros(len(x))
    for start, end in itertools.pairwise(times):
        u = np.asarray(velocity(float(start), x.astype(np.float32)), np.float64)
        x = x + (end - start) * u
        energy += (end - start) / 2 * (u.reshape(len(x), -1) ** 2).sum(axis=1)
    return x, energy


def compare(
    run: Trajectories,
    x0: ArrayLike,
    velocity: Velocity,
    *,
    times: ArrayLike | None = None,
    **pairs: tuple[ArrayLike, ArrayLike],
) -> Comparison:
    """Compares a run of `sample` with an Euler loop.

    Args:
        run: Euler steps on a fixed grid.
        x0: where they began, (batch, *event).
        velocity: the client's network, called its own way, as `velocity(t, x)` with a number and a
            float32 batch; written without the adapters that the run is a test of.
        times: the grid. Default: equal steps from 0 to 1.
        pairs: by name, other arrays that must be equal.

    Raises:
        ValueError: if the run has no fixed grid, or a pair's shapes differ.
    """
    if run.profile is None:
        raise ValueError("run must have a fixed grid, got one of adaptive steps")
    if times is None:
        times = np.linspace(0, 1, run.profile.speed2.shape[1] + 1)
    x1, energy = euler_loop(velocity, x0, np.asarray(times, np.float64))
    both = {"x1": (run.x1, x1), "E": (run.energy.total, energy), **pairs}
    return Comparison(
        np.asarray(run.energy.total),
        np.asarray(run.energy.excess),
        {name: _difference(name, *pair) for name, pair in both.items()},
    )


def _difference(name: str, ours: ArrayLike, theirs: ArrayLike) -> float:
    """The largest difference, relative where the values are above 1; NaN stays NaN."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"{name} must be two arrays of a shape, got {ours.shape}, {theirs.shape}")
    return float(np.max(np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))))
