"""η(t) against an independent NumPy float64 implementation of the definition."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kinetic_jax import kts_gain

LAUNCH = ["linear", "constant", "exponential"]
LANDING = ["exponential", "linear", "constant"]
PAIRS = list(itertools.product(LAUNCH, LANDING))
pairs = pytest.mark.parametrize(("launch", "landing"), PAIRS)


def eta(t, alpha0, beta0, tau, launch, landing, k):
    """η at one time, straight from the table of the definition, with Python floats."""
    if t < tau:
        q = 1 - t / tau
        shape = {
            "linear": q,
            "constant": 1.0,
            "exponential": (math.exp(k * q) - 1) / (math.exp(k) - 1),
        }[launch]
        return 1 + alpha0 * shape
    s = (t - tau) / (1 - tau)
    shape = {"exponential": math.exp(k * s) - 1, "linear": s, "constant": 1.0}[landing]
    return 1 - beta0 * shape


numbers = {
    "alpha0": st.floats(-2, 2, width=32),
    "beta0": st.floats(-1, 1, width=32),
    "tau": st.floats(0.125, 0.875, width=32),
    "k": st.floats(0.25, 6, width=32),
}


@jax.jit
def of_all_pairs(t, alpha0, beta0, tau, k):
    gains = [kts_gain(t, alpha0, beta0, tau, launch=a, landing=b, k=k) for a, b in PAIRS]
    return jnp.stack(gains)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=50, deadline=None)
@given(
    times=st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6),
    **numbers,
)
@example(times=[0.0, 1.0, 0.5, 0.25, 0.75, 0.625], alpha0=0.1, beta0=0.05, tau=0.5, k=3.0)
def test_definition(dtype, times, alpha0, beta0, tau, k):
    # Times within rounding of τ have their own tests; τ itself belongs in every draw.
    times = [tau if abs(t - tau) < 1e-4 else t for t in times] + [tau]
    with jax.enable_x64(dtype is np.float64):
        inputs = (np.asarray(value, dtype) for value in (times, alpha0, beta0, tau, k))
        got = of_all_pairs(*inputs)
    assert got.dtype == dtype
    # The exponential landing multiplies the rounding of s (t − τ, divided by 1 − τ ≥ 1/8) by k e^k.
    size = 1 + abs(alpha0) * (1 + k) + abs(beta0) * (1 + k) * math.exp(k)
    tolerance = 16 * np.finfo(dtype).eps * size
    for gain, (launch, landing) in zip(np.asarray(got, np.float64), PAIRS, strict=True):
        want = [eta(t, alpha0, beta0, tau, launch, landing, k) for t in times]
        np.testing.assert_allclose(gain, want, atol=tolerance, rtol=0, err_msg=f"{launch, landing}")


@pairs
def test_values_at_the_ends_and_at_tau(launch, landing):
    got = kts_gain(np.array([0.0, 0.6, 1.0]), 0.5, 0.01, launch=launch, landing=landing)
    end = {"exponential": math.expm1(3), "linear": 1.0, "constant": 1.0}[landing]
    at_tau = {"exponential": 0.0, "linear": 0.0, "constant": 1.0}[landing]
    np.testing.assert_allclose(got, [1.5, 1 - 0.01 * at_tau, 1 - 0.01 * end], rtol=1e-6)


def test_defaults_are_linear_exponential_three_and_six_tenths():
    t = np.linspace(0, 1, 21)
    want = [eta(time, 0.3, 0.02, 0.6, "linear", "exponential", 3.0) for time in np.arange(21) / 20]
    np.testing.assert_allclose(kts_gain(t, 0.3, 0.02), want, rtol=2e-6)


def test_step_60_of_100_in_float32_is_landing():
    # In float32 the step can lie below 0.6: the constant shapes tell the two phases apart.
    times = np.linspace(0, 1, 101, dtype=np.float32)[[59, 60, 61]]
    nudged = np.nextafter(times, np.float32(0))
    for t in (times, nudged):
        got = kts_gain(t, 0.5, 0.25, launch="constant", landing="constant")
        np.testing.assert_array_equal(got, [1.5, 0.75, 0.75])


def test_below_tau_within_rounding_the_shapes_stay_in_their_domain():
    t = np.nextafter(np.float32(0.6), np.float32(0))

    def seen(s):
        return jnp.where(s >= 0, 0.0, jnp.nan)

    assert float(kts_gain(t, 1.0, 1.0, landing=seen)) == 1.0


def test_broadcasts_over_t():
    shapes = [(), (1,), (4,), (2, 3), (2, 1, 2)]
    rng = np.random.default_rng(0)
    times = [np.asarray(rng.uniform(size=shape), np.float32) for shape in shapes]
    of_time = np.vectorize(lambda t: eta(t, 0.4, 0.03, 0.6, "linear", "exponential", 3.0))
    gains = jax.jit(lambda times: [kts_gain(t, 0.4, 0.03) for t in times])(times)
    for t, got in zip(times, gains, strict=True):
        assert got.shape == t.shape
        np.testing.assert_allclose(got, of_time(t), rtol=1e-5)


@pytest.mark.parametrize("t", [0, 0.0, np.float64(0.0), np.array(0), jnp.array(0.0)])
def test_any_kind_of_number_is_a_time(t):
    assert float(kts_gain(t, 0.25, 0.0)) == 1.25


def test_derivatives(x64):
    """Derivatives for every pair of shapes at once, in the numbers and in time."""
    times = np.array([0.05, 0.3, 0.55, 0.65, 0.8, 0.95])
    point = [*(np.float64(number) for number in (0.4, 0.03, 0.6, 2.5)), times]

    def value(alpha0, beta0, tau, k, t):
        return of_all_pairs(t, alpha0, beta0, tau, k)

    jacobian = jax.jit(jax.jacrev(value, range(5)))(*point)
    for place in range(5):
        up, down = (
            np.asarray(value(*[p + step if i == place else p for i, p in enumerate(point)]))
            for step in (1e-6, -1e-6)
        )
        exact = np.asarray(jacobian[place])
        exact = exact if place < 4 else np.diagonal(exact, axis1=1, axis2=2)
        np.testing.assert_allclose(exact, (up - down) / 2e-6, atol=1e-7, rtol=1e-6)


USER_SHAPES = {"sqrt": jnp.sqrt, "square": jnp.square, "number": lambda s: 0.5, "log1p": jnp.log1p}


@pytest.mark.parametrize("shape", USER_SHAPES)
def test_a_callable_takes_the_phases_own_time(shape):
    plain = {"sqrt": np.sqrt, "square": np.square, "number": lambda s: 0.5, "log1p": np.log1p}
    t = np.linspace(0, 1, 21)
    fn = USER_SHAPES[shape]
    got = jax.jit(lambda t: kts_gain(t, 0.3, 0.2, 0.5, launch=fn, landing=fn))(np.float32(t))
    want = [
        1 + 0.3 * plain[shape](1 - x / 0.5) if x < 0.5 else 1 - 0.2 * plain[shape]((x - 0.5) / 0.5)
        for x in t
    ]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_gradients_of_a_root_are_right_where_it_has_one_and_finite_where_not():
    # sqrt has no derivative at 0, which is what s is in the whole launch and at τ.
    t = np.array([0.0, 0.25, 0.5, 0.75, 1.0], np.float32)

    def total(alpha0, beta0, tau, t):
        return jnp.sum(kts_gain(t, alpha0, beta0, tau, launch=jnp.sqrt, landing=jnp.sqrt))

    gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3)))(0.3, 0.2, 0.5, t)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    d_alpha, d_beta, _, d_t = gradients
    np.testing.assert_allclose(d_alpha, 1 + np.sqrt(0.5), rtol=1e-6)
    np.testing.assert_allclose(d_beta, -(np.sqrt(0.5) + 1), rtol=1e-6)
    # dη/dt = −α0/(2τ sqrt(q)) in the launch, −β0/(2(1 − τ) sqrt(s)) in the landing.
    want = [-0.3, -0.3 / np.sqrt(0.5), 0.0, -0.2 / np.sqrt(0.5), -0.2]
    np.testing.assert_allclose(np.delete(d_t, 2), np.delete(want, 2), rtol=1e-5)


def test_numbers_are_traced_not_compiled_in():
    traces = []

    @jax.jit
    def value(t, alpha0, beta0, tau, k):
        traces.append(1)
        return kts_gain(t, alpha0, beta0, tau, k=k)

    t = np.linspace(0, 1, 11, dtype=np.float32)
    for numbers in ((0.1, 0.02, 0.6, 3.0), (0.5, 0.01, 0.25, 2.0)):
        want = [eta(x, *numbers[:3], "linear", "exponential", numbers[3]) for x in t]
        np.testing.assert_allclose(value(t, *numbers), want, rtol=1e-5)
    assert len(traces) == 1
