"""`gain`: u = fn(t) v for any fn."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import GaussianField, gain, kts, sample

FIELD = GaussianField(jax.device_put(np.array([1.0, -2.0], np.float32)), 0.7)
X = jax.device_put(np.array([0.4, 1.3], np.float32))
call = jax.jit(lambda field, t: field(t, X))


def velocity(t):
    """The velocity of the plain field."""
    return np.asarray(call(FIELD, np.float32(t)))


class SSC(eqx.Module):
    """η = 1 + a (1 − t)^b."""

    a: jax.Array
    b: jax.Array

    def __call__(self, t):
        return 1 + self.a * (1 - t) ** self.b


def test_multiplies_the_velocity_at_the_same_t():
    shaped = gain(lambda t: 2 - t)(FIELD)
    for t in (0.0, 0.25, 1.0):
        np.testing.assert_allclose(call(shaped, np.float32(t)), (2 - t) * velocity(t), rtol=1e-6)


def test_ssc_with_b_one_is_kts_as_tau_goes_to_one():
    t = np.float32(0.3)
    ssc = call(gain(SSC(jnp.array(0.5), jnp.array(1.0)))(FIELD), t)
    np.testing.assert_allclose(call(kts(0.5, tau_split=0.999999)(FIELD), t), ssc, rtol=1e-5)


def test_a_pytrees_numbers_are_leaves():
    transform = gain(SSC(jnp.array(0.5), jnp.array(2.0)))
    assert sorted(map(float, jax.tree.leaves(transform))) == [0.5, 2.0]
    of_first = jax.jit(jax.grad(lambda transform: transform(FIELD)(jnp.array(0.5), X)[0]))
    np.testing.assert_allclose(of_first(transform).fn.fn.a, 0.25 * velocity(0.5)[0], rtol=1e-6)


@pytest.mark.parametrize("value", [3, 3.0, np.float64(3), jnp.array(3), jnp.array(3.0)])
def test_the_velocitys_dtype_is_kept(value):
    got = gain(lambda t: value)(FIELD)(jnp.array(0.5), X)
    assert got.dtype == X.dtype
    np.testing.assert_allclose(got, 3 * velocity(0.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda t: t, r"got 0 at t = 0 \(lowest 0\)"),
        (lambda t: 0.25 - t, r"got 0 at t = 0\.25 \(lowest -0\.75\)"),
        (lambda t: jnp.where(t == 1, jnp.nan, 1.0), r"got nan at t = 1 "),
        (lambda t: 1 / (1 - t), r"got inf at t = 1 "),
        (SSC(jnp.array(-1.5), jnp.array(1.0)), r"got -0\.5 at t = 0 "),
    ],
    ids=["zero", "negative", "nan", "infinite", "pytree"],
)
def test_reversal_is_refused(fn, message):
    with pytest.raises(ValueError, match=r"gain must stay finite and above 0.*" + message):
        gain(fn)
    got = gain(fn, allow_reversal=True)(FIELD)(jnp.array(0.5), X)
    np.testing.assert_allclose(got, fn(0.5) * FIELD(jnp.array(0.5), X), rtol=1e-6)


class Step(eqx.Module):
    """2 before its tau_split, 1 after."""

    tau_split: jax.Array

    def __call__(self, t):
        return jnp.where(t < self.tau_split, 2.0, 1.0)


def test_tau_split_of_the_gain_goes_before_that_of_the_field():
    assert float(gain(Step(jnp.array(0.25)), tau_split=0.25)(FIELD).tau_split) == 0.25
    assert (
        float(
            gain(Step(jnp.array(0.25)), tau_split=0.25)(kts(0.1, tau_split=0.75)(FIELD)).tau_split
        )
        == 0.25
    )
    assert float(gain(lambda t: 2.0)(kts(0.1, tau_split=0.75)(FIELD)).tau_split) == 0.75
    assert gain(lambda t: 2.0)(FIELD).tau_split is None


def test_sample_splits_the_energy_at_the_gains_tau_split():
    def constant(t, x, cond=None):
        return jnp.ones_like(x)

    energy = sample(
        gain(Step(jnp.array(0.25)), tau_split=0.25)(constant), jnp.zeros((1, 2)), num_steps=8
    ).energy
    # Speed 2 · sqrt(2) for a quarter, then sqrt(2): ½ · 8 · ¼ and ½ · 2 · ¾.
    np.testing.assert_allclose([energy.launch[0], energy.landing[0]], [1.0, 0.75], rtol=1e-6)
