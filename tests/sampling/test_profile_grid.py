"""Grids from the profile of a pilot run: nodes in closed form, and the error that they save."""

import dataclasses

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import GaussianField, KineticProfile, sample
from kinetic_jax.sampling import grid_from_profile, sweep

END, SCALE = 1.1, 0.05
X0 = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)


def rising(t, x, cond=None):
    """dx/dt = (1, 2)/(1.1 − t), so ||dv/dt||^(1/2) grows as 1/(1.1 − t)."""
    return jnp.array([1.0, 2.0]) / (END - t)


def rising_quantiles(shares):
    return END - END * ((END - 1) / END) ** shares


def narrow():
    """x(t) = x0 (t² s² + (1 − t)²)^(1/2), which bends at the end."""
    return GaussianField(jnp.zeros(2), SCALE)


def narrow_quantiles(shares):
    """The second derivative of the path is x0 s²/σ³, so the density is that of σ^(−3/2)."""
    t = np.linspace(0, 1, 20_001)
    density = (t**2 * SCALE**2 + (1 - t) ** 2) ** -0.75
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(t))])
    return np.interp(shares * cumulative[-1], cumulative, t)


@pytest.mark.parametrize(
    ("field", "quantiles"), [(rising, rising_quantiles), (narrow(), narrow_quantiles)]
)
@pytest.mark.parametrize("num_steps", [7, 50])
def test_nodes_are_the_quantiles_of_the_density(field, quantiles, num_steps):
    """Within a step of an Euler pilot, whose velocities are those of the steps' left ends."""
    pilot = sample(field, X0, num_steps=400)
    grid = grid_from_profile(pilot, num_steps, floor=1e-3)
    assert grid.shape == (num_steps + 1,)
    assert grid.dtype == np.float64
    expected = quantiles(np.arange(num_steps + 1) / num_steps)
    np.testing.assert_allclose(grid, expected, rtol=0, atol=1 / 400)
    np.testing.assert_array_equal(grid_from_profile(pilot.profile, num_steps, floor=1e-3), grid)


@pytest.mark.parametrize(("solver", "least"), [(diffrax.Euler(), 0.8), (diffrax.Midpoint(), 1.7)])
def test_nodes_converge_with_the_steps_of_the_pilot(solver, least):
    """At second order where the velocities are the steps' mean ones."""
    errors, pilots = [], (25, 50, 100)
    for steps in pilots:
        pilot = sample(rising, X0[:1], num_steps=steps, solver=solver)
        error = grid_from_profile(pilot, 8, floor=1e-3) - rising_quantiles(np.arange(9) / 8)
        errors.append(np.sqrt(np.mean(error**2)))
    order = -np.polyfit(np.log(pilots), np.log(errors), 1)[0]
    assert order > least, (order, errors)


def test_a_pilot_on_another_grid_finds_the_same_density():
    times = np.linspace(0, 1, 401) ** 1.5
    grid = grid_from_profile(sample(rising, X0[:1], grid=times), 8, floor=1e-3)
    np.testing.assert_allclose(grid, rising_quantiles(np.arange(9) / 8), atol=2e-3)


def test_late_bending_costs_less_on_a_grid_of_its_own():
    """Against the flow map in closed form, x1 = s x0; the pilot has other samples."""
    field, start = narrow(), X0[8:]
    pilot = sample(field, X0[:8], num_steps=100)

    def error(grid):
        x1 = np.asarray(sample(field, start, num_steps=20, grid=grid).x1, np.float64)
        return np.sqrt(np.mean((x1 - SCALE * start) ** 2))

    uniform, own = error("uniform"), error(grid_from_profile(pilot, 20))
    assert uniform / own > 4, f"uniform {uniform:.5f}, own grid {own:.5f}: {uniform / own:.2f}"


def test_samples_that_bend_at_different_times():
    """The root of the MEAN bending, which a few samples that bend much decide."""

    def late_or_early(t, x, cond):
        return jnp.where(t < 0.5, cond, 1.0) * t * jnp.ones_like(x)

    slopes, steps = np.r_[100.0, np.zeros(99)].astype(np.float32), 200
    pilot = sample(late_or_early, np.zeros((100, 1), np.float32), slopes, num_steps=steps)
    grid = grid_from_profile(pilot, 20, floor=1e-3)
    # 100/100 before ½ and 1 after it: the two halves bend alike.
    np.testing.assert_allclose(grid, np.arange(21) / 20, atol=0.03)


def test_a_straight_path_has_the_uniform_grid():
    profile = sample(lambda t, x, cond=None: jnp.ones_like(x), X0, num_steps=8).profile
    straight = dataclasses.replace(profile, bend2=jnp.zeros_like(profile.bend2))
    np.testing.assert_allclose(grid_from_profile(straight, 5), np.arange(6) / 5, atol=1e-15)


@pytest.mark.parametrize("floor", [0.05, 0.5])
def test_no_step_is_longer_than_the_floor_allows(floor):
    """All the bending is in one place; elsewhere the density is the floor."""
    bend2 = np.zeros((2, 50), np.float32)
    bend2[:, 30] = 1.0
    profile = KineticProfile(jnp.arange(50) / 50, jnp.ones((2, 50)), jnp.asarray(bend2))
    grid = grid_from_profile(profile, 40, floor=floor)
    assert np.all(np.diff(grid) > 0)
    longest = np.diff(grid).max()
    assert 0.5 * (1 / floor) / 40 < longest <= (1 + 1 / floor) / 40
    assert np.sum((grid > 0.58) & (grid < 0.62)) >= 40 * 0.3


def test_the_span_of_the_pilot_is_kept_exactly():
    times = np.array([0.25, 0.375, 0.5, 0.75, 0.875])
    pilot = sample(rising, X0, grid=times)
    grid = grid_from_profile(pilot, 3, t1=0.875)
    assert (grid[0], grid[-1]) == (0.25, 0.875)
    again = sample(rising, X0, grid=grid, t0=0.25, t1=0.875)
    np.testing.assert_array_equal(again.profile.ts, np.float32(grid[:-1]))


def test_samples_that_failed_do_not_count():
    """One is NaN from the middle on, another was stopped with a finite profile."""
    pilot = sample(rising, X0, num_steps=40)
    wild = np.array(pilot.profile.bend2)
    wild[3, 20:] = np.nan
    wild[5, :10] = 1e6
    profile = dataclasses.replace(pilot.profile, bend2=jnp.asarray(wild))
    status = pilot.status.at[5].set(1)
    run = dataclasses.replace(pilot, profile=profile, status=status)
    np.testing.assert_allclose(grid_from_profile(run, 6), grid_from_profile(pilot, 6), rtol=1e-7)
    assert np.abs(grid_from_profile(profile, 6) - grid_from_profile(pilot, 6)).max() > 0.01
    failed = dataclasses.replace(run, status=jnp.ones_like(status))
    with pytest.raises(ValueError, match="profile must hold samples that are finite, got none"):
        grid_from_profile(failed, 6)


def test_a_sweep_is_a_pilot_too():
    """Its axes before the batch are samples as well."""
    runs = sweep(narrow(), X0, alpha0=[0.0, 0.2], num_steps=30)
    bends = [np.float64(run) ** 0.5 for run in np.asarray(runs.profile.bend2)[:, 0, 0]]
    means = np.concatenate(bends).mean(axis=0)
    profile = KineticProfile(
        runs.profile.ts, jnp.zeros((1, 30)), jnp.asarray(np.float32(means**2)[None])
    )
    np.testing.assert_allclose(grid_from_profile(runs, 9), grid_from_profile(profile, 9), rtol=1e-5)


def test_errors(own_messages):
    pilot = sample(rising, X0, num_steps=4)
    short = sample(rising, X0, num_steps=2)
    controller = diffrax.PIDController(rtol=1e-2, atol=1e-2)
    adaptive = sample(rising, X0, controller=controller)
    for arguments, options, message in (
        ((None, 4), {}, "profile must be a KineticProfile, or Trajectories of a fixed grid"),
        ((adaptive, 4), {}, "profile must be a KineticProfile, or Trajectories of a fixed grid"),
        ((short, 4), {}, "profile must have >= 3 steps, got 2"),
        ((pilot, 0), {}, "num_steps must be a whole number >= 1, got 0"),
        ((pilot, 4), {"t1": 0.75}, r"t1 must lie in \(0.75, 1\], after the profile's last step"),
        ((pilot, 4), {"t1": 1.5}, r"t1 must lie in \(0.75, 1\]"),
        ((pilot, 4), {"floor": 0.0}, r"floor must lie in \(0, 1\], got 0.0"),
        ((pilot, 4), {"floor": np.nan}, "floor must be a finite number"),
    ):
        with pytest.raises(ValueError, match=message):
            grid_from_profile(*arguments, **options)
    with pytest.raises(ValueError, match=r"profile\.ts must be concrete"):
        jax.jit(lambda run: grid_from_profile(run, 4))(pilot)


def test_the_cumulative_density_is_read_backwards_along_straight_lines():
    """A profile of known, piecewise constant density: the nodes are those of its quantiles."""
    density = np.array([1.0, 4.0, 2.0])  # between the middles 1/8, 3/8, 5/8, 7/8
    bend2 = np.concatenate([[0.0], (density**2 / 4) ** 2])
    profile = KineticProfile(
        jnp.arange(4) / 4, jnp.zeros((1, 4)), jnp.asarray(np.float32(bend2)[None])
    )
    edges = np.array([0.0, 0.375, 0.625, 1.0])
    cumulative = np.concatenate([[0.0], np.cumsum(density * np.diff(edges))])
    grid = grid_from_profile(profile, 17)
    np.testing.assert_allclose(
        np.interp(grid, edges, cumulative), np.linspace(0, cumulative[-1], 18)
    )
