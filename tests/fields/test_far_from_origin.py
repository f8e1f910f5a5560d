"""The exact flow of data far from the origin against float64, and against the flow at the origin.

Shifting the data by s shifts every path by t s and every velocity by s: the excess stays.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from kinetic_jax import EmpiricalField, sample

SHIFTS = [10.0, 100.0, 1000.0, 10000.0]
ROWS = np.random.default_rng(0).normal(size=(300, 16))
GRID = 1 - np.linspace(1, 0, 23) ** 1.5  # the last step begins at 0.99, where rounding counts most


def exact(t, x, rows):
    """Log weights and velocity in float64."""
    x, rows, t = np.float64(x), np.float64(rows), np.float64(t)
    scores = -np.sum((x[:, None] - t * rows[None]) ** 2, axis=2) / (2 * (1 - t) ** 2)
    weights = special.softmax(scores, axis=1)
    size = rows.shape[1]
    density = special.logsumexp(scores, axis=1) - np.log(len(rows))
    density -= size * (np.log(1 - t) + np.log(2 * np.pi) / 2)
    return scores.argmax(axis=1), (weights @ rows - x) / (1 - t), density


AT = jax.jit(jax.vmap(lambda field, t, x: field.values(t, x), in_axes=(None, None, 0)))


@pytest.mark.parametrize("shift", SHIFTS)
def test_values(shift):
    rows = (ROWS + shift).astype(np.float32)
    field = EmpiricalField(rows, chunk_size=64)
    for t in np.float32([0.1, 0.5, 0.9, 0.99]):
        x0 = np.random.default_rng(1).normal(size=(40, 16))
        x = np.float32(t * np.float64(rows[:40]) + (1 - t) * x0)
        number, velocity, density = exact(t, x, rows)
        # The rounding of x, in units of a kernel's width, moves a weight by this much.
        doubt = 3e-5 + 4e-7 * shift
        for values in (AT(field, t, x), field.on_batch(t, x)):
            np.testing.assert_array_equal(values.heaviest, number)
            np.testing.assert_allclose(values.velocity, velocity, atol=40 * doubt)
            np.testing.assert_allclose(values.log_density, density, rtol=1e-5, atol=40 * doubt)


def by_differences(rows, t, x, cond=None):
    """The velocity with every score measured by differences, in float32."""
    scores = -jnp.sum((x[None, :] - t * rows) ** 2, axis=1) / (2 * (1 - t) ** 2)
    return jax.nn.softmax(scores) @ (rows - x[None, :]) / (1 - t)


def excess(run, which):
    return float(np.mean(np.asarray(run.energy.excess)[which]))


@pytest.mark.parametrize("shift", SHIFTS)
def test_samples(shift):
    """The rows that differences pick, and their excess, which is that of the data at the origin."""
    rows = (ROWS + shift).astype(np.float32)
    x0 = np.random.default_rng(2).normal(size=(64, 16)).astype(np.float32)
    run = sample(EmpiricalField(rows), x0, grid=GRID)
    plain = sample(jax.tree_util.Partial(by_differences, jax.device_put(rows)), x0, grid=GRID)
    # A path that rounding turns to another row is another path.
    same = np.all(np.abs(np.asarray(run.x1) - plain.x1) < 0.1, axis=1)
    assert same.sum() >= 63
    assert excess(run, same) == pytest.approx(excess(plain, same), rel=1e-3)
    at_origin = sample(EmpiricalField(rows - np.float32(shift)), x0, grid=GRID)
    moved = np.asarray(at_origin.x1) + np.float32(shift)
    near = np.all(np.abs(moved - run.x1) < 0.1, axis=1)
    assert near.sum() >= 63
    assert excess(run, near) == pytest.approx(excess(at_origin, near), rel=1e-3)
