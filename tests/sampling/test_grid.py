"""Grids that are functions: the time shift of Stable Diffusion 3 and FLUX."""

import numpy as np
import pytest

from kinetic_jax import sample
from kinetic_jax.sampling import shifted_grid, sweep


def test_time_shift():
    grid = shifted_grid(4, 3.0)
    t = np.array([0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(grid, t / (t + 3 * (1 - t)))
    np.testing.assert_allclose(shifted_grid(7, 1.0), np.arange(8) / 7)
    # The other way: shifted by s and then by 1/s it is where it was.
    np.testing.assert_allclose(grid / (grid + (1 - grid) / 3.0), t)


def test_it_is_applied_once():
    """Euler on x' = t: the sum over the steps of the shifted grid, not of one shifted again."""
    grid = shifted_grid(5, 3.0)
    run = sample(lambda t, x, cond=None: 0 * x + t, np.zeros((1, 1), np.float32), grid=grid)
    np.testing.assert_allclose(run.x1, np.sum(grid[:-1] * np.diff(grid)), rtol=1e-6)
    np.testing.assert_allclose(run.profile.ts, grid[:-1], rtol=1e-6)


def test_by_name():
    """In a part of [0, 1] it is the whole grid made smaller, as for the other names."""
    times = lambda t, x, cond=None: 0 * x + t  # noqa: E731
    x0 = np.zeros((1, 1), np.float32)
    named = sample(times, x0, grid="shifted:3", num_steps=4).profile.ts
    np.testing.assert_allclose(named, shifted_grid(4, 3.0)[:-1], rtol=1e-6)
    part = sweep(times, x0, grid="shifted:0.5", num_steps=4, t0=0.2, t1=0.6).profile.ts
    np.testing.assert_allclose(part, 0.2 + 0.4 * shifted_grid(4, 0.5)[:-1], rtol=1e-6)
    for wrong in ("shifted", "shifted:", "shifted:0", "shifted:inf", "shifted:x", "uniform:1"):
        with pytest.raises(ValueError, match=r"grid must be .*'shifted:S' \(S > 0\)"):
            sample(times, x0, grid=wrong)


@pytest.mark.parametrize("shift", [0.0, -1.0, np.inf, "3"])
def test_errors(shift, own_messages):
    with pytest.raises(ValueError, match="shift must be"):
        shifted_grid(4, shift)
