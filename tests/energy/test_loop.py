"""The energy of a hand-written loop, against `sample` and against plain sums."""

import itertools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import GaussianField, energy_init, energy_result, energy_update, kts, sample

NAMES = ("total", "launch", "landing", "displacement", "excess", "length")
FIELD = kts(0.3, 0.02)(GaussianField(np.array([1.0, -2.0], np.float32), 0.5))
X0 = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
VELOCITY = jax.jit(jax.vmap(FIELD, in_axes=(None, 0)))
# As most loops have them; that of Heun's method below has them as they are.
UPDATE, RESULT = jax.jit(energy_update), jax.jit(energy_result)


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
        u = VELOCITY(np.float32(left), x)
        state = UPDATE(state, u, left, right - left)
        x = x + np.float32(right - left) * np.asarray(u)
    expected = sample(FIELD, X0, grid=grid)
    np.testing.assert_allclose(x, expected.x1, rtol=1e-5)
    assert_same_energy(RESULT(state, x), expected.energy)


def test_heun_by_hand_credits_stages_to_the_left_end():
    """Step 11 of 20 begins at 0.55 and ends at 0.6: both of its stages are launch."""
    steps, h = 20, np.float32(0.05)
    x, state = X0, energy_init(X0)
    for i in range(steps):
        left = i / steps
        u0 = np.asarray(VELOCITY(np.float32(left), x))
        u1 = np.asarray(VELOCITY(np.float32((i + 1) / steps), x + h * u0))
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
    u = np.stack([speeds, 0 * speeds], axis=1).astype(np.float32)
    x0, t = np.zeros((3, 2), np.float32), np.zeros(3, np.float32)
    x, state, h = x0, energy_init(x0, tau_split=0.4), dt.astype(np.float32)
    for _ in range(2):
        state, t, x = UPDATE(state, u, t, h), t + h, x + h[:, None] * u
    energy = RESULT(state, x)
    # Second steps begin at 0.1, 0.25 and 0.5: only the last of them lands.
    spent = speeds**2 * dt / 2
    np.testing.assert_allclose(energy.launch, spent * np.array([2, 2, 1]), rtol=1e-6)
    np.testing.assert_allclose(energy.landing, spent * np.array([0, 0, 1]), rtol=1e-6)
    np.testing.assert_allclose(energy.length, 2 * dt * speeds, rtol=1e-6)
    np.testing.assert_allclose(energy.displacement, energy.total, rtol=1e-6)
    np.testing.assert_allclose(energy.excess, 0, atol=1e-6)


def test_the_duration_is_the_sum_of_the_steps():
    """From 0.2 to 0.7 at speed 2: E = ½ · 4 · 0.5, and displacement 1² / (2 · 0.5)."""
    x = np.zeros((3, 2), np.float32)
    state, u = energy_init(x), np.array([[2, 0]] * 3, np.float32)
    for t in (0.2, 0.3, 0.4, 0.5, 0.6):
        state, x = UPDATE(state, u, np.float32(t), np.float32(0.1)), x + np.float32(0.1) * u
    energy = RESULT(state, x)
    np.testing.assert_allclose(energy.total, 1.0, rtol=1e-6)
    np.testing.assert_allclose(energy.displacement, 1.0, rtol=1e-6)
    np.testing.assert_allclose(energy.launch, 0.8, rtol=1e-6)


@pytest.mark.parametrize("event", [(), (4,), (2, 2), (2, 1, 2)])
def test_events_of_any_rank_are_summed(event):
    size = int(np.prod(event))
    x0 = np.zeros((3, *event), np.float32)

    @jax.jit
    def once(x0, u):
        return energy_result(energy_update(energy_init(x0), u, 0.0, 1.0), x0 + u)

    energy = once(x0, x0 + np.float32(3))
    np.testing.assert_allclose(energy.total, np.full(3, 4.5 * size))
    np.testing.assert_allclose(energy.length, np.full(3, 3 * np.sqrt(size)), rtol=1e-6)


def test_a_loop_in_bfloat16_accumulates_in_float32():
    """256 + 1 is 256 in bfloat16."""
    x0 = np.zeros((1, 2), jnp.bfloat16)
    state, u = energy_init(x0), np.ones((1, 2), jnp.bfloat16)
    for i in range(600):
        state = UPDATE(state, u, np.float32(i / 600), np.float32(1.0))
    energy = RESULT(state, x0)
    assert energy.total.dtype == jnp.float32
    np.testing.assert_allclose(energy.total, 600.0, rtol=1e-6)
    np.testing.assert_allclose(energy.launch, 360.0, rtol=1e-6)


def test_double_precision(x64):
    x0 = np.zeros((1, 2))
    state = UPDATE(energy_init(x0), np.full((1, 2), 1 / 3), 0.0, 1.0)
    energy = RESULT(state, x0)
    assert energy.total.dtype == jnp.float64
    np.testing.assert_allclose(energy.total, 1 / 9, rtol=1e-15)


def test_gradient_through_a_loop():
    """d/ds of ½ Σ (s u)² dt is 2E at s = 1, also for a sample at rest."""
    u = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)

    def total(scale):
        state = energy_update(energy_init(np.zeros((2, 2), np.float32)), scale * u, 0.0, 1.0)
        energy = energy_result(state, scale * u)
        return energy.total + energy.length

    np.testing.assert_allclose(jax.jit(jax.jacrev(total))(np.float32(1.0)), [30.0, 0.0])


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
    state = energy_init(np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match=r"u must have shape \(3, 2\), got shape \(3, 1\)"):
        energy_update(state, np.zeros((3, 1), np.float32), 0.0, 0.1)
    with pytest.raises(ValueError, match=r"x1 must have shape \(3, 2\), got shape \(2, 2\)"):
        energy_result(state, np.zeros((2, 2), np.float32))
    for tau in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"tau_split must lie in \(0, 1\), got {tau}"):
            energy_init(np.zeros((3, 2), np.float32), tau_split=tau)
