"""Gains by gradients, where the best one is known by the calculus of variations."""

import diffrax
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from kinetic_jax import EmpiricalField, GaussianField, kts_gain
from kinetic_jax.copies import snap
from kinetic_jax.sampling import noise, sample
from kinetic_jax.tuning import Drawn, gain_by_gradients, snap_of, tune
from kinetic_jax.tuning._descent import _STREAM
from kinetic_jax.tuning._free_gain import FreeGain, FreeKTS, at_no_gain

KEY = jax.random.key(0)
TIMES = np.linspace(0, 1, 8)
SMALL = {"key": KEY, "shape": (1,), "batch_size": 2, "num_steps": 10, "progress": False}


def energy_of(drawn):
    return drawn.run.energy.total


def constant(t, x, cond=None):
    return jnp.ones_like(x)


def short_of(length):
    """Energy, and what the path is short of that length."""

    def score(drawn):
        return drawn.run.energy.total + (drawn.run.energy.length - length) ** 2

    return score


def test_free_gain_levels_a_velocity():
    """∫ ½ u² + (∫ u − 2)² with u = η (1 + t) is least at u = 4/3: so η = 4/3 / (1 + t)."""

    def growing(t, x, cond=None):
        return (1 + t) * jnp.ones_like(x)

    options = SMALL | {"solver": diffrax.Heun(), "num_steps": 28}
    result = gain_by_gradients(growing, short_of(2.0), iterations=200, **options)
    np.testing.assert_allclose(result.values, 4 / 3 / (1 + TIMES), rtol=0.02)
    assert result.setting.name == "free gain"
    # The loss of η = 1, and the least one: ½ u² + (u − 2)² = 4/3.
    np.testing.assert_allclose(result.losses[0], 7 / 6 + 1 / 4, rtol=2e-3)
    np.testing.assert_allclose(result.losses[-1], 4 / 3, rtol=2e-3)


def test_variance_of_a_gaussian_flow():
    """x1 = r x0 with r = ∏ (1 + h η a): the variance that is asked for is the one at the end."""
    scale, target, size = 0.5, 0.3, 512

    def off(drawn):
        x1 = drawn.run.x1
        return jnp.full(size, (jnp.mean(x1**2) - target**2) ** 2)

    options = SMALL | {"batch_size": size, "num_steps": 20}
    field = GaussianField(jnp.zeros(1), scale)
    result = gain_by_gradients(field, off, iterations=150, **options)
    t = np.arange(20) / 20
    rate = (t * scale**2 - (1 - t)) / (t**2 * scale**2 + (1 - t) ** 2)
    ratio = np.prod(1 + np.interp(t, TIMES, result.values) * rate / 20)
    # E (r² m − T²)² is least at r² = T² / (1 + 2/n), of a mean square m of n normal numbers.
    np.testing.assert_allclose(ratio**2, target**2 / (1 + 2 / size), rtol=0.03)
    no_gain = np.prod(1 + rate / 20)
    assert abs(no_gain**2 - target**2) > 0.1


def test_penalty_beyond_the_bound():
    """½ η² is least at 0, but a path shorter by more than 0.3 costs 10 for each unit: η = 0.7."""

    def shorter(samples):
        return -jnp.mean(samples)

    options = SMALL | {"penalty": shorter, "bound": 0.3, "weight": 10.0}
    result = gain_by_gradients(constant, energy_of, iterations=200, **options)
    mean = np.mean(np.interp(np.arange(10) / 10, TIMES, result.values))
    np.testing.assert_allclose(mean, 0.7, atol=0.01)
    free = gain_by_gradients(constant, energy_of, iterations=50, **SMALL)
    assert free.values[:-1].max() < 0.4


def test_kts_meets_a_length():
    """∫ η = 1 + α0 τ/2 − β0 (1 − τ) ((e^k − 1)/k − 1)."""

    def off(drawn):
        return (drawn.run.energy.length - 0.9) ** 2

    options = SMALL | {"solver": diffrax.Midpoint(), "num_steps": 100}
    result = gain_by_gradients(constant, off, form="kts", iterations=150, **options)
    alpha0, beta0, tau = result.values
    landing = (1 - tau) * (np.expm1(3) / 3 - 1)
    np.testing.assert_allclose(1 + alpha0 * tau / 2 - beta0 * landing, 0.9, atol=2e-3)
    assert beta0 > 0
    assert result.setting.name == "kts by gradients"


def test_no_gain_is_the_start():
    np.testing.assert_allclose(at_no_gain("free", 5).values(), np.ones(5))
    np.testing.assert_allclose(at_no_gain("kts", 8).values(), [0, 0, 0.6], atol=1e-2)


@settings(max_examples=12)
@given(numbers=st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3))
def test_no_point_of_the_search_reverses(numbers):
    """`kts` and `gain` would refuse one; between the knots a free gain is linear."""
    logs = np.array(numbers, np.float32)
    t = jnp.linspace(0, 1, 101)
    free = FreeGain(jnp.asarray(logs))
    eta = jax.vmap(free.transform().fn)(t)
    values = np.exp(3 * np.tanh(logs.astype(np.float64) / 3))
    np.testing.assert_allclose(eta, np.interp(t, [0, 0.5, 1], values), atol=1e-5)
    shaped = FreeKTS(jnp.asarray(logs))
    eta = np.asarray(jax.vmap(shaped.transform().fn)(t))
    assert eta.min() > 0
    np.testing.assert_allclose(eta, kts_gain(t, *shaped.values()), rtol=1e-4)
    # The ends are η(0) = e^a and η(1) = e^b.
    np.testing.assert_allclose(eta[[0, -1]], values[:2], rtol=2e-3)


def test_a_search_for_the_slowest_gain_does_not_reverse():
    """The path's length is least where the flow stands still; and `tune` takes the gain."""

    def length(drawn):
        return drawn.run.energy.length

    options = SMALL | {"learning_rate": 10.0}
    slow = gain_by_gradients(constant, length, iterations=20, **options)
    assert 0 < slow.values.min() < 0.1
    result = tune(
        constant,
        [slow.setting._replace(name="slow")],
        objective=length,
        distance=lambda rows: 0.0,
        bound=0.0,
        key=KEY,
        shape=(1,),
        num_samples=20,
        num_steps=10,
        resamples=2,
    )
    assert result.setting.name == "slow"
    written = result.as_json()["setting"]["gain"]
    np.testing.assert_allclose(written, np.interp(np.arange(11) / 10, TIMES, slow.values), 1e-4)


def test_the_same_key_gives_the_same_gain():
    def score(drawn):
        return (drawn.run.x1[:, 0] - 2) ** 2

    one, again, other = (
        gain_by_gradients(constant, score, iterations=5, **SMALL | {"key": key})
        for key in (KEY, KEY, jax.random.key(1))
    )
    np.testing.assert_array_equal(one.values, again.values)
    np.testing.assert_array_equal(one.losses, again.losses)
    assert not np.allclose(one.losses, other.losses)


def test_conditions_are_drawn():
    """The mean energy ½ c² of the conditions 1 and 3 is 2.5: batches have both."""

    def field(t, x, cond):
        return cond * jnp.ones_like(x)

    options = SMALL | {"batch_size": 400, "cond": np.array([1, 3], np.float32)}
    result = gain_by_gradients(field, energy_of, iterations=1, **options)
    np.testing.assert_allclose(result.losses[0], 2.5, atol=5 * 2 / 20)
    assert result.losses[0] not in (0.5, 4.5)


@pytest.mark.long
def test_snap_of_two_points():
    """The first loss is that of samples without a gain; later ones are less."""
    points = jnp.array([[2.0, 0.0], [-2.0, 0.0]])
    model, earlier = EmpiricalField(points), GaussianField(jnp.zeros(2), 2.0)
    objective = snap_of(model, earlier, key=jax.random.key(1), draws=2)
    options = {"batch_size": 8, "num_steps": 8, "progress": False, "key": KEY}
    result = gain_by_gradients(model, objective, iterations=2, **options)
    own = jax.random.fold_in(jax.random.fold_in(KEY, _STREAM), 0)
    x0 = noise(jax.random.split(own)[0], jnp.arange(8), (2,))
    run = sample(model, x0, num_steps=8)
    wanted = snap(model, earlier, run.x1, key=jax.random.key(1), draws=2)
    np.testing.assert_allclose(result.losses[0], np.mean(wanted), rtol=1e-2)
    np.testing.assert_allclose(objective(Drawn(run, run.x1)), wanted, rtol=1e-6)
    assert np.abs(result.values - 1).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "kst"}, "form must be 'free' or 'kts', got 'kst'"),
        ({"num_knots": 1}, "num_knots must be a whole number >= 2"),
        ({"iterations": 0}, "iterations must be a whole number >= 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"bound": -1.0}, "bound must be at least 0"),
        ({"weight": -1.0}, "weight must be at least 0"),
        ({"shape": None}, "shape must be given"),
    ],
)
def test_bad_input(changes, message, own_messages):
    with pytest.raises(ValueError, match=message):
        gain_by_gradients(constant, short_of(1.0), **SMALL | changes)


def test_a_loss_that_is_not_finite():
    with pytest.raises(RuntimeError, match="the loss is nan in iteration 0"):
        gain_by_gradients(constant, lambda drawn: drawn.run.x1[:, 0] * jnp.nan, **SMALL)
