"""Samples that fail: named by `status`, refused by `check`, without harm to their batch mates."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import Trajectories, sample

CONTROLLER = diffrax.PIDController(rtol=1e-4, atol=1e-4)
ENERGIES = ("total", "launch", "landing", "displacement", "excess", "length")
KINDS = {"constant": 0, "braking": 1, "root": 2}


def explosive(t, x, cond=None):
    """x' = x³ for |x| > 1, decay inside: 1,000 blows up, 0.5 does not."""
    return jnp.where(jnp.abs(x) > 1, x**3, -x)


def nan_after(t, x, cond):
    return jnp.where(t > cond, jnp.nan, 1.0) * jnp.ones_like(x)


def any_kind(t, x, cond):
    """The field of a sample's own kind: one adaptive program serves all of these tests."""
    root = -0.5 / jnp.sqrt(x) * jnp.where(x > 0, 1.0, jnp.nan)
    rates = jnp.stack([jnp.ones_like(x), -x * jnp.abs(x), root])
    return jnp.where(t > cond["until"], jnp.nan, cond["speed"] * rates[cond["kind"]])


def adaptive(x0, kind="constant", speed=1.0, until=2.0, **options):
    """Four samples that begin at `x0`, of speeds of their own and NaN after times of their own."""
    rows = [np.broadcast_to(np.float32(values), 4) for values in (x0, speed, until)]
    cond = {"speed": rows[1], "until": rows[2], "kind": np.full(4, KINDS[kind], np.int32)}
    options = {"controller": CONTROLLER, "max_steps": 512, **options}
    return sample(any_kind, rows[0][:, None], cond, **options)


def test_a_blow_up_on_a_fixed_grid_is_told_and_stays_alone():
    x0 = np.array([[0.5], [1000.0], [-0.25]], np.float32)
    result = sample(explosive, x0, num_steps=50)
    np.testing.assert_array_equal(result.status, [0, 1, 0])
    x1 = np.asarray(result.x1)
    np.testing.assert_allclose(x1[::2], x0[::2] * (1 - 1 / 50) ** 50, rtol=1e-5)
    harmless = sample(explosive, x0[[0, 0, 2]], num_steps=50)
    for name in ENERGIES:
        mixed, good = (np.asarray(getattr(run.energy, name)) for run in (result, harmless))
        np.testing.assert_allclose(mixed[::2], good[::2], rtol=1e-6)
        assert not np.isfinite(mixed[1]) or name == "launch"


def test_an_energy_that_overflows_is_not_finite():
    """x itself stays finite at a speed of 1e25, whose square does not fit."""
    x0 = np.zeros((2, 1), np.float32)
    result = sample(lambda t, x, cond=None: 1e25 * jnp.ones_like(x), x0, num_steps=3)
    assert np.all(np.isfinite(result.x1))
    np.testing.assert_array_equal(result.status, [1, 1])


def overflowing(t, x, cond):
    """There and back."""
    return cond * jnp.where(t < 0.5, 1.0, -1.0) * jnp.ones_like(x)


@pytest.mark.parametrize("steps", ["fixed", "adaptive"])
def test_an_energy_or_a_profile_that_overflows_has_a_status(steps):
    """At a speed of 1.5e19 the energy fits, and its bend, (3e19)², does not."""
    speeds = np.array([1.0, 1.0, 1.5e19, 1e25], np.float32)
    if steps == "adaptive":
        run, expected = adaptive(0.0, speed=speeds, dt0=0.5), [0, 0, 0, 1]
    else:
        run = sample(overflowing, np.zeros((4, 1), np.float32), speeds, num_steps=2)
        expected = [0, 0, 1, 1]
        assert np.all(np.isfinite(np.asarray(run.energy.total)[:3]))
    np.testing.assert_array_equal(run.status, expected)
    with pytest.raises(RuntimeError, match="not finite"):
        run.check()


def test_a_saved_path_that_is_not_finite_has_a_status():
    """The field is NaN between the nodes alone, where one shorter step of Heun looks."""

    def field(t, x, cond=None):
        return jnp.where((t > 0.1) & (t < 0.4), jnp.nan, 1.0) * jnp.ones_like(x)

    options = {"solver": diffrax.Heun(), "num_steps": 2}
    x0 = np.zeros((1, 1), np.float32)
    np.testing.assert_array_equal(sample(field, x0, **options).status, [0])
    run = sample(field, x0, save_at=np.array([0.25]), **options)
    np.testing.assert_array_equal(run.status, [1])


def test_nan_on_a_fixed_grid():
    x0, until = np.zeros((3, 2), np.float32), np.array([2.0, 0.5, 2.0], np.float32)
    result = sample(nan_after, x0, until, num_steps=10)
    np.testing.assert_array_equal(result.status, [0, 1, 0])
    np.testing.assert_allclose(np.asarray(result.energy.total)[::2], 1.0, rtol=1e-6)
    x0[2] = np.nan
    np.testing.assert_array_equal(sample(nan_after, x0, until, num_steps=10).status, [0, 1, 1])


@pytest.mark.parametrize("dt0", [None, 0.1])
def test_nan_under_adaptive_control(dt0):
    """From the start, from the middle on, in x0, never: and the step limit is not waited for."""
    result = adaptive([0, 0, np.nan, 0], until=[-1.0, 0.5, 2.0, 2.0], dt0=dt0)
    np.testing.assert_array_equal(result.status, [1, 1, 1, 0])
    assert np.all(np.asarray(result.num_evals) < 512)
    for name in ENERGIES:
        assert np.all(np.isnan(np.asarray(getattr(result.energy, name))[:3])), name
    assert np.all(np.isnan(np.asarray(result.x1)[:3]))
    # The good one moves at the speed 1.
    x1, energy = np.asarray(result.x1), jax.tree.map(np.asarray, result.energy)
    np.testing.assert_allclose(x1[3], 1.0, rtol=1e-5)
    for name, value in {"total": 0.5, "displacement": 0.5, "length": 1.0}.items():
        np.testing.assert_allclose(getattr(energy, name)[3], value, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(energy.excess[3], 0.0, atol=4e-6)


def test_nan_that_a_shorter_step_avoids_is_no_failure():
    """x' = −½/√x from 1 ends at 0 only after t = 4/3; a step of 1 looks behind the end."""
    result = adaptive(1.0, kind="root", dt0=1.0)
    np.testing.assert_array_equal(result.status, [0] * 4)
    np.testing.assert_allclose(result.x1, 0.25 ** (2 / 3), rtol=2e-3)


@pytest.mark.long
def test_step_limit():
    """The stiff samples need more than 8 steps, the others do not."""
    x0 = np.array([0.5, 0.5, 40.0, 40.0], np.float32)
    result = adaptive(x0, kind="braking", dt0=0.1, max_steps=8)
    np.testing.assert_array_equal(result.status, [0, 0, 2, 2])
    assert np.all(np.isnan(np.asarray(result.x1)[2:]))
    assert np.all(np.isnan(np.asarray(result.energy.total)[2:]))
    enough = adaptive(x0, kind="braking", dt0=0.1)
    np.testing.assert_array_equal(enough.status, [0] * 4)
    np.testing.assert_allclose(np.asarray(enough.x1)[:, 0], x0 / (1 + x0), rtol=1e-3)
    few, many = (np.asarray(run.energy.total)[:2] for run in (result, enough))
    np.testing.assert_allclose(few, many, rtol=1e-5)


@pytest.fixture(scope="module")
def twelve():
    """Twelve good samples."""
    return sample(lambda t, x, cond=None: x, np.zeros((12, 1), np.float32), num_steps=1)


@pytest.fixture
def with_status(twelve):
    def replaced(*status):
        status = np.pad(np.array(status, np.int32), (0, 12 - len(status)))
        return Trajectories(**{**vars(twelve), "status": jnp.asarray(status)})

    return replaced


def test_check_returns_itself_when_all_is_well(with_status):
    result = with_status(0, 0)
    assert result.check() is result


def test_check_counts_and_names_the_bad_samples(with_status):
    with pytest.raises(RuntimeError, match=r"12 trajectories: 2 not finite \(samples 1, 3\)$"):
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
        jax.jit(run)(np.zeros((1, 1), np.float32))
