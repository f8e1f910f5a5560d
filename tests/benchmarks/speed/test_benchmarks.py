"""The yardstick itself: ratios by round, and contenders that do the same work."""

import importlib
import itertools
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.speed import _loops, _timing, network, overhead
from benchmarks.speed._command import SUITES
from kinetic_jax import GaussianField, sample
from kinetic_jax.networks import _slices, network_field


def test_ratios_are_taken_round_by_round(monkeypatch):
    # A machine that slows down between rounds: 1, 10, 100 s. The ratio of two stays what it is.
    clock = itertools.chain([9.0, 28.0], *([base, 1.5 * base] for base in (1.0, 10.0, 100.0)))
    monkeypatch.setattr(_timing, "seconds", lambda call: next(clock))
    timings = _timing.compare({"baseline": lambda: None, "other": lambda: None}, rounds=3)
    baseline, other = timings["baseline"], timings["other"]
    assert [other.ratio(baseline, quantile) for quantile in (0.0, 0.5, 1.0)] == [1.5] * 3
    assert baseline.ratio(baseline) == 1
    assert (other.first, other.median, other.compiling) == (28.0, 15.0, 13.0)
    assert other.rounds.tolist() == [1.5, 15.0, 150.0]


def test_first_calls_compile_again_in_every_round(compilations):
    add = jax.jit(lambda x: x + 1)
    counts = []

    def call():
        before = compilations()
        add(jnp.zeros(3))
        counts.append(compilations() > before)

    timings = _timing.compare_first_calls({"baseline": call, "other": call}, rounds=2)
    # A first and a second call of each contender: once to warm up, and in each of two rounds.
    assert counts == [True, False] * 6
    assert all(len(timing.rounds) == 2 and timing.first is None for timing in timings.values())


@pytest.mark.parametrize("solver", overhead.SOLVERS)
def test_hand_written_loops_are_the_solvers(solver):
    field, x0 = lambda t, x, cond=None: jnp.cos(3 * t) * x, jnp.ones((2, 3))
    scan, scan_energy, scan_all, method, _ = overhead.SOLVERS[solver]
    nodes = jnp.linspace(0.0, 1.0, 11)
    expected = sample(field, x0, solver=method, num_steps=10)
    np.testing.assert_allclose(scan(field, x0, nodes), expected.x1, rtol=1e-6)
    x1, energy = scan_energy(field, x0, nodes)
    np.testing.assert_allclose(x1, expected.x1, rtol=1e-6)
    np.testing.assert_allclose(energy, expected.energy.total, rtol=1e-6)
    overhead.require_all_results(expected, scan_all(field, x0, nodes), 1e-5)
    others = scan_all(field, x0, nodes) | {"length": energy}
    with pytest.raises(AssertionError, match="all results, length"):
        overhead.require_all_results(expected, others, 1e-5)


@pytest.mark.long
def test_plain_adaptive_solve_takes_the_steps_of_sample():
    field, x0 = GaussianField(jnp.ones(3), 0.5), jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)
    expected = sample(field, x0, controller=overhead.CONTROLLER).x1
    x1 = _loops.adaptive(field, x0, overhead.CONTROLLER)
    np.testing.assert_allclose(x1, expected, rtol=1e-6)
    assert isinstance(overhead.CONTROLLER, diffrax.PIDController)


def test_operations_are_those_of_the_matrix_products():
    # The compiler also counts activations and norms, a few a unit: small beside a width of 128.
    size, width, depth, batch = 64, 128, 2, 32
    field = network_field("mlp", (size,), key=jax.random.key(0), width=width, depth=depth)
    x, t = jnp.zeros((batch, size)), jnp.asarray(0.5)
    for times, at in ((1, t), (batch, jnp.broadcast_to(t, batch))):
        expected = network.mlp_operations(batch, size, width, depth, times=times)
        counted = network.operations(network._vmapped, field, at, x)
        assert expected < counted < 1.1 * expected


@pytest.mark.long
def test_operations_of_slices_all_count(monkeypatch):
    small = {"base_channels": 8, "multiples": (1,), "attention": (False,), "num_res_blocks": 1}
    field = network_field("unet", (8, 8, 1), key=jax.random.key(0), **small)
    monkeypatch.setattr(_slices, "ROOM", 4 * 8 * 8 * 8 * 4)  # slices of four

    def counted(batch):
        x, t = jnp.zeros((batch, 8, 8, 1)), jnp.full(batch, 0.5)
        return network.operations(network._vmapped, field, t, x)

    assert counted(64) == pytest.approx(16 * counted(4), rel=1e-2)


def test_every_suite_is_a_module_of_that_name():
    modules = {path.stem for path in Path(overhead.__file__).parent.glob("[a-z]*.py")}
    assert modules == set(SUITES)
    assert all(callable(importlib.import_module(f"benchmarks.speed.{name}").run)
               for name in SUITES if name not in ("neighbors", "unet"))  # fmt: skip
