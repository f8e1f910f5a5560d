"""Inequalities, symmetries and scalings of the energy, which hold for every field."""

import diffrax
import equinox as eqx
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetic_jax import sample

DIM = 3
NON_NEGATIVE = {
    "euler": diffrax.Euler(),
    "midpoint": diffrax.Midpoint(),
    "heun": diffrax.Heun(),
    "bosh3": diffrax.Bosh3(),
}
seeds = st.integers(0, 2**32 - 1)
scales = st.floats(0.1, 4.0)
few = settings(max_examples=25, deadline=None, derandomize=True)


class Conjugated(eqx.Module):
    """The same flow seen in the coordinates y = stretch · R x, from time `begin`, `speed`-fold."""

    field: eqx.Module
    rotation: np.ndarray
    stretch: np.float32
    begin: np.float32
    speed: np.float32

    def __call__(self, t, y, cond=None):
        x = self.rotation.T @ y / self.stretch
        velocity = self.field((t - self.begin) * self.speed, x)
        return self.speed * self.stretch * (self.rotation @ velocity)


def drawn(reference, seed, scale=1.0):
    """A random field, of any strength, and a start."""
    rng = np.random.default_rng(seed)
    field = jax.tree.map(np.asarray, reference.wave(seed, DIM))
    field = eqx.tree_at(lambda f: f.weight, field, field.weight * np.float32(scale))
    return rng, field, rng.normal(size=(4, DIM)).astype(np.float32)


@pytest.mark.parametrize("name", NON_NEGATIVE)
@given(seed=seeds, scale=scales, steps=st.sampled_from([1, 10]))
@few
def test_excess_is_not_negative_and_length_is_bounded(reference, name, seed, scale, steps):
    _, field, x0 = drawn(reference, seed, scale)
    for t0, t1 in ((0.0, 1.0), (0.25, 0.75)):
        run = sample(field, x0, solver=NON_NEGATIVE[name], num_steps=steps, t0=t0, t1=t1)
        run, rounding = jax.tree.map(np.asarray, run), 1e-5
        energy = run.energy
        assert np.all(energy.excess >= 0)
        assert np.all(energy.length <= np.sqrt(2 * (t1 - t0) * energy.total) * (1 + rounding))
        # And the straight line is the shortest.
        chord = np.linalg.norm(run.x1 - x0, axis=1)
        assert np.all(energy.length >= chord * (1 - rounding))


def conjugated(field, rotation=None, stretch=1.0, begin=0.0, speed=1.0):
    rotation = np.eye(DIM) if rotation is None else rotation
    numbers = (np.float32(number) for number in (stretch, begin, speed))
    return Conjugated(field, np.asarray(rotation, np.float32), *numbers)


@given(seed=seeds)
@few
def test_energy_does_not_depend_on_the_basis(reference, seed):
    rng, field, x0 = drawn(reference, seed)
    rotation = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0].astype(np.float32)
    plain = sample(field, x0, num_steps=20)
    turned = sample(conjugated(field, rotation), x0 @ rotation.T, num_steps=20)
    for key in ("total", "launch", "landing", "displacement", "length"):
        np.testing.assert_allclose(
            getattr(turned.energy, key), getattr(plain.energy, key), rtol=2e-4, atol=1e-5
        )
    np.testing.assert_allclose(turned.profile.speed2, plain.profile.speed2, rtol=2e-3, atol=1e-4)


@given(seed=seeds, stretch=st.floats(0.1, 10.0))
@few
def test_energy_is_quadratic_in_space(reference, seed, stretch):
    _, field, x0 = drawn(reference, seed)
    plain = sample(field, x0, num_steps=20).energy
    scaled = sample(conjugated(field, stretch=stretch), np.float32(stretch) * x0, num_steps=20)
    for key in ("total", "launch", "landing", "displacement"):
        np.testing.assert_allclose(
            getattr(scaled.energy, key),
            stretch**2 * np.asarray(getattr(plain, key)),
            rtol=2e-4,
            atol=1e-5,
        )
    np.testing.assert_allclose(scaled.energy.length, stretch * np.asarray(plain.length), rtol=2e-4)


@given(seed=seeds, begin=st.floats(0.0, 0.6), share=st.floats(0.2, 1.0))
@few
def test_energy_goes_with_one_over_the_time_taken(reference, seed, begin, share):
    """The same path in [t0, t1] instead of [0, 1]: E and displacement over T, L unchanged."""
    _, field, x0 = drawn(reference, seed)
    t1 = begin + share * (1 - begin)
    duration = t1 - begin
    plain = sample(field, x0, num_steps=20)
    squeezed = sample(
        conjugated(field, begin=begin, speed=1 / duration), x0, num_steps=20, t0=begin, t1=t1
    )
    for key in ("total", "displacement", "excess"):
        np.testing.assert_allclose(
            np.asarray(getattr(squeezed.energy, key)) * duration,
            getattr(plain.energy, key),
            rtol=1e-3,
            atol=1e-4 * float(np.max(plain.energy.total)),
        )
    np.testing.assert_allclose(squeezed.energy.length, plain.energy.length, rtol=1e-3)
