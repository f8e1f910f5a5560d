"""Samples that fail: named by `status`, refused by `check`, without harm to their batch mates."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import Trajectories, sample

CONTROLLER = diffrax.PIDController(rtol=1e-4, atol=1e-4)
ENERGIES = ("total", "launch", "landing", "displacement", "excess", "length")


def explosive(t, x, cond=None):
    """x' = x³ for |x| > 1, decay inside: 1,000 blows up, 0.5 does not."""
    return jnp.where(jnp.abs(x) > 1, x**3, -x)


def decay(t, x, cond=None):
    return -x


def braking(t, x, cond=None):
    return -x * jnp.abs(x)


def nan_after(t, x, cond):
    return jnp.where(t > cond, jnp.nan, 1.0) * jnp.ones_like(x)


def test_a_blow_up_on_a_fixed_grid_is_told_and_stays_alone():
    x0 = jnp.array([[0.5], [1000.0], [-0.25]])
    result = sample(explosive, x0, num_steps=50)
    np.testing.assert_array_equal(result.status, [0, 1, 0])
    np.testing.assert_allclose(result.x1[::2], x0[::2] * (1 - 1 / 50) ** 50, rtol=1e-5)
    alone = sample(explosive, x0[::2], num_steps=50)
    for name in ENERGIES:
        mixed = getattr(result.energy, name)
        np.testing.assert_allclose(mixed[::2], getattr(alone.energy, name), rtol=1e-6)
        assert not np.isfinite(mixed[1]) or name == "launch"


def test_an_energy_that_overflows_is_not_finite():
    """x itself stays finite at a speed of 1e25, whose square does not fit."""
    result = sample(lambda t, x, cond=None: 1e25 * jnp.ones_like(x), jnp.zeros((2, 1)), num_steps=3)
    assert np.all(np.isfinite(result.x1))
    np.testing.assert_array_equal(result.status, [1, 1])


def overflowing(t, x, cond):
    """There and back."""
    return cond * jnp.where(t < 0.5, 1.0, -1.0) * jnp.ones_like(x)


@pytest.mark.parametrize("options", [{"num_steps": 2}, {"controller": CONTROLLER, "dt0": 0.5}])
def test_an_energy_or_a_profile_that_overflows_has_a_status(options):
    """At a speed of 1.5e19 the energy fits, and its bend, (3e19)², does not."""
    speeds = jnp.array([1.0, 1.5e19, 1e25])
    if "controller" in options:
        run = sample(lambda t, x, c: c * jnp.ones_like(x), jnp.zeros((3, 1)), speeds, **options)
        expected = [0, 0, 1]
    else:
        run = sample(overflowing, jnp.zeros((3, 1)), speeds, **options)
        expected = [0, 1, 1]
        assert np.all(np.isfinite(run.energy.total[:2]))
    np.testing.assert_array_equal(run.status, expected)
    with pytest.raises(RuntimeError, match="not finite"):
        run.check()


def test_a_saved_path_that_is_not_finite_has_a_status():
    """The field is NaN between the nodes alone, where one shorter step of Heun looks."""

    def field(t, x, cond=None):
        return jnp.where((t > 0.1) & (t < 0.4), jnp.nan, 1.0) * jnp.ones_like(x)

    options = {"solver": diffrax.Heun(), "num_steps": 2}
    assert sample(field, jnp.zeros((1, 1)), **options).status == 0
    run = sample(field, jnp.zeros((1, 1)), save_at=np.array([0.25]), **options)
    np.testing.assert_array_equal(run.status, [1])


def test_nan_on_a_fixed_grid():
    result = sample(nan_after, jnp.zeros((3, 2)), jnp.array([2.0, 0.5, 2.0]), num_steps=10)
    np.testing.assert_array_equal(result.status, [0, 1, 0])
    np.testing.assert_allclose(result.energy.total[::2], 1.0, rtol=1e-6)


@pytest.mark.parametrize("dt0", [None, 0.1])
def test_nan_under_adaptive_control(dt0):
    """From the start, from the middle on, never: and the step limit is not waited for."""
    until = jnp.array([-1.0, 0.5, 2.0])
    result = sample(
        nan_after, jnp.zeros((3, 2)), until, controller=CONTROLLER, dt0=dt0, max_steps=512
    )
    np.testing.assert_array_equal(result.status, [1, 1, 0])
    assert np.all(result.num_evals < 512)
    for name in ENERGIES:
        values = np.asarray(getattr(result.energy, name))
        assert np.all(np.isnan(values[:2])), name
    assert np.all(np.isnan(result.x1[:2]))
    np.testing.assert_allclose(result.x1[2], 1.0, rtol=1e-5)
    np.testing.assert_allclose(result.energy.total[2], 1.0, rtol=1e-5)


def test_nan_that_a_shorter_step_avoids_is_no_failure():
    """x' = −½/√x from 1 ends at 0 only after t = 4/3; a step of 1 looks behind the end."""

    def root(t, x, cond=None):
        return -0.5 / jnp.sqrt(x) * jnp.where(x > 0, 1.0, jnp.nan)

    result = sample(root, jnp.ones((1, 1)), controller=CONTROLLER, dt0=1.0, max_steps=256)
    np.testing.assert_array_equal(result.status, [0])
    np.testing.assert_allclose(result.x1, 0.25 ** (2 / 3), rtol=2e-3)


def test_nan_start():
    x0 = jnp.array([[jnp.nan], [1.0]])
    for options in ({"num_steps": 5}, {"controller": CONTROLLER, "max_steps": 64}):
        np.testing.assert_array_equal(sample(decay, x0, **options).status, [1, 0])


def test_step_limit():
    """The stiff sample needs more than 8 steps, the other does not."""
    x0 = jnp.array([[0.5], [40.0]])
    options = {"controller": CONTROLLER, "dt0": 0.1}
    result = sample(braking, x0, max_steps=8, **options)
    np.testing.assert_array_equal(result.status, [0, 2])
    assert np.isnan(result.x1[1, 0])
    assert np.isnan(result.energy.total[1])
    enough = sample(braking, x0, max_steps=256, **options)
    np.testing.assert_array_equal(enough.status, [0, 0])
    np.testing.assert_allclose(enough.x1[:, 0], x0[:, 0] / (1 + x0[:, 0]), rtol=1e-3)
    np.testing.assert_allclose(result.energy.total[0], enough.energy.total[0], rtol=1e-5)


def with_status(*status):
    result = sample(lambda t, x, cond=None: x, jnp.zeros((len(status), 1)), num_steps=1)
    fields = {**vars(result), "status": jnp.array(status, jnp.int32)}
    return Trajectories(**fields)


def test_check_returns_itself_when_all_is_well():
    result = with_status(0, 0)
    assert result.check() is result


def test_check_counts_and_names_the_bad_samples():
    with pytest.raises(RuntimeError, match=r"of 4 trajectories, 2 not finite \(samples 1, 3\)$"):
        with_status(0, 1, 0, 1).check()
    with pytest.raises(
        RuntimeError, match=r"1 not finite \(samples 0\) and 1 stopped by max_steps"
    ):
        with_status(1, 0, 2).check()
    with pytest.raises(RuntimeError, match=r"12 stopped by max_steps \(samples 0, .* 9, \.\.\.\)"):
        with_status(*[2] * 12).check()


def test_check_under_a_trace_says_where_to_call_it():
    def run(x0):
        return sample(lambda t, x, cond=None: x, x0, num_steps=1).check().x1

    with pytest.raises(ValueError, match=r"check\(\) must be called outside jit"):
        jax.jit(run)(jnp.zeros((1, 1)))
