"""The order of convergence of end point, energy and excess, fitted rather than bounded."""

import diffrax
import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from kinetic_jax import sample

# Steps inside each solver's asymptotic range, and far from rounding. Of three steps in a row the
# one in the middle has no weight in the slope.
ORDERS = {
    "euler": (diffrax.Euler(), 1, (64, 256)),
    "midpoint": (diffrax.Midpoint(), 2, (32, 128)),
    "heun": (diffrax.Heun(), 2, (32, 128)),
    "ralston": (diffrax.Ralston(), 2, (32, 128)),
    "bosh3": (diffrax.Bosh3(), 3, (32, 128)),
    "tsit5": (diffrax.Tsit5(), 5, (32, 128)),
    "dopri5": (diffrax.Dopri5(), 5, (32, 128)),
}
BATCH = 16


@pytest.fixture(scope="module")
def problem(reference):
    """A field, starting points, and the exact end points, energies and excesses."""
    field = reference.wave(5)
    velocity = reference.wave_numpy(field)
    x0 = np.random.default_rng(4).normal(size=(BATCH, 3))

    def augmented(t, flat):
        u = velocity(t, flat.reshape(BATCH, 4)[:, :3])
        return np.concatenate([u, np.sum(u**2, axis=1, keepdims=True) / 2], axis=1).ravel()

    y0 = np.concatenate([x0, np.zeros((BATCH, 1))], axis=1).ravel()
    solution = solve_ivp(augmented, (0, 1), y0, method="DOP853", rtol=1e-13, atol=1e-13)
    exact = solution.y[:, -1].reshape(BATCH, 4)
    x1, energy = exact[:, :3], exact[:, 3]
    return field, x0, x1, energy, energy - np.sum((x1 - x0) ** 2, axis=1) / 2


def rms(difference):
    # Over a batch: the error of one sample may change its sign, and vanish, between two steps.
    return np.sqrt(np.mean(np.square(difference)))


@pytest.mark.parametrize("grid", ["uniform", "cosine"])
@pytest.mark.parametrize("name", ORDERS)
def test_order_of_end_point_energy_and_excess(x64, problem, name, grid):
    solver, order, steps = ORDERS[name]
    field32, x0, *exact = problem
    field = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), field32)
    errors = []
    for num in steps:
        result = sample(field, x0, solver=solver, num_steps=num, grid=grid)
        values = result.x1, result.energy.total, result.energy.excess
        errors.append(
            [rms(np.asarray(value) - right) for value, right in zip(values, exact, strict=True)]
        )
    slopes = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    # Fifth order is reached from above: the leading error of these pairs is made to be small.
    np.testing.assert_allclose(slopes, order, rtol=0, atol=0.1 if order < 5 else 0.3)
