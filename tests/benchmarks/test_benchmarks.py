"""The yardstick itself: ratios by round, and contenders that do the same work."""

import importlib
import itertools
from pathlib import Path

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import _timing, overhead
from benchmarks.__main__ import SUITES
from kinetic_jax import sample


def test_ratios_are_taken_round_by_round(monkeypatch):
    # A machine that slows down between rounds: 1, 10, 100 s. The ratio of two stays what it is.
    clock = itertools.chain([9.0, 8.0], *([base, 1.5 * base] for base in (1.0, 10.0, 100.0)))
    monkeypatch.setattr(_timing, "seconds", lambda call: next(clock))
    found = _timing.compare({"baseline": lambda: None, "other": lambda: None}, rounds=3)
    assert found["other"].ratio == found["other"].ratio_low == 1.5
    assert found["baseline"].ratio == 1
    assert (found["other"].first, found["other"].median) == (8.0, 15.0)
    assert (found["other"].low, found["other"].high) == (1.5, 150.0)


@pytest.mark.parametrize("scan", [overhead.scan_euler, overhead.scan_heun])
def test_hand_written_loops_are_the_solvers(scan):

    field, x0 = lambda t, x, cond=None: jnp.cos(3 * t) * x, jnp.ones((2, 3))
    solver = {"scan_euler": diffrax.Euler(), "scan_heun": diffrax.Heun()}[scan.__name__]
    nodes = jnp.linspace(0.0, 1.0, 11)
    expected = sample(field, x0, solver=solver, num_steps=10).x1
    np.testing.assert_allclose(scan(field, x0, nodes), expected, rtol=1e-6)


def test_every_suite_is_a_module_of_that_name():
    modules = {path.stem for path in Path(overhead.__file__).parent.glob("[a-z]*.py")}
    assert modules == set(SUITES)
    assert all(callable(importlib.import_module(f"benchmarks.{name}").run)
               for name in SUITES if name not in ("neighbors", "unet"))  # fmt: skip
