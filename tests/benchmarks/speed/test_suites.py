"""Suites on small sizes: their counts are known, and their contenders do the same work."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.speed import _loops, closures, copies, density, scaling, sweep
from benchmarks.speed._loops import require_same
from benchmarks.speed._record import Recorder
from kinetic_jax import GaussianField, noise, sample

pytestmark = pytest.mark.long


@pytest.fixture
def recorder():
    return Recorder(1, quick=True)


def test_loops_by_hand_are_sample():
    """The peers' loops, on NumPy arrays, compute the same samples and energies."""
    mean, scale, num_steps = np.array([2.0, 0.0, 1.0]), 0.5, 20

    def velocity(t, x):
        slope = (t * scale**2 - (1 - t)) / (t**2 * scale**2 + (1 - t) ** 2)
        return mean + slope * (x - t * mean)

    x0 = noise(jax.random.key(0), jnp.arange(4), (3,))
    expected = sample(GaussianField(jnp.asarray(mean, jnp.float32), scale), x0, num_steps=num_steps)
    for loop in (_loops.trajectory_by_trajectory, _loops.batch_at_once):
        samples, energies = loop(velocity, np.asarray(x0, np.float64), num_steps)
        np.testing.assert_allclose(samples, expected.x1, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(energies, expected.energy.total, rtol=1e-4)


def test_contenders_that_differ_are_refused():
    require_same(np.ones(3), {"peer": np.ones(3) + 1e-5})
    with pytest.raises(AssertionError, match="peer must agree with the others"):
        require_same(np.ones(3), {"peer": np.ones(3) + 1e-2})


def test_sweep_shares_launches():
    # 61 steps begin at τ = 0.6 or before it, and are walked once for each α0.
    alphas, betas = np.linspace(0, 0.1, 3), np.linspace(0, 0.02, 4)
    assert sweep.evaluations(sweep.one_by_one, alphas, betas) == 3 * 4 * 100
    assert sweep.evaluations(sweep.together, alphas, betas) == 3 * (61 + 4 * 39)
    assert 8 * (61 + 8 * 39) < 8 * 8 * 100 / 2  # of the suite's 8 × 8 at most half


def test_sweep_suite(recorder):
    sweep.run(recorder)
    assert [record["unit"] for record in recorder.records] == ["s", "evaluations"]


def test_copies_suite(recorder):
    copies.run(recorder)
    assert recorder.records[0]["claims"][0]["of"] == copies.WITH_PROFILE


def test_density_suite(recorder):
    """The suite itself asserts that a log density leaves the samples alone."""
    density.run(recorder)
    assert [record["claims"][0]["of"] for record in recorder.records] == [density.ONE_PROBE] * 3


def test_closures_suite(recorder):
    """The suite itself asserts that all its ways agree."""
    closures.run(recorder)
    (record,) = recorder.records
    assert [claim["of"] for claim in record["claims"]] == list(record["rows"])[1:]


def test_scaling_suite(recorder, monkeypatch):
    monkeypatch.setattr(scaling, "DEVICES", (1, 2))
    scaling.run(recorder)
    work, exchange = recorder.records
    assert 0.5 < work["rows"]["2 devices"]["ratio"] < 0.55
    (claim,) = exchange["claims"]
    assert (claim["figure"], claim["holds"]) == (0, True)
    json.dumps(recorder.records)


@pytest.mark.slow
def test_peers_suite(recorder):
    """Needs the extra `bench`. The suite itself asserts that all contenders agree."""
    from benchmarks.speed import peers

    peers.run(recorder)
    assert len(recorder.records) == 3


@pytest.mark.slow
def test_port_to_pytorch_is_the_network():
    """Needs the extra `bench`."""
    import torch

    from benchmarks.speed import _torch_peers
    from kinetic_jax.networks import network_field

    field = network_field("mlp", (6,), key=jax.random.key(0), width=16, depth=2)
    field = _loops.awake(field, jax.random.key(1))
    x = noise(jax.random.key(2), jnp.arange(5), (6,))
    for t in (0.0, 0.3, 1.0):
        expected = jax.vmap(field, in_axes=(None, 0))(jnp.asarray(t), x)
        assert float(jnp.min(jnp.max(jnp.abs(expected), axis=1))) > 0.01
        with torch.no_grad():
            model = _torch_peers.one_time(_torch_peers.ported(field))
            velocities = model(t, torch.tensor(np.asarray(x)))
        np.testing.assert_allclose(velocities, expected, rtol=1e-4, atol=1e-5)
