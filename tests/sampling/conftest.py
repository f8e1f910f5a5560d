"""Fields with parameters, and an independent float64 account of what `sample` computes."""

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

# Hand-written, so that they share nothing with the library or with Diffrax.
TABLEAUS = {
    "euler": ([[]], [1.0], [0.0]),
    "midpoint": ([[], [0.5]], [0.0, 1.0], [0.0, 0.5]),
    "heun": ([[], [1.0]], [0.5, 0.5], [0.0, 1.0]),
}


class WaveField(eqx.Module):
    """v = tanh(W x + b sin 3t) + c t: smooth, nonlinear, neither straight nor autonomous."""

    weight: jax.Array
    bias: jax.Array
    drift: jax.Array

    def __call__(self, t, x, cond=None):
        phase = self.weight @ x.reshape(-1) + self.bias * jnp.sin(3 * t)
        return (jnp.tanh(phase) + self.drift * t).reshape(x.shape)


def _wave(seed: int = 0, dim: int = 3, dtype: Any = jnp.float32) -> WaveField:
    rng = np.random.default_rng(seed)
    shapes = ((dim, dim), (dim,), (dim,))
    return WaveField(*(jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes))


def _wave_numpy(field: WaveField) -> Callable[[float, np.ndarray], np.ndarray]:
    weight, bias, drift = (
        np.asarray(leaf, np.float64) for leaf in (field.weight, field.bias, field.drift)
    )

    def velocity(t: float, x: np.ndarray) -> np.ndarray:
        phase = x @ weight.T + bias * np.sin(3 * t)
        return np.tanh(phase) + drift * t

    return velocity


def _eta(
    t: float, alpha0: float, beta0: float, tau: float, launch: str, landing: str, k: float = 3.0
) -> float:
    """The table of the paper, written out once more."""
    if t < tau - 1e-9:
        shapes = {
            "linear": 1 - t / tau,
            "constant": 1.0,
            "exponential": (np.exp(k * (1 - t / tau)) - 1) / (np.exp(k) - 1),
        }
        return 1 + alpha0 * shapes[launch]
    s = (t - tau) / (1 - tau)
    shapes = {"exponential": np.exp(k * s) - 1, "linear": s, "constant": 1.0}
    return 1 - beta0 * shapes[landing]


def _grid(name: str, steps: int) -> np.ndarray:
    fraction = np.arange(steps + 1) / steps
    return fraction if name == "uniform" else 0.5 * (1 - np.cos(np.pi * fraction))


def _solve(
    velocity: Callable[[float, np.ndarray], np.ndarray],
    x0: np.ndarray,
    nodes: np.ndarray,
    method: str = "euler",
    tau: float = 0.6,
) -> SimpleNamespace:
    """A plain loop over the steps, in float64."""
    a, b, c = TABLEAUS[method]
    x = np.asarray(x0, np.float64)
    launch = landing = length = np.zeros(x.shape[0])
    path, means = [x], []
    for left, right in itertools.pairwise(nodes):
        h = right - left
        ks: list[np.ndarray] = []
        for row, fraction in zip(a, c, strict=True):
            y = x + h * sum((w * k for w, k in zip(row, ks, strict=True)), np.zeros_like(x))
            ks.append(velocity(left + fraction * h, y))
        squares = [np.sum(k**2, axis=1) for k in ks]
        energy = h * sum(w * s / 2 for w, s in zip(b, squares, strict=True))
        length = length + h * sum(w * np.sqrt(s) for w, s in zip(b, squares, strict=True))
        if left < tau - 1e-9:
            launch = launch + energy
        else:
            landing = landing + energy
        new = x + h * sum(w * k for w, k in zip(b, ks, strict=True))
        means.append((new - x) / h)
        x = new
        path.append(x)
    total = launch + landing
    displacement = np.sum((x - path[0]) ** 2, axis=1) / (2 * (nodes[-1] - nodes[0]))
    bends = [np.zeros(x.shape[0])]
    bends += [np.sum((q - p) ** 2, axis=1) for p, q in itertools.pairwise(means)]
    return SimpleNamespace(
        x1=x,
        total=total,
        launch=launch,
        landing=landing,
        displacement=displacement,
        excess=total - displacement,
        length=length,
        speed2=np.stack([np.sum(u**2, axis=1) for u in means], axis=1),
        bend2=np.stack(bends, axis=1),
        path=np.stack(path, axis=1),
    )


@pytest.fixture(scope="session")
def reference() -> SimpleNamespace:
    """Fields and their answers: wave, wave_numpy, eta, grid, solve."""
    return SimpleNamespace(wave=_wave, wave_numpy=_wave_numpy, eta=_eta, grid=_grid, solve=_solve)


@pytest.fixture(scope="session")
def normal() -> Callable[..., np.ndarray]:
    """`normal(seed, *shape)`: float32 starting points."""
    return lambda seed, *shape: np.random.default_rng(seed).normal(size=shape).astype(np.float32)
