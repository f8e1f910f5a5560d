"""Batches: samples are independent, conditions are pytrees, events have any shape."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import GaussianField, from_vector_field, sample
from kinetic_jax.sampling import sweep


class Conditioned(eqx.Module):
    """v = shift + force · class direction + scale · x, from a nested condition."""

    directions: np.ndarray

    def __call__(self, t, x, cond):
        push = cond["push"]
        force = jnp.asarray(self.directions)[cond["label"]] * push["force"]
        return cond["shift"] + force + push["scale"] * x


def conditions(size):
    """One leaf has a single row, which is that of all samples."""
    rng = np.random.default_rng(0)
    return {
        "label": rng.integers(0, 3, size),
        "push": {
            "force": rng.normal(size=(size, 1, 2)).astype(np.float32),
            "scale": rng.normal(size=size).astype(np.float32),
        },
        "shift": np.array([0.5], np.float32),
    }


def test_a_sample_is_the_same_alone(reference, normal):
    field, x0 = reference.wave(0), normal(1, 5, 3)
    options = {"solver": diffrax.Tsit5(), "num_steps": 10, "save_at": True}
    batch = sample(field, x0, **options)
    for rows in (np.array([2]), np.array([3, 0, 3, 1, 2])):
        some = sample(field, x0[rows], **options)
        pairs = zip(jax.tree.leaves(some), jax.tree.leaves(batch), strict=True)
        for left, right in pairs:
            whole = np.asarray(right)
            whole = whole[rows] if whole.shape[0] == 5 else whole
            np.testing.assert_allclose(left, whole, rtol=1e-5, atol=1e-5)


def test_one_bad_start_spoils_no_other(reference, normal):
    field, x0 = reference.wave(0), normal(1, 5, 3)
    clean = sample(field, x0, num_steps=10)
    spoiled = x0.copy()
    spoiled[2] = np.nan
    result = sample(field, spoiled, num_steps=10)
    others = np.array([0, 1, 3, 4])
    np.testing.assert_array_equal(result.status, [0, 0, 1, 0, 0])
    for found, expected in ((result.x1, clean.x1), (result.energy.total, clean.energy.total)):
        np.testing.assert_array_equal(np.asarray(found)[others], np.asarray(expected)[others])


@pytest.mark.parametrize(
    "options",
    [{"num_steps": 40}, {"controller": diffrax.PIDController(rtol=1e-5, atol=1e-6)}],
    ids=["fixed", "adaptive"],
)
def test_every_sample_follows_its_own_condition(options):
    """x' = f + s x: (x0 + f/s) e^s − f/s, with f and s of that very row; in a `sweep` as well."""
    directions = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]], np.float32)[:, None]
    cond = conditions(6)
    x0 = np.random.default_rng(1).normal(size=(6, 1, 2)).astype(np.float32)
    result = sample(Conditioned(directions), x0, cond, **options)
    force = 0.5 + directions[cond["label"]] * cond["push"]["force"]
    s = cond["push"]["scale"].astype(np.float64)[:, None, None]
    growth = (1 + s / 40) ** 40 if "num_steps" in options else np.exp(s)
    np.testing.assert_allclose(result.x1, (x0 + force / s) * growth - force / s, atol=2e-4)
    assert result.energy.total.shape == (6,)
    if "num_steps" in options:
        swept = np.asarray(sweep(Conditioned(directions), x0, cond, **options).x1)
        np.testing.assert_allclose(swept[0, 0, 0], result.x1, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("event", [(), (2, 2, 3)])
def test_events_of_any_rank(normal, event):
    """The energy is that of the flattened sample; the shape is kept."""
    x0, mean = normal(0, 4, *event), normal(1, *event)
    options = {"num_steps": 20, "save_at": True}
    result = sample(GaussianField(mean, 0.5), x0, **options)
    flat = sample(GaussianField(mean.reshape(-1), 0.5), x0.reshape(4, -1), **options)
    assert result.x1.shape == (4, *event)
    assert result.path.shape == (4, 21, *event)
    x1 = np.asarray(result.x1).reshape(4, -1)
    np.testing.assert_allclose(x1, flat.x1, rtol=1e-6, atol=1e-6)
    for name in ("total", "launch", "landing", "displacement", "length"):
        energy = getattr(result.energy, name)
        assert energy.shape == (4,)
        np.testing.assert_allclose(energy, getattr(flat.energy, name), rtol=1e-5)
    np.testing.assert_allclose(result.profile.bend2, flat.profile.bend2, rtol=1e-3, atol=1e-6)


def test_an_empty_condition_is_none(reference, normal):
    seen = []

    def field(t, x, cond="missing"):
        seen.append(cond)
        return x

    sample(field, normal(0, 2, 3), num_steps=1)
    assert set(map(repr, seen)) == {"None"}


def test_the_same_numbers_under_an_outer_jit(reference, normal):
    field, x0 = reference.wave(0), normal(1, 5, 3)
    outer = jax.jit(lambda field, x0: sample(field, x0, num_steps=10))(field, x0)
    inner = sample(field, x0, num_steps=10)
    for left, right in zip(jax.tree.leaves(outer), jax.tree.leaves(inner), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def test_a_traced_grid(reference, normal):
    """A learned grid: its values are not checked, its gradient exists."""
    field, x0 = reference.wave(0), normal(1, 2, 3)

    @jax.jit
    @jax.value_and_grad
    def energy(middle):
        nodes = jnp.stack([jnp.float32(0.0), middle, jnp.float32(1.0)])
        return jnp.sum(sample(field, x0, grid=nodes).energy.total)

    found, slope = energy(np.float32(0.4))
    nodes = np.array([0.0, 0.4, 1.0])
    expected = reference.solve(reference.wave_numpy(field), x0, nodes).total.sum()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    step = 1e-4
    ends = [
        reference.solve(
            reference.wave_numpy(field), x0, np.array([0.0, 0.4 + sign * step, 1.0])
        ).total.sum()
        for sign in (-1, 1)
    ]
    np.testing.assert_allclose(slope, np.diff(ends)[0] / (2 * step), rtol=1e-3)


def test_a_diffrax_vector_field(normal):
    x0 = normal(0, 3, 2)
    field = from_vector_field(lambda t, y, args: -args * y, np.float32(2.0))
    result = sample(field, x0, num_steps=10)
    np.testing.assert_allclose(result.x1, x0 * 0.8**10, rtol=1e-5)
