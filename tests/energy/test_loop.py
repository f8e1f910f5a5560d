"""The energy of a hand-written loop, against `sample` and against plain sums."""

import itertools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import GaussianField, energy_init, energy_result, energy_update, kts, sample

NAMES = ("total", "launch", "landing", "displacement", "excess", "length")
FIELD = kts(0.3, 0.02)(GaussianField(jnp.array([1.0, -2.0]), 0.5))
X0 = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)), jnp.float32)
VELOCITY = jax.jit(jax.vmap(FIELD, in_axes=(None, 0)))


def assert_same_energy(left, right, rtol=1e-5):
    for name in NAMES:
        atol = rtol * float(np.max(right.total)) if name == "excess" else 0.0
        np.testing.assert_allclose(
            getattr(left, name), getattr(right, name), rtol=rtol, atol=atol, err_msg=name
        )


@pytest.mark.parametrize("grid", ["uniform", "cosine"])
def test_euler_by_hand(grid):
    fraction = np.arange(101) / 100
    nodes = fraction if grid == "uniform" else (1 - np.cos(np.pi * fraction)) / 2
    x, state = X0, energy_init(X0)
    for left, right in itertools.pairwise(nodes):
        u = VELOCITY(jnp.float32(left), x)
        state = energy_update(state, u, left, right - left)
        x = x + jnp.float32(right - left) * u
    expected = sample(FIELD, X0, grid=grid)
    np.testing.assert_allclose(x, expected.x1, rtol=1e-5)
    assert_same_energy(energy_result(state, x), expected.energy)


def test_heun_by_hand_credits_stages_to_the_left_end():
    """Step 11 of 20 begins at 0.55 and ends at 0.6: both of its stages are launch."""
    steps, h = 20, jnp.float32(0.05)
    x, state = X0, energy_init(X0)
    for i in range(steps):
        left = i / steps
        u0 = VELOCITY(jnp.float32(left), x)
        u1 = VELOCITY(jnp.float32((i + 1) / steps), x + h * u0)
        state = energy_update(state, u0, left, h / 2)
        state = energy_update(state, u1, left, h / 2)
        x = x + h / 2 * (u0 + u1)
    expected = sample(FIELD, X0, solver=diffrax.Heun(), num_steps=steps)
    assert_same_energy(energy_result(state, x), expected.energy)


def test_inside_a_scan_with_summed_up_time():
    """t = t + 0.01 in float32 misses 0.6 by some rounding; step 60 is landing all the same."""

    def step(carry, _):
        x, t, state = carry
        u = jax.vmap(FIELD, in_axes=(None, 0))(t, x)
        return (x + 0.01 * u, t + 0.01, energy_update(state, u, t, 0.01)), None

    @jax.jit
    def run(x0):
        start = (x0, jnp.float32(0.0), energy_init(x0))
        (x1, _, state), _ = jax.lax.scan(step, start, None, length=100)
        return energy_result(state, x1)

    assert_same_energy(run(X0), sample(FIELD, X0).energy, rtol=1e-4)


def test_times_and_steps_of_each_sample():
    """Every path has a clock of its own, as in a loop with adaptive steps."""
    dt = np.array([0.1, 0.25, 0.5])
    speeds = np.array([1.0, 2.0, 3.0])
    x0 = jnp.zeros((3, 2))
    u = jnp.asarray(np.stack([speeds, 0 * speeds], axis=1), jnp.float32)
    state, t, x = energy_init(x0, tau_split=0.4), np.zeros(3), x0
    for _ in range(2):
        state = energy_update(state, u, jnp.asarray(t, jnp.float32), jnp.asarray(dt, jnp.float32))
        x = x + jnp.asarray(dt, jnp.float32)[:, None] * u
        t = t + dt
    energy = energy_result(state, x)
    # Second steps begin at 0.1, 0.25 and 0.5: only the last of them lands.
    spent = speeds**2 * dt / 2
    np.testing.assert_allclose(energy.launch, spent * np.array([2, 2, 1]), rtol=1e-6)
    np.testing.assert_allclose(energy.landing, spent * np.array([0, 0, 1]), rtol=1e-6)
    np.testing.assert_allclose(energy.length, 2 * dt * speeds, rtol=1e-6)
    np.testing.assert_allclose(energy.displacement, energy.total, rtol=1e-6)
    np.testing.assert_allclose(energy.excess, 0, atol=1e-6)


def test_the_duration_is_the_sum_of_the_steps():
    """From 0.2 to 0.7 at speed 2: E = ½ · 4 · 0.5, and displacement 1² / (2 · 0.5)."""
    state, x = energy_init(jnp.zeros((1, 1))), jnp.zeros((1, 1))
    for t in (0.2, 0.3, 0.4, 0.5, 0.6):
        state = energy_update(state, 2 * jnp.ones((1, 1)), t, 0.1)
        x = x + 0.2
    energy = energy_result(state, x)
    np.testing.assert_allclose(energy.total, 1.0, rtol=1e-6)
    np.testing.assert_allclose(energy.displacement, 1.0, rtol=1e-6)
    np.testing.assert_allclose(energy.launch, 0.8, rtol=1e-6)


@pytest.mark.parametrize("event", [(), (4,), (2, 2), (2, 1, 2)])
def test_events_of_any_rank_are_summed(event):
    size = int(np.prod(event))
    x0 = jnp.zeros((3, *event))
    state = energy_update(energy_init(x0), 3 * jnp.ones((3, *event)), 0.0, 1.0)
    energy = energy_result(state, x0 + 3)
    np.testing.assert_allclose(energy.total, np.full(3, 4.5 * size))
    np.testing.assert_allclose(energy.length, np.full(3, 3 * np.sqrt(size)), rtol=1e-6)


def test_a_loop_in_bfloat16_accumulates_in_float32():
    """256 + 1 is 256 in bfloat16."""
    x0 = jnp.zeros((1, 2), jnp.bfloat16)
    state = energy_init(x0)
    for i in range(600):
        state = energy_update(state, jnp.ones((1, 2), jnp.bfloat16), i / 600, 1.0)
    energy = energy_result(state, x0)
    assert energy.total.dtype == jnp.float32
    np.testing.assert_allclose(energy.total, 600.0, rtol=1e-6)
    np.testing.assert_allclose(energy.launch, 360.0, rtol=1e-6)


def test_double_precision(x64):
    x0 = jnp.zeros((1, 2), jnp.float64)
    state = energy_update(energy_init(x0), jnp.full((1, 2), 1 / 3), 0.0, 1.0)
    energy = energy_result(state, x0)
    assert energy.total.dtype == jnp.float64
    np.testing.assert_allclose(energy.total, 1 / 9, rtol=1e-15)


def test_gradient_through_a_loop():
    """d/ds of ½ Σ (s u)² dt is 2E at s = 1, also for a sample at rest."""
    u = jnp.array([[3.0, 4.0], [0.0, 0.0]])

    def total(scale):
        state = energy_update(energy_init(jnp.zeros((2, 2))), scale * u, 0.0, 1.0)
        energy = energy_result(state, scale * u)
        return energy.total + energy.length

    np.testing.assert_allclose(jax.jacrev(total)(1.0), [30.0, 0.0])


KINDS = ("x", object(), np.ones((3, 2), np.complex64), None, 1j, [[1.0, 2.0]], float("nan"))
STATE = energy_init(X0)
CALLS = {
    "x0": energy_init,
    "state": lambda value: energy_update(value, X0, 0.0, 0.1),
    "u": lambda value: energy_update(STATE, value, 0.0, 0.1),
    "t": lambda value: energy_update(STATE, X0, value, 0.1),
    "dt": lambda value: energy_update(STATE, X0, 0.0, value),
    "x1": lambda value: energy_result(STATE, value),
}


@pytest.mark.parametrize("name", CALLS)
def test_arguments_of_another_kind_are_named(own_messages, name):
    for value in KINDS:
        with pytest.raises(ValueError, match=rf"^{name} must "):
            CALLS[name](value)
    with pytest.raises(ValueError, match=r"^state must be what energy_init or energy_update"):
        energy_result(None, X0)


def test_errors_name_the_argument_and_the_shape():
    state = energy_init(jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"u must have shape \(3, 2\), got shape \(3, 1\)"):
        energy_update(state, jnp.zeros((3, 1)), 0.0, 0.1)
    with pytest.raises(ValueError, match=r"x1 must have shape \(3, 2\), got shape \(2, 2\)"):
        energy_result(state, jnp.zeros((2, 2)))
    for tau in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"tau_split must lie in \(0, 1\), got {tau}"):
            energy_init(jnp.zeros((3, 2)), tau_split=tau)
