"""Bits per dimension: a change of units, in closed form."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import kinetic_jax as kj
from kinetic_jax.metrics import bits_per_dimension
from kinetic_jax.networks import Scaling


def test_pixels_of_a_gaussian():
    """Raw values of N(130, 30²): their own density in bits, whatever scale the field has."""
    raw = np.random.default_rng(0).normal(130, 30, size=(5, 2, 3))
    expected = -stats.norm(130, 30).logpdf(raw).mean(axis=(1, 2)) / np.log(2)
    for scaling in (Scaling(127.5, 127.5), Scaling(0.0, 255.0), Scaling(128.0, -64.0)):
        x = scaling.apply(raw).astype(np.float32)
        mean = np.full((2, 3), scaling.apply(130.0), np.float32)
        field = kj.GaussianField(mean, 30 / abs(scaling.scale))
        solver = {"solver": diffrax.Dopri5(), "num_steps": 40}
        run = kj.sampling.encode(field, x, log_density="exact", **solver)
        np.testing.assert_allclose(
            bits_per_dimension(run.log_density, scaling, 6), expected, atol=1e-3
        )


def test_a_field_declares_its_scaling_and_its_size():
    pixels = Scaling(127.5, 127.5)
    field = kj.networks.network_field(
        "mlp", (4, 4), key=jax.random.key(0), width=4, depth=1, scaling=pixels
    )
    densities = np.array([[-3.0, 1.0]])
    expected = -densities / (16 * np.log(2)) + np.log2(127.5)
    np.testing.assert_allclose(bits_per_dimension(densities, field), expected, rtol=1e-12)
    np.testing.assert_allclose(bits_per_dimension(jnp.asarray(densities), pixels, 16), expected)


def test_arguments(own_messages):
    for arguments, message in (
        ((np.array([1.0, np.nan]), Scaling(), 2), "log_density must be finite, got nan"),
        ((1.0, Scaling()), "num_dimensions must be given where no field declares"),
        ((1.0, Scaling(), 0), "num_dimensions must"),
        ((1.0, 127.5, 2), "scaling must be a kinetic_jax.networks.Scaling, or a field.*got 127.5"),
        ((1.0, kj.GaussianField(np.zeros(2), 1.0)), "scaling must be .*GaussianField, which has"),
    ):
        with pytest.raises(ValueError, match=message):
            bits_per_dimension(*arguments)
