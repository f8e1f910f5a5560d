"""`kts`: η times the field, the identity when both strengths are 0, and its errors."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kinetic_jax import GaussianField, gain, kts, kts_gain

FIELD = GaussianField(jax.device_put(np.array([1.0, -2.0], np.float32)), 0.7)
X = jax.device_put(np.array([0.4, 1.3], np.float32))
PAIRS = list(
    itertools.product(["linear", "constant", "exponential"], ["exponential", "linear", "constant"])
)
call = jax.jit(lambda field, t: field(t, X))
taus = st.floats(0.0625, 0.9375, width=32)
ks = st.floats(0.25, 5, width=32)
number = st.floats(-8, 8, width=32, allow_subnormal=False)


@jax.jit
def of_all_pairs(alpha0, beta0, tau, k, t, x, coefficients):
    """A field of numbers of its own, shaped by every pair, and plain."""
    a, b, c = coefficients

    def field(t, x, cond=None):
        return a * x * x + b * t + c

    numbers = {"k": k, "allow_reversal": True}
    transforms = [kts(alpha0, beta0, tau, launch=i, landing=j, **numbers) for i, j in PAIRS]
    shaped = [jax.vmap(transform(field))(t, x) for transform in transforms]
    return jnp.stack(shaped), jax.vmap(field)(t, x)


gains_of_all_pairs = jax.jit(
    lambda *numbers, k: [kts_gain(*numbers, launch=i, landing=j, k=k) for i, j in PAIRS]
)


@settings(max_examples=30, deadline=None)
@given(taus, ks, st.floats(0, 1, width=32))
def test_no_strength_is_a_gain_of_exactly_one(tau, k, t):
    zero = np.float32(0)
    gains = gains_of_all_pairs(np.float32(t), zero, zero, np.float32(tau), k=np.float32(k))
    np.testing.assert_array_equal(gains, np.ones(len(PAIRS)))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(PAIRS), taus, ks, st.floats(0, 1, width=32), number, number, number)
def test_no_strength_is_the_identity_bitwise(pair, tau, k, t, a, b, c):
    def field(t, x, cond=None):
        return a * x * x + b * t + c

    # Not compiled: two programs may round differently.
    shaped = kts(0.0, 0.0, tau, launch=pair[0], landing=pair[1], k=k)(field)
    t, x = jnp.float32(t), jnp.float32(1.5)
    np.testing.assert_array_equal(shaped(t, x), field(t, x))


@settings(max_examples=30, deadline=None)
@given(taus, ks, st.floats(-2, 2, width=32), st.floats(-2, 2, width=32))
def test_any_strength_changes_the_velocity_somewhere(tau, k, alpha0, beta0):
    assume(max(abs(alpha0), abs(beta0)) > 1e-4)
    numbers = map(np.float32, (alpha0, beta0, tau, k))
    x, coefficients = np.full(2, 1.5, np.float32), tuple(map(np.float32, (1.0, 0.5, 0.25)))
    shaped, plain = of_all_pairs(*numbers, np.array([0, 1], np.float32), x, coefficients)
    # Every shape reaches its full strength at its own end of [0, 1].
    for at_0, at_1 in np.asarray(shaped) != np.asarray(plain):
        assert at_0 or abs(alpha0) <= 1e-4
        assert at_1 or abs(beta0) * np.expm1(k) <= 1e-4


def test_velocity_is_eta_times_v_at_the_same_t():
    shaped = kts(0.3, 0.02, 0.5, launch="exponential", landing="linear", k=2.0)(FIELD)
    times = np.linspace(0, 1, 11, dtype=np.float32)
    eta = kts_gain(times, 0.3, 0.02, 0.5, launch="exponential", landing="linear", k=2.0)
    for t, gain_of_t in zip(times, np.asarray(eta), strict=True):
        want = gain_of_t * np.asarray(call(FIELD, t))
        np.testing.assert_allclose(call(shaped, t), want, rtol=1e-6)


def test_the_network_still_sees_t_and_cond():
    seen = []

    def field(t, x, cond=None):
        seen.append((float(t), cond))
        return x

    kts(0.5)(field)(jnp.array(0.25), X, "cond")
    assert seen == [(0.25, "cond")]


@pytest.mark.parametrize("tau", [0.0, 1.0, -0.1, 1.5, np.nan])
@pytest.mark.parametrize("call", [kts, lambda tau_split: kts_gain(0.5, 0.1, 0.1, tau_split)])
def test_tau_split_out_of_range(call, tau):
    with pytest.raises(ValueError, match=rf"tau_split must lie in \(0, 1\), got {tau}"):
        call(tau_split=tau)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["alpha0", "beta0", "k"])
def test_numbers_not_finite(name, value):
    with pytest.raises(ValueError, match=f"{name} must be finite, got {value}"):
        kts(**{name: value})
    with pytest.raises(ValueError, match=f"{name} must be finite, got {value}"):
        kts_gain(0.5, **{"alpha0": 0.1, "beta0": 0.1, name: value})


@pytest.mark.parametrize("name", ["launch", "landing"])
def test_unknown_shape(name):
    message = rf"{name} must be one of .*'exponential'.* or a callable, got 'cosine'"
    with pytest.raises(ValueError, match=message):
        kts(**{name: "cosine"})


REVERSALS = {
    # η(1) = 1 − (e³ − 1) β0, which crosses 0 at β0 = 0.05240.
    "beta0": ({"beta0": 0.0525}, r"got -0\.00199\d? at t = 1 "),
    "launch": ({"alpha0": -1.0, "launch": "constant"}, r"got 0 at t = 0 "),
    "landing": ({"beta0": 1.5, "landing": "constant"}, r"got -0\.5 at t = 0\.6 "),
    "linear": ({"alpha0": -2.0, "tau_split": 0.5}, r"got -1 at t = 0 \(lowest -1\)"),
    "own": ({"beta0": 1.0, "landing": lambda s: 4 * s * (1 - s)}, r"got .* at t = 0\.8 "),
    "not_finite": ({"beta0": 0.1, "landing": lambda s: 1 / s}, r"got -inf at t = 0\.6 "),
}


@pytest.mark.parametrize(("settings", "where"), REVERSALS.values(), ids=REVERSALS)
def test_reversal_is_refused_and_can_be_permitted(settings, where):
    with pytest.raises(
        ValueError, match=r"gain must stay finite and above 0 on \[0, 1\], " + where
    ):
        kts(**settings)
    permitted = kts(**settings, allow_reversal=True)(FIELD)
    eta = kts_gain(0.9, **{"alpha0": 0.0, "beta0": 0.0, **settings})
    t = np.float32(0.9)
    want = np.asarray(eta) * np.asarray(call(FIELD, t))
    np.testing.assert_allclose(call(permitted, t), want, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"beta0": 0.0523},
        {"alpha0": -0.99, "launch": "constant"},
        {"beta0": 0.99, "landing": "constant"},
        {"beta0": 0.99, "landing": "linear"},
        {"alpha0": -0.99},
        {"beta0": 0.0525, "k": 2.9},
    ],
)
def test_a_gain_that_stays_above_zero_passes(settings):
    kts(**settings)


def test_a_short_dip_just_before_tau_is_seen():
    # The launch falls to 0 over the last thousandth before τ, between two checked times.
    def dip(q):
        return jnp.where(q < 1e-4, -1.0, 0.0)

    with pytest.raises(ValueError, match="gain must stay finite and above 0"):
        kts(1.0, tau_split=0.5005, launch=dip)


def test_under_a_trace_only_names_and_shapes_are_checked():
    velocity = jax.jit(lambda a, b, tau: kts(a, b, tau)(FIELD)(jnp.array(1.0), X))
    # β0 = 1 reverses the flow; its value is not known while tracing.
    want = (1 - np.expm1(3.0)) * np.asarray(call(FIELD, np.float32(1.0)))
    np.testing.assert_allclose(velocity(0.1, 1.0, 0.6), want, rtol=1e-5)
    with pytest.raises(ValueError, match="landing must be one of"):
        jax.jit(lambda a: kts(a, landing="cosine")(FIELD)(jnp.array(1.0), X))(0.1)


def test_numbers_that_are_concrete_under_a_trace_are_still_checked():
    with pytest.raises(ValueError, match=r"tau_split must lie in \(0, 1\), got 2\.0"):
        jax.jit(lambda x: kts(0.1, tau_split=2.0)(FIELD)(jnp.array(1.0), x))(X)
    with pytest.raises(ValueError, match="gain must stay finite and above 0"):
        jax.jit(lambda x: kts(beta0=1.0)(FIELD)(jnp.array(1.0), x))(X)


def test_a_shape_that_closes_over_a_tracer():
    def velocity(power):
        return gain(lambda t: 1 + t**power)(FIELD)(jnp.array(0.5), X)

    want = 1.25 * np.asarray(call(FIELD, np.float32(0.5)))
    np.testing.assert_allclose(jax.jit(velocity)(2.0), want, rtol=1e-6)


def test_vmap_over_strengths():
    alphas = np.array([0.0, 0.5, 1.0], np.float32)
    got = jax.jit(jax.vmap(lambda a: kts(a)(FIELD)(jnp.array(0.0), X)))(alphas)
    want = (1 + alphas)[:, None] * np.asarray(call(FIELD, np.float32(0.0)))
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("name", ["alpha0", "beta0", "tau_split", "k"])
def test_numbers_are_single_numbers(name):
    with pytest.raises(ValueError, match=rf"{name} must be one number, got shape \(2,\)"):
        kts(**{name: jnp.array([0.1, 0.2])})


def test_reversal_names_the_arguments_and_the_bound():
    with pytest.raises(ValueError, match=r"beta0\s+below 0\.0524\), got alpha0 = 0, beta0 = 0\.06"):
        kts(0, 0.06)


@pytest.mark.usefixtures("own_messages")
def test_what_is_no_number_is_a_value_error():
    for bad in ("a", None):
        with pytest.raises(ValueError, match=f"alpha0 must be an array of numbers, got {bad!r}"):
            kts(bad)


def test_a_steepness_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"k must not be 0 \(its limit is linear\), got 0"):
        kts(0.1, k=0)
