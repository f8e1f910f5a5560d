"""Networks in bfloat16 and big sums: energies accumulate in float32 or better."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import energy_init, energy_result, energy_update, from_linen, sample


class Net(nn.Module):
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, t, x):
        inputs = jnp.concatenate([x, t[:, None]], axis=1).astype(self.dtype)
        hidden = nn.tanh(nn.Dense(64, dtype=self.dtype)(inputs))
        return 3 * nn.Dense(x.shape[1], dtype=self.dtype)(hidden)


def test_a_bfloat16_network(normal):
    x0 = normal(0, 8, 16)
    init = jax.jit(lambda key: Net(jnp.float32).init(key, jnp.zeros(1), jnp.zeros((1, 16))))
    variables = init(jax.random.key(0))
    exact = sample(from_linen(Net(jnp.float32), variables), x0)
    half = sample(from_linen(Net(jnp.bfloat16), variables), x0)
    assert half.x1.dtype == jnp.float32
    for name in ("total", "launch", "landing", "displacement", "length"):
        energy = getattr(half.energy, name)
        assert energy.dtype == jnp.float32
        np.testing.assert_allclose(energy, getattr(exact.energy, name), rtol=0.01, err_msg=name)
        assert np.any(np.asarray(energy) != getattr(exact.energy, name))  # it did run in bfloat16


@pytest.mark.parametrize("steps", [10, 1000])
def test_many_small_steps_lose_nothing(steps):
    """In bfloat16 a sum of 1,000 equal terms stalls at 256."""
    result = sample(lambda t, x, cond=None: jnp.ones_like(x), jnp.zeros((1, 4)), num_steps=steps)
    np.testing.assert_allclose(result.energy.total, 2.0, rtol=1e-5)
    np.testing.assert_allclose(result.energy.length, 2.0, rtol=1e-5)


def test_float64_in_float64_out(x64, reference):
    field = reference.wave(0, dtype=jnp.float64)
    x0 = np.random.default_rng(1).normal(size=(2, 3))
    result = sample(field, x0, num_steps=50)
    expected = reference.solve(reference.wave_numpy(field), x0, reference.grid("uniform", 50))
    for name in ("total", "launch", "landing", "displacement", "excess", "length"):
        energy = getattr(result.energy, name)
        assert energy.dtype == jnp.float64
        np.testing.assert_allclose(energy, getattr(expected, name), rtol=1e-11, err_msg=name)
    np.testing.assert_allclose(result.x1, expected.x1, rtol=1e-12)


def test_float32_stays_float32_where_float64_is_enabled(x64, reference, normal):
    result = sample(reference.wave(0), normal(1, 2, 3), num_steps=50)
    assert {leaf.dtype for leaf in jax.tree.leaves((result.x1, result.energy, result.profile))} == {
        jnp.dtype(jnp.float32)
    }


def clock(t):
    """Velocities that depend on the time alone, so that no rounding of x meets them."""
    return jnp.stack([1 + t, 2 * jnp.ones_like(t)])


def totals_by_hand(steps):
    """Every sum over the Euler steps of `clock`, in float64."""
    t = np.arange(steps) / steps
    power, first_landing = ((1 + t) ** 2 + 4) / 2, round(0.6 * steps)
    return types.SimpleNamespace(
        total=power.sum() / steps,
        launch=power[:first_landing].sum() / steps,
        landing=power[first_landing:].sum() / steps,
        length=np.sqrt(2 * power).sum() / steps,
    )


@pytest.mark.parametrize("way", ["sample", "loop"])
def test_a_million_steps_lose_nothing(way):
    """A plain float32 sum of the length is off by 2e-3 here."""
    steps = 10**6

    def step(state, i):
        t = i.astype(jnp.float32) / steps
        return energy_update(state, clock(t)[None], t, 1 / steps), None

    def loop():
        state, _ = jax.lax.scan(step, energy_init(jnp.zeros((1, 2))), jnp.arange(steps))
        return energy_result(state, jnp.array([[1.5, 2.0]]))

    if way == "sample":
        energy = sample(lambda t, x, c=None: clock(t), jnp.zeros((1, 2)), num_steps=steps).energy
    else:
        energy = jax.jit(loop)()
        np.testing.assert_allclose(energy.displacement, 6.25 / 2, rtol=1e-5)
    for name, expected in vars(totals_by_hand(steps)).items():
        np.testing.assert_allclose(getattr(energy, name), expected, rtol=1e-5, err_msg=name)
    # The mean of t has no more digits than x has after a million roundings.
    np.testing.assert_allclose(energy.excess, 1 / 24, rtol=1e-3)
