"""The controls of KTS, and frames, against their closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.claims import _controls, _frames
from benchmarks.claims._runs import common_noise, sampled
from kinetic_jax import EmpiricalField, kts, sample


def test_constant_gain_has_the_same_integral():
    steps, setting = 50, (0.1, 0.02, 0.6)

    def still(t, x, cond=None):
        return jnp.ones_like(x)

    ends = [sample(transform(still), jnp.zeros((1, 1)), num_steps=steps).x1
            for transform in (_controls.constant_like(*setting, steps), kts(*setting))]  # fmt: skip
    np.testing.assert_allclose(*ends, rtol=1e-6)


def test_noise_on_samples():
    images = np.zeros((50, 8, 8, 1), np.float32)
    noisy = _controls.with_noise(images, 0.3)
    assert noisy.dtype == np.float32
    assert noisy.std() == pytest.approx(0.3, rel=0.05)
    np.testing.assert_array_equal(noisy, _controls.with_noise(images, 0.3))


def test_noise_is_completed_away():
    """On one image: exactly, whatever was left before."""
    image = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8, 1)
    field, x0 = EmpiricalField(image[None]), common_noise(6, (8, 8, 1), 0)
    run = sampled(kts(0.0, 0.05)(field), x0, num_steps=20)
    noisy = _controls.with_noise(run.images, 0.2)
    ends = _controls.without_noise(field, noisy, run.residual, 0.2)
    np.testing.assert_allclose(ends, np.broadcast_to(image, ends.shape), atol=1e-4)
    np.testing.assert_allclose(run.completed, ends, atol=1e-4)
    assert run.residual.min() > 0.01


def test_one_of_two_candidates():
    def field(t, x, cond=None):  # fails far from 0
        return jnp.where(jnp.abs(x).max() > 4.2, jnp.nan, 1) * jnp.sin(4 * t) * x

    runs = [sampled(field, common_noise(40, (8, 8, 1), seed), num_steps=10) for seed in (0, 1)]
    bent = []
    for run in runs:
        values = np.full(40, np.inf)
        values[run.is_valid] = run.quantities["early bending"]
        bent.append(values)
    assert sum(run.bad for run in runs) > 0
    assert all(run.bad < 40 for run in runs)
    picked = _controls.one_of_two(*runs, "early bending")
    best = np.minimum(*bent)
    np.testing.assert_array_equal(picked.is_valid, np.isfinite(best))
    np.testing.assert_array_equal(picked.quantities["early bending"], best[picked.is_valid])
    assert picked.evaluations == 20
    place = np.flatnonzero(picked.is_valid & (bent[1] < bent[0]))[0]
    row = np.sum(picked.is_valid[:place])
    np.testing.assert_array_equal(
        picked.images[row], runs[1].images[np.sum(runs[1].is_valid[:place])]
    )


def test_frames_of_energies():
    """König's theorem by NumPy, in one frame and in one of each sample's own."""
    x0, drift = common_noise(5, (4, 4, 1), 0), np.full((4, 4, 1), 0.5, np.float32)
    own = common_noise(5, (4, 4, 1), 1)
    frames = {"mean frame": drift, "class frames": own, "whitened": lambda x: 0 * x}
    run = sampled(lambda t, x, cond=None: jnp.ones_like(x), x0, num_steps=4, frames=frames)
    np.testing.assert_allclose(run.quantities["total"], 8, rtol=1e-5)
    np.testing.assert_allclose(run.quantities["mean frame"], 2, rtol=1e-5)
    wanted = np.sum((1 - own.astype(float)) ** 2, axis=(1, 2, 3)) / 2
    np.testing.assert_allclose(run.quantities["class frames"], wanted, rtol=1e-5)
    np.testing.assert_allclose(run.quantities["whitened"], 8, rtol=1e-5)


def test_whitened_energies():
    """A constant velocity, weighed along the principal axes by hand."""
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(300, 2, 2, 1)) * [[[3.0], [0.5]], [[1.0], [0.1]]]).astype(np.float32)
    rows += 2
    axes = _frames.principal_axes(rows)
    np.testing.assert_allclose(axes.axes.T @ axes.axes, np.eye(4), atol=1e-5)
    assert np.all(np.diff(axes.scales) <= 0)
    x0 = common_noise(3, (2, 2, 1), 0)
    for left_out in (0, 2):
        energies = _frames.whitened_energies(
            lambda t, x, cond=None: jnp.ones_like(x), x0, None, axes, steps=3, left_out=left_out
        )
        flat = rows.reshape(300, 4).astype(float)
        seen = (np.ones(4) - flat.mean(axis=0)) @ axes.axes
        mass = 1 / (axes.scales.astype(float) ** 2 + 1)
        mass[:left_out] = 0
        np.testing.assert_allclose(energies, np.sum(mass * seen**2) / 2, rtol=1e-4)


def test_means_of_classes():
    images = np.arange(6, dtype=np.float32).reshape(6, 1, 1, 1)
    means = _frames.class_means(images, np.array([0, 1, 0, 1, 2, 2]))
    np.testing.assert_array_equal(means[:, 0, 0, 0], [1, 2, 4.5])
