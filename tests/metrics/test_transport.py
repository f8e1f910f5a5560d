"""Bounds of the mean energy: closed forms, and the order in which they and the exact flows lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from kinetic_jax import EmpiricalField, noise, sample
from kinetic_jax.metrics import Efficiency, TransportBounds, efficiency, transport_bounds

KEY = jax.random.key(0)


def test_gaussian_data_reach_the_floor():
    """In NumPy: W2²/2 of Gaussians whose covariance is not diagonal, by its square root."""
    draws = np.random.default_rng(0)
    turn = np.linalg.qr(draws.normal(size=(3, 3)))[0]
    scales, mean = np.array([0.2, 0.7, 1.5]), np.array([1.0, -2.0, 0.5])
    rows = draws.normal(size=(50_000, 3)) * scales @ turn.T + mean
    bounds = transport_bounds(rows)
    floor = (mean @ mean + np.sum((1 - scales) ** 2)) / 2
    gaussian = (mean @ mean + np.sum(1 + scales**2 - np.pi * scales / 2)) / 2
    independent = (mean @ mean + np.sum(scales**2) + 3) / 2
    got = bounds.floor, bounds.gaussian, bounds.independent
    np.testing.assert_allclose(got, (floor, gaussian, independent), rtol=1e-2)
    assert bounds.assignment is None
    # In one dimension W2 is between the sorted rows.
    line = draws.normal(size=(800, 1)) * 0.5 + 2
    starts = np.sort(noise(jax.random.split(KEY)[1], np.arange(800), (1,))[:, 0])
    wanted = np.mean((starts - np.sort(line[:, 0])) ** 2) / 2
    by_assignment = transport_bounds(line, key=KEY, num_assigned=800)
    np.testing.assert_allclose(by_assignment.assignment, wanted, rtol=1e-5)
    np.testing.assert_allclose(by_assignment.assignment, by_assignment.floor, rtol=0.06)


DATA = {
    "mixture": lambda: np.concatenate(
        [np.random.default_rng(i).normal(size=(500, 2)) * 0.2 + m for i, m in enumerate((-2, 2))]
    ),
    "digits": lambda: load_digits().data[:800] / 8 - 1,
}


@pytest.mark.long
@pytest.mark.parametrize("name", DATA)
def test_the_exact_flow_lies_above_both(name):
    """Floor ≤ assignment ≤ mean E of the exact flow ≤ that of independent lines."""
    rows = DATA[name]().astype(np.float32)
    bounds = transport_bounds(rows, key=KEY, num_assigned=400)
    x0 = noise(jax.random.key(1), jnp.arange(512), rows.shape[1:])
    energy = np.asarray(sample(EmpiricalField(rows), x0, num_steps=100).energy.total)
    error = 3 * energy.std() / np.sqrt(energy.size)
    assert bounds.floor < bounds.assignment < energy.mean() + error
    assert energy.mean() - error < bounds.independent
    share = efficiency(energy, bounds)
    np.testing.assert_allclose(share.value, bounds.floor / energy.mean(), rtol=1e-6)
    assert 0 < share.low < share.value < share.high < 1


def test_fewer_rows_than_dimensions():
    """Along dimensions in which nothing varies the floor is that of a point, ½ each."""
    rows = np.zeros((3, 5))
    rows[:, 0] = [-1.0, 0.0, 1.0]
    scale = np.sqrt(2 / 3)
    np.testing.assert_allclose(transport_bounds(rows).floor, ((1 - scale) ** 2 + 4) / 2)


def test_errors(own_messages):
    bounds = TransportBounds(1.0, None, 2.0, 3.0, 0)
    assert isinstance(efficiency(np.ones(3), bounds), Efficiency)
    for call, message in (
        (lambda: transport_bounds(np.ones((1, 2))), "data must have at least two rows"),
        (lambda: transport_bounds(np.full((3, 2), np.nan)), "data must be finite"),
        (lambda: transport_bounds(np.ones((3, 2)), key=0), "key must be one JAX random key"),
        (lambda: efficiency(np.ones(3), 1.0), "bounds must be what transport_bounds returned"),
        (lambda: efficiency(-np.ones(3), bounds), "energy must be positive"),
        (lambda: efficiency(np.ones((3, 2)), bounds), "energy must be a vector"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
