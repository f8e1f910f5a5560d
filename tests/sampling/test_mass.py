"""The mass of dimensions: energies of a part of a state, and where weights may not be."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import energy_init, energy_result, energy_update, sample

CONTROLLER = diffrax.PIDController(rtol=1e-4, atol=1e-4)
SOLVES = {"Heun": {"solver": diffrax.Heun(), "num_steps": 8}, "Tsit5": {"controller": CONTROLLER}}
X0 = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)


def field(t, x, cond=None):
    """No dimension knows of another, so that a part of the state moves as it does alone."""
    return jnp.cos(3 * t) * x + t


@pytest.mark.long
@pytest.mark.parametrize("solve", SOLVES)
def test_a_mask_leaves_the_energy_of_the_rest(solve):
    mask = np.array([1.0, 1.0, 0.0], np.float32)[:, None]
    masked = sample(field, X0, mass=mask, **SOLVES[solve])
    unmasked = sample(field, X0, **SOLVES[solve])
    np.testing.assert_array_equal(masked.x1, unmasked.x1)  # the path knows nothing of it
    alone = sample(field, X0[:, :2], num_steps=8, solver=diffrax.Heun())
    if solve == "Tsit5":  # whose steps look at all of x
        alone = sample(field, X0[:, :2], **SOLVES[solve])
    rtol = 1e-6 if solve == "Heun" else 5e-3
    for name, energy in vars(alone.energy).items():
        np.testing.assert_allclose(getattr(masked.energy, name), energy, rtol, 1e-5, err_msg=name)
    if solve == "Heun":
        np.testing.assert_allclose(masked.profile.speed2, alone.profile.speed2, rtol=1e-6)
        np.testing.assert_allclose(masked.profile.bend2, alone.profile.bend2, rtol=1e-5, atol=1e-7)


def test_weights_are_factors_of_squares():
    """In NumPy: E = ½ Σ_i h Σ_d m_d u_id², for weights by dimension and by sample."""
    by_sample = np.random.default_rng(1).uniform(size=X0.shape).astype(np.float32)
    for mass in (np.float32(2.0), np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2), by_sample):
        run = sample(field, X0, num_steps=8, mass=mass)
        x, total, state = X0.astype(np.float64), np.zeros(4), energy_init(X0, mass=mass)
        for i in range(8):
            u = np.cos(3 * i / 8) * x + i / 8
            total += np.sum(mass * u**2, axis=(1, 2)) / 16
            state = energy_update(state, u.astype(np.float32), i / 8, 1 / 8)
            x = x + u / 8
        displacement = np.sum(mass * (x - X0) ** 2, axis=(1, 2)) / 2
        np.testing.assert_allclose(run.energy.total, total, rtol=2e-6)
        np.testing.assert_allclose(run.energy.displacement, displacement, rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(run.energy.excess, total - displacement, rtol=1e-4, atol=1e-6)
        own = energy_result(state, x.astype(np.float32))
        np.testing.assert_allclose(own.total, total, rtol=2e-6)
        np.testing.assert_allclose(own.excess, total - displacement, rtol=1e-4, atol=1e-6)


def test_rows_of_weights_over_a_mesh():
    mass = np.random.default_rng(1).uniform(size=X0.shape).astype(np.float32)
    mesh = jax.make_mesh((4,), ("batch",))
    split, alone = (sample(field, X0, num_steps=4, mass=mass, mesh=m) for m in (mesh, None))
    np.testing.assert_allclose(split.energy.total, alone.energy.total, rtol=1e-6)


def test_weights_that_cannot_be(own_messages):
    for mass, message in (
        (-1.0, r"mass must not be negative, got -1.0"),
        (float("nan"), "mass must be finite, got nan"),
        ("heavy", "mass must be an array of numbers"),
        (np.ones(3, np.float32), r"mass must broadcast to the shape of x, \(4, 3, 2\), got shape"),
        (np.ones((2, 3, 2), np.float32), "mass must broadcast to the shape of x"),
        ({"a": 1.0}, "mass must have the structure of x"),
        ((), "mass must be an array, or a pytree like x"),
    ):
        with pytest.raises(ValueError, match=message):
            sample(field, X0, mass=mass)
