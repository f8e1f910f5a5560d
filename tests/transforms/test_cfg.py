"""`cfg`: v_u + w (v_c − v_u) inside [lo, hi], v_c outside, against the formula by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kinetic_jax import cfg, chain, kts, kts_gain, sample

X = jax.device_put(np.array([0.4, -1.3, 2.0], np.float32))
NULL = 3


class Labelled(eqx.Module):
    """v = t x + table[label]; the last row stands for no label."""

    table: jax.Array

    def __call__(self, t, x, cond=None):
        return t * x + self.table[cond]


FIELD = Labelled(jax.device_put(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)))

# One program for guided fields of any weight, and one for those of an interval.
call = jax.jit(lambda field, t, x, cond: field(t, x, cond))


def velocity(field, t, label):
    return np.asarray(call(field, np.float32(t), X, np.int32(label)))


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
    got = velocity(field, t, label)
    np.testing.assert_allclose(got, manual(t, w, label, low, high), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("t", [0.0, 0.199, 0.2, 0.5, 0.8, 0.801, 1.0])
def test_both_end_points_are_guided(t):
    field = cfg(4.0, NULL, interval=(0.2, 0.8))(FIELD)
    want = manual(t, 4.0, 1, 0.2, 0.8)
    np.testing.assert_allclose(velocity(field, t, 1), want, rtol=1e-5)
    assert np.allclose(want, manual(t, 1.0, 1)) == (not 0.2 <= t <= 0.8)


def test_end_points_that_a_float32_grid_meets():
    # The steps of a grid of 100 that lie in [0.3, 0.7] are 30 to 70.
    times = (np.arange(101) / 100).astype(np.float32)
    one = cfg(3.0, NULL, interval=(0.3, 0.7))(FIELD)
    got = np.asarray(jax.jit(jax.vmap(one, (0, None, None)))(times, X, np.int32(0)))
    plain = times[:, None] * np.asarray(X) + np.asarray(FIELD.table)[0]
    guided = np.any(np.abs(got - plain) > 1e-3, axis=1)
    np.testing.assert_array_equal(np.flatnonzero(guided), np.arange(30, 71))


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.25, 0.75)])
@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_weight_one_is_conditional_and_weight_zero_unconditional(t, interval):
    got = velocity(cfg(1.0, NULL, interval=interval)(FIELD), t, 2)
    np.testing.assert_allclose(got, velocity(FIELD, t, 2), rtol=1e-6)
    # Not compiled: two programs may round differently.
    got = cfg(0.0, NULL)(FIELD)(jnp.float32(t), X, jnp.int32(2))
    np.testing.assert_array_equal(got, FIELD(jnp.float32(t), X, jnp.int32(NULL)))


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.25, 0.75)])
def test_pytree_conditions(interval):
    def field(t, x, cond):
        return cond["scale"] * x + cond["embedding"].sum(axis=0) + FIELD.table[cond["label"]]

    ones = np.ones((2, 3), np.float32)
    cond = {"scale": np.float32(2.0), "embedding": ones, "label": np.int32(1)}
    null = {"scale": 0.0, "embedding": 0 * ones, "label": NULL}
    table = np.asarray(FIELD.table)
    conditional, unconditional = 2 * np.asarray(X) + 2 + table[1], table[NULL]
    got = call(cfg(1.5, null, interval=interval)(field), np.float32(0.5), X, cond)
    np.testing.assert_allclose(got, 1.5 * conditional - 0.5 * unconditional, rtol=1e-5)


def test_the_null_condition_takes_the_dtype_of_the_condition():
    def field(t, x, cond):
        embedding, label = cond
        assert (embedding.dtype, label.dtype) == (jnp.bfloat16, jnp.uint8)
        return x + embedding.astype(x.dtype) + label.astype(x.dtype)

    cond = np.ones(3, jnp.bfloat16), np.uint8(1)
    got = call(cfg(3.0, (np.zeros(3), 0))(field), np.float32(0.5), X, cond)
    np.testing.assert_allclose(got, np.asarray(X) + 6, rtol=1e-6)


def test_batched_in_sample():
    labels = np.array([0, 1, 2, NULL], np.int32)
    x0 = np.asarray(X) * np.array([[1], [-1], [2], [1]], np.float32)
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
    times = np.array([0.0, 0.25, 0.4, 0.5, 0.7, 1.0], np.float32)
    either = [both(FIELD) for both in (chain(guide, shape), chain(shape, guide))]
    for t, eta in zip(times, np.asarray(kts_gain(times, 0.4, 0.03, 0.5)), strict=True):
        want = eta * manual(t, 2.5, 1, low, high)
        for field in either:
            np.testing.assert_allclose(velocity(field, t, 1), want, rtol=1e-5, atol=1e-6)


def test_one_call_of_the_field_with_twice_the_batch():
    calls = []

    def field(t, x, cond):
        calls.append(1)
        return x + cond

    five = np.ones((5, 3), np.float32)
    guided = cfg(2.0, np.zeros(3, np.float32))(field)
    text = jax.jit(jax.vmap(guided, (None, 0, 0))).lower(np.float32(0.5), five, five)
    assert len(calls) == 1
    assert "tensor<2x5x3xf32>" in text.as_text() or "tensor<5x2x3xf32>" in text.as_text()


def test_outside_the_interval_the_second_half_is_not_computed():
    # With one time for the whole batch the interval stays a branch of the program.
    field = jax.vmap(cfg(2.0, NULL, interval=(0.2, 0.5))(FIELD), (None, 0, 0))
    lowered = jax.jit(field).lower(
        np.float32(0.5), np.ones((5, 3), np.float32), np.zeros(5, np.int32)
    )
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
    cond = jax.tree.map(np.float32, cond)
    with pytest.raises(ValueError, match=message):
        call(field, np.float32(0.5), X, cond)
    with pytest.raises(ValueError, match=message):
        sample(field, np.asarray(X)[None], jax.tree.map(lambda leaf: leaf[None], cond))


@pytest.mark.parametrize("null", [{}, ()])
def test_a_null_condition_that_is_empty(null):
    with pytest.raises(ValueError, match="null_cond must be None or hold at least one array, got"):
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
    @jax.jit
    def between(low, high, t):
        return cfg(4.0, NULL, interval=(low, high))(FIELD)(t, X, jnp.array(1))

    for low, high in ((0.2, 0.8), (0.0, 1.0), (0.6, 0.7)):
        want = manual(0.5, 4.0, 1, low, high)
        np.testing.assert_allclose(between(low, high, 0.5), want, rtol=1e-5)


def test_scale_is_one_number():
    with pytest.raises(ValueError, match=r"scale must be one number, got shape \(3,\)"):
        cfg(jnp.ones(3), jnp.zeros(2))


def test_an_accumulated_clock_does_not_miss_the_interval():
    """A bound on a node counts as reached by a loop that sums its time up, as τ does."""
    field = cfg(2.0, 0.0, interval=(0.1, 0.9))(lambda t, x, cond: 0 * x + cond)
    t, guided = np.float32(0.0), []
    for _ in range(20):
        guided.append(float(call(field, t, np.float32(0.0), np.float32(1.0))) == 2.0)
        t = t + np.float32(0.05)
    assert guided == [2 <= i <= 18 for i in range(20)]
    assert float(t) != 1.0  # what makes an exact comparison wrong
