"""The comparison sees a run that differs from the loop."""

import dataclasses

import numpy as np
import pytest

import kinetic_jax as kj
from benchmarks.clients import compare
from benchmarks.clients._compare import LIMIT, WITHIN, euler_loop, gap_text
from benchmarks.clients._record import verdict

X0 = np.array([[1.0, 0.0], [2.0, -1.0]], np.float32)
RUN = kj.sample(lambda t, x, cond: -x, X0, num_steps=4)


def velocity(t, x):
    return -x


def test_loop_is_the_closed_form():
    # Each of four steps multiplies x by 3/4: E = 1/2 sum of 1/4 (3/4)^(2i) |x0|^2.
    x1, energy = euler_loop(velocity, X0, np.linspace(0, 1, 5))
    np.testing.assert_allclose(x1, X0 * 0.75**4, rtol=1e-12)
    half = sum(0.75 ** (2 * i) for i in range(4)) / 8
    np.testing.assert_allclose(energy, half * np.array([1.0, 5.0]), rtol=1e-6)


def test_equal_runs_differ_by_rounding():
    result = compare(RUN, X0, velocity, twice=(RUN.x1, np.asarray(RUN.x1)))
    assert list(result.differences) == ["x1", "E", "twice"]
    assert max(result.differences.values()) < 1e-6
    assert result.differences["twice"] == 0


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (lambda t, x: x, {"x1"}),  # the wrong sign
        (lambda t, x: -1.001 * x, {"x1", "E"}),  # another scale
        (lambda t, x: -x + 0.01 * (t > 0.7), {"x1", "E"}),  # another clock
        (lambda t, x: x * np.nan, {"x1", "E"}),
    ],
)
def test_other_fields_are_seen(other, differs):
    gaps = compare(RUN, X0, other).differences
    assert {name for name, gap in gaps.items() if not gap <= LIMIT} >= differs
    client = {"error": None, "differences": gaps}
    assert verdict(client).startswith("differs in x1 by ")


def test_printed_differences_are_the_same_on_every_machine():
    assert float(WITHIN.removeprefix("< ")) == LIMIT
    result = compare(RUN, X0, velocity, off=(1.001, 1.0), undefined=(np.nan, 0.0))
    assert str(result).endswith("differences: x1 < 1e-5, E < 1e-5, off 1e-03, undefined NaN")
    assert [gap_text(gap) for gap in (LIMIT, 1.1e-5, None)] == [WITHIN, "1e-05", "NaN"]


def test_differences_are_relative_above_one():
    gaps = compare(RUN, X0, velocity, large=(1001.0, 1000.0), small=(0.002, 0.001)).differences
    np.testing.assert_allclose([gaps["large"], gaps["small"]], [1e-3, 1e-3])


def test_times_are_the_grid():
    times = [0.25, 0.5, 1.0]
    run = kj.sample(lambda t, x, cond: t * x, X0, grid=times, t0=0.25)
    gaps = compare(run, X0, lambda t, x: t * x, times=times).differences
    assert max(gaps.values()) < 1e-6


def test_adaptive_runs_and_other_shapes_are_refused():
    adaptive = dataclasses.replace(RUN, profile=None)
    with pytest.raises(ValueError, match="run must have a fixed grid"):
        compare(adaptive, X0, velocity)
    with pytest.raises(ValueError, match=r"pair must be two arrays of a shape, got \(2,\), \(3,\)"):
        compare(RUN, X0, velocity, pair=([1, 2], [1, 2, 3]))
