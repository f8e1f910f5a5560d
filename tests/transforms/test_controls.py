"""Transforms that are compared with KTS, and guidance, against their closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import EmpiricalField, GaussianField, cfg, kts, kts_gain, sample
from kinetic_jax.fields import Field
from kinetic_jax.transforms import cfg_zero_star, clock_matched, guide, smooth, ssc


def driven(t, x, cond=None):
    """Its path is sin(3t), whatever x."""
    return jnp.full_like(x, 3.0) * jnp.cos(3 * t)


@pytest.mark.parametrize("strengths", [(0.0, 0.0), (0.0, 0.05), (0.3, 0.0)])
def test_a_matched_clock_walks_the_same_path(strengths):
    """x(1) = ∫ η f(s) dt = F(s(1)), which is F(1) from s = 1 on."""

    nodes = np.linspace(0, 1, 20_001)
    s1 = np.trapezoid(np.asarray(kts_gain(nodes, *strengths), np.float64), nodes)
    field = clock_matched(kts(*strengths))(driven)
    x1 = sample(field, jnp.zeros((1, 2)), num_steps=4000).x1
    np.testing.assert_allclose(x1, np.sin(3 * min(s1, 1.0)), atol=3e-3)
    # A gain alone leaves the network at another time.
    lied = sample(kts(*strengths)(driven), jnp.zeros((1, 2)), num_steps=4000).x1
    if any(strengths):
        assert np.abs(np.asarray(lied) - np.sin(3 * min(s1, 1.0))).max() > 0.01


def test_ssc_is_a_linear_launch_at_b_1():
    x0 = jnp.ones((2, 3))

    def field(t, x, cond=None):
        return jnp.cos(t) * x

    almost = kts(alpha0=0.3, tau_split=1 - 1e-6)
    ours, theirs = (sample(f(field), x0, num_steps=50).x1 for f in (ssc(0.3, 1.0), almost))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    t = jnp.linspace(0, 1, 5)
    got = jax.vmap(ssc(0.5, 2.0).fn)(t)
    np.testing.assert_allclose(got, 1 + 0.5 * (1 - np.linspace(0, 1, 5)) ** 2, rtol=1e-6)


def test_smoothing_is_the_mean_over_fixed_points():
    """A quadratic field shows the first and the second moment of the points."""
    key, num, sigma, x = jax.random.key(3), 50, 0.4, np.array([0.5, -1.0, 2.0], np.float32)
    draws = np.asarray(jax.random.normal(key, (num, 3), jnp.float32), np.float64)
    field = smooth(sigma, num, key)(lambda t, x, cond=None: t * x**2)
    wanted = 0.5 * np.mean((x + sigma * draws) ** 2, axis=0)
    np.testing.assert_allclose(field(jnp.float32(0.5), jnp.asarray(x)), wanted, rtol=1e-5)


def test_guidance_by_itself_changes_nothing():
    field, x0 = GaussianField(jnp.ones(2), 0.5), np.ones((3, 2), np.float32)
    plain, guided = (sample(f, x0, num_steps=5).x1 for f in (field, guide(field, 3.0)(field)))
    np.testing.assert_allclose(guided, plain, rtol=1e-6)


def test_none_as_the_null_condition():
    """The model is called without a condition, as it was trained."""

    def model(t, x, cond=None):
        return x if cond is None else x + cond

    x, cond = np.ones((2, 3), np.float32), np.array([1.0, -2.0], np.float32)
    run = sample(cfg(3.0, None)(model), x, cond, num_steps=1)
    np.testing.assert_allclose(run.x1, 2 + 3 * np.stack([cond] * 3, axis=1), rtol=1e-6)


def test_none_is_the_whole_data_set_of_an_exact_flow():
    rows = np.array([[2.0, 0.0], [-1.0, 1.0], [0.0, -2.0]], np.float32)
    field, point, label = (
        EmpiricalField(rows, labels=np.array([0, 1, 1])),
        jnp.ones(2),
        jnp.asarray(1),
    )
    guided = cfg(3.0, None)(field)(0.5, point, label)
    own, every = field(0.5, point, label), field(0.5, point)
    np.testing.assert_allclose(guided, every + 3 * (own - every), rtol=1e-5)


def test_cfg_zero_star_stands_still_at_first():
    field = cfg_zero_star(2.0, 0.0, zero_until=0.2)(
        lambda t, x, label: (1 + label) * jnp.ones_like(x)
    )
    run = sample(field, np.zeros((1, 2), np.float32), np.ones(1, np.float32), num_steps=10)
    # v_c = 2, v_u = 1 along one direction: s = 2 and nothing is left to guide.
    np.testing.assert_allclose(run.x1, 2 * 0.8, rtol=1e-5)
    np.testing.assert_allclose(run.energy.total, 0.8 * 8 / 2, rtol=1e-5)


class Shaped(Field):
    number: int = eqx.field(static=True)

    @property
    def event_shape(self):
        return (self.number,)

    def __call__(self, t, x, cond=None):
        return x


ERRORS = {
    "weight": (lambda: guide(lambda t, x, c: x, np.nan), "weight must be finite"),
    "other": (lambda: guide(3, 1.0), "other must be callable as field"),
    "shapes": (
        lambda: guide(Shaped(2), 1.0)(Shaped(3)),
        r"other must have the field's, \(3,\)",
    ),
    "gain": (lambda: clock_matched(lambda t: 1.0), "gain must be a kts, ssc or gain"),
    "power": (lambda: ssc(0.1, -1.0), "b must not be negative"),
    "reversal": (lambda: ssc(-2.0, 1.0), "gain must stay finite and above 0"),
    "sigma": (lambda: smooth(-1.0, 2, jax.random.key(0)), "sigma must not be negative"),
    "points": (lambda: smooth(1.0, 0, jax.random.key(0)), "num must be"),
    "zero_until": (lambda: cfg_zero_star(2.0, 0, zero_until=1.0), "zero_until must"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name, own_messages):
    make, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        make()
