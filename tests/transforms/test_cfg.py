"""`cfg`: v_u + w (v_c − v_u) inside [lo, hi], v_c outside, against the formula by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kinetic_jax import cfg, chain, kts, kts_gain, sample

X = jnp.array([0.4, -1.3, 2.0])
NULL = 3


class Labelled(eqx.Module):
    """v = t x + table[label]; the last row stands for no label."""

    table: jax.Array

    def __call__(self, t, x, cond=None):
        return t * x + self.table[cond]


FIELD = Labelled(jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32))


def manual(t, w, label, low=0.0, high=1.0):
    """The guided velocity in float64."""
    table, x = np.asarray(FIELD.table, np.float64), np.asarray(X, np.float64)
    conditional, unconditional = t * x + table[label], t * x + table[NULL]
    if low <= t <= high:
        return unconditional + w * (conditional - unconditional)
    return conditional


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-3, 8, width=32),
    st.floats(0, 1, width=32),
    st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)).map(sorted),
    st.integers(0, 3),
)
def test_formula(w, t, interval, label):
    low, high = interval
    # A bound counts as reached within some rounding steps: see the test of an accumulated clock.
    assume(all(t == bound or abs(t - bound) > 1e-5 for bound in interval))
    field = cfg(w, NULL, interval=(low, high))(FIELD)
    got = field(jnp.float32(t), X, jnp.array(label))
    np.testing.assert_allclose(got, manual(t, w, label, low, high), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("t", [0.0, 0.199, 0.2, 0.5, 0.8, 0.801, 1.0])
def test_both_end_points_are_guided(t):
    field = cfg(4.0, NULL, interval=(0.2, 0.8))(FIELD)
    want = manual(t, 4.0, 1, 0.2, 0.8)
    np.testing.assert_allclose(field(jnp.array(t), X, jnp.array(1)), want, rtol=1e-5)
    assert np.allclose(want, manual(t, 1.0, 1)) == (not 0.2 <= t <= 0.8)


def test_end_points_that_a_float32_grid_meets():
    # The steps of a grid of 100 that lie in [0.3, 0.7] are 30 to 70.
    times = jnp.asarray(np.arange(101) / 100, jnp.float32)
    one = cfg(3.0, NULL, interval=(0.3, 0.7))(FIELD)
    got = jax.vmap(lambda t: one(t, X, jnp.array(0)))(times)
    plain = jax.vmap(lambda t: FIELD(t, X, jnp.array(0)))(times)
    guided = np.any(np.abs(np.asarray(got - plain)) > 1e-3, axis=1)
    np.testing.assert_array_equal(np.flatnonzero(guided), np.arange(30, 71))


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.25, 0.75)])
@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_weight_one_is_conditional_and_weight_zero_unconditional(t, interval):
    t, label = jnp.array(t), jnp.array(2)
    got = cfg(1.0, NULL, interval=interval)(FIELD)(t, X, label)
    np.testing.assert_allclose(got, FIELD(t, X, label), rtol=1e-6)
    got = cfg(0.0, NULL)(FIELD)(t, X, label)
    np.testing.assert_array_equal(got, FIELD(t, X, jnp.array(NULL)))


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.25, 0.75)])
def test_pytree_conditions(interval):
    def field(t, x, cond):
        return cond["scale"] * x + cond["embedding"].sum(axis=0) + FIELD.table[cond["label"]]

    cond = {"scale": jnp.array(2.0), "embedding": jnp.ones((2, 3)), "label": jnp.array(1)}
    null = {"scale": 0.0, "embedding": jnp.zeros((2, 3)), "label": NULL}
    conditional, unconditional = 2 * X + 2 + FIELD.table[1], FIELD.table[NULL]
    got = cfg(1.5, null, interval=interval)(field)(jnp.array(0.5), X, cond)
    np.testing.assert_allclose(got, 1.5 * conditional - 0.5 * unconditional, rtol=1e-5)


def test_the_null_condition_takes_the_dtype_of_the_condition():
    def field(t, x, cond):
        embedding, label = cond
        assert (embedding.dtype, label.dtype) == (jnp.bfloat16, jnp.uint8)
        return x + embedding.astype(x.dtype) + label.astype(x.dtype)

    cond = jnp.ones(3, jnp.bfloat16), jnp.array(1, jnp.uint8)
    got = cfg(3.0, (np.zeros(3), 0))(field)(jnp.array(0.5), X, cond)
    np.testing.assert_allclose(got, X + 6, rtol=1e-6)


def test_batched_in_sample():
    labels = jnp.array([0, 1, 2, NULL])
    x0 = jnp.stack([X, -X, 2 * X, X])
    got = sample(cfg(2.0, NULL, interval=(0.25, 0.5))(FIELD), x0, labels, num_steps=8)
    table, x = np.asarray(FIELD.table, np.float64), np.asarray(x0, np.float64)
    for i in range(8):
        t = i / 8
        v = t * x + table[labels]
        if 0.25 <= t <= 0.5:
            v += table[labels] - table[NULL]
        x = x + v / 8
    np.testing.assert_allclose(got.x1, x, rtol=1e-5)
    np.testing.assert_array_equal(got.num_evals, [8] * 4)


@pytest.mark.parametrize("settings", [{}, {"interval": (0.25, 0.5)}], ids=["always", "interval"])
def test_in_either_order_with_kts(settings):
    guide, shape = cfg(2.5, NULL, **settings), kts(0.4, 0.03, 0.5)
    low, high = settings.get("interval", (0.0, 1.0))
    for t in (0.0, 0.25, 0.4, 0.5, 0.7, 1.0):
        want = np.asarray(kts_gain(t, 0.4, 0.03, 0.5)) * manual(t, 2.5, 1, low, high)
        for both in (chain(guide, shape), chain(shape, guide)):
            got = both(FIELD)(jnp.array(t), X, jnp.array(1))
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_one_call_of_the_field_with_twice_the_batch():
    calls = []

    def field(t, x, cond):
        calls.append(1)
        return x + cond

    text = jax.jit(jax.vmap(cfg(2.0, jnp.zeros(3))(field), (None, 0, 0))).lower(
        jnp.array(0.5), jnp.ones((5, 3)), jnp.ones((5, 3))
    )
    assert len(calls) == 1
    assert "tensor<2x5x3xf32>" in text.as_text() or "tensor<5x2x3xf32>" in text.as_text()


def test_outside_the_interval_the_second_half_is_not_computed():
    # With one time for the whole batch the interval stays a branch of the program.
    field = jax.vmap(cfg(2.0, NULL, interval=(0.2, 0.5))(FIELD), (None, 0, 0))
    lowered = jax.jit(field).lower(jnp.array(0.5), jnp.ones((5, 3)), jnp.zeros(5, int))
    assert lowered.as_text().count("stablehlo.case") == 1


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.2, 0.8)])
@pytest.mark.parametrize(
    ("null", "cond", "message"),
    [
        (0.0, None, "cond must be given to a guided field, got None"),
        (0.0, {"label": 0.0}, "cond must have the structure of null_cond"),
        ({"a": 0.0, "b": 0.0}, {"a": 0.0}, "cond must have the structure of null_cond"),
        (np.zeros(2), np.zeros(3), r"null_cond must have the shape of .* cond, \(3,\), got .*\(2,"),
        (np.zeros((1, 3)), np.zeros(3), r"null_cond must have the shape .* got shape \(1, 3\)"),
        (np.zeros(3), 0.0, r"null_cond must have the shape of one sample's cond, \(\)"),
    ],
)
def test_conditions_that_do_not_match(null, cond, message, interval):
    field = cfg(2.0, null, interval=interval)(lambda t, x, cond=None: x)
    cond = jax.tree.map(jnp.asarray, cond)
    with pytest.raises(ValueError, match=message):
        field(jnp.array(0.5), X, cond)
    with pytest.raises(ValueError, match=message):
        sample(field, X[None], jax.tree.map(lambda leaf: leaf[None], cond))


@pytest.mark.parametrize("null", [None, {}, ()])
def test_a_null_condition_that_is_empty(null):
    with pytest.raises(ValueError, match="null_cond must hold at least one array, got"):
        cfg(2.0, null)


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        ((-0.1, 1.0), r"interval must lie in \[0, 1\], got -0\.1"),
        ((0.0, 1.5), r"interval must lie in \[0, 1\], got 1\.5"),
        ((np.nan, 1.0), r"interval must lie in \[0, 1\], got nan"),
        ((0.8, 0.2), r"interval must have lo <= hi, got \(0\.8, 0\.2\)"),
    ],
)
def test_interval_errors(interval, message):
    with pytest.raises(ValueError, match=message):
        cfg(2.0, NULL, interval=interval)


@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_scale_not_finite(scale):
    with pytest.raises(ValueError, match=f"scale must be finite, got {scale}"):
        cfg(scale, NULL)


def test_a_traced_interval():
    def velocity(low, high, t):
        return cfg(4.0, NULL, interval=(low, high))(FIELD)(t, X, jnp.array(1))

    for low, high in ((0.2, 0.8), (0.0, 1.0), (0.6, 0.7)):
        want = manual(0.5, 4.0, 1, low, high)
        np.testing.assert_allclose(jax.jit(velocity)(low, high, 0.5), want, rtol=1e-5)


def test_scale_is_one_number():
    with pytest.raises(ValueError, match=r"scale must be one number, got shape \(3,\)"):
        cfg(jnp.ones(3), jnp.zeros(2))


def test_an_accumulated_clock_does_not_miss_the_interval():
    """A bound on a node counts as reached by a loop that sums its time up, as τ does."""
    field = cfg(2.0, 0.0, interval=(0.1, 0.9))(lambda t, x, cond: 0 * x + cond)
    t, guided = jnp.float32(0.0), []
    for _ in range(20):
        guided.append(float(field(t, jnp.zeros(()), jnp.float32(1.0))) == 2.0)
        t = t + jnp.float32(0.05)
    assert guided == [2 <= i <= 18 for i in range(20)]
    assert float(t) != 1.0  # what makes an exact comparison wrong
