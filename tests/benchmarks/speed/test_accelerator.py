"""The preset for accelerators: what is done is kept, what is not done has its reason."""

import functools
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.speed import _rates
from benchmarks.speed._command import command
from benchmarks.speed._dit import transformer
from benchmarks.speed._record import Recorder
from benchmarks.speed._results import read_results
from benchmarks.speed._table import tables
from benchmarks.speed.accelerator import _exact, _job, _neighbors, _parts
from benchmarks.speed.accelerator._preset import LeftOutError, Part, run_parts
from kinetic_jax import EmpiricalField, nearest_neighbors

ROOT = Path(__file__).parents[3]


def _suites(folder):
    (path,) = Path(folder).glob("*.json")
    return {name.split(": ")[1]: suite for name, suite in read_results(path)["suites"].items()}


@pytest.mark.long
def test_a_part_that_fails_is_left_out_and_the_next_goes_on(tmp_path, capsys):
    seen = []

    def fails(recorder):
        recorder.figures("kept", "bytes", {"a": 1.0})
        seen.append(list(_suites(tmp_path)["fails"]["records"]))  # written after each figure
        raise MemoryError("no room for 12 GB\nand a long trace")

    def refuses(recorder):
        raise LeftOutError("no PyTorch here")

    def works(recorder):
        recorder.figures("last", "bytes", {"b": 2.0})

    parts = [Part("fails", 1, fails), Part("refuses", 1, refuses), Part("works", 1, works)]
    path = run_parts(parts, tmp_path, small=True)
    suites = _suites(tmp_path)
    assert [record["title"] for record in seen[0]] == ["kept"]
    assert suites["fails"]["left_out"] == "MemoryError: no room for 12 GB"
    assert suites["fails"]["records"] == seen[0]
    assert (suites["refuses"]["left_out"], suites["refuses"]["records"]) == ("no PyTorch here", [])
    assert "left_out" not in suites["works"]
    assert "left out: fails: MemoryError: no room for 12 GB\n" in capsys.readouterr().out
    assert "Left out of accelerator: refuses: no PyTorch here.\n" in tables(read_results(path))


@pytest.mark.parametrize(
    ("budget", "small", "reason"),
    [(0.0, True, "the budget of 0 s was used up"), (50.0, False, "and it takes about 1000")],
)
def test_parts_without_time_are_listed(tmp_path, budget, small, reason):
    def measured(recorder):
        recorder.figures("a", "bytes", {"b": 1.0})

    run_parts([Part("long", 1000, measured)], tmp_path, small=small, budget=budget)
    suite = _suites(tmp_path)["long"]
    assert suite["records"] == []
    assert reason in suite["left_out"]


def test_limits_are_not_judged_on_a_cpu(tmp_path):
    recorders = []
    run_parts([Part("a", 1, recorders.append)], tmp_path)
    assert [(r.quick, r.judges, r.rounds) for r in recorders] == [(False, False, 5)]


@pytest.mark.long
def test_a_kill_keeps_what_is_done(tmp_path):
    script = f"""
    import os, signal
    from pathlib import Path
    from benchmarks.speed.accelerator._preset import Part, run_parts
    def first(recorder):
        recorder.figures("a", "bytes", {{"b": 1.0}})
    def second(recorder):
        recorder.figures("c", "bytes", {{"d": 1.0}})
        os.kill(os.getpid(), signal.SIGKILL)
    run_parts([Part("first", 1, first), Part("second", 1, second)], Path({str(tmp_path)!r}))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == -9
    suites = _suites(tmp_path)
    titles = {name: [r["title"] for r in suite["records"]] for name, suite in suites.items()}
    assert titles == {"first": ["a"], "second": ["c"]}


def test_parts_are_chosen_by_name(tmp_path, monkeypatch):
    ran = []
    parts = tuple(
        part._replace(run=lambda recorder, name=part.name: ran.append(name))
        for part in _parts.PARTS
    )
    monkeypatch.setattr(_parts, "PARTS", parts)
    preset = ["--preset", "accelerator", "--scale", "small", "--out", str(tmp_path)]
    done = CliRunner().invoke(command, [*preset, "--part", "job", "--part", "rates"])
    assert (done.exit_code, ran) == (0, ["rates", "job"])
    done = CliRunner().invoke(command, [*preset, "--part", "jobs"])
    assert done.exit_code == 2
    assert "--part must be one of rates, " in done.output
    # Estimates must fit the six minutes that a run may take.
    assert sum(part.seconds for part in parts) <= 360


def test_transformer_is_that_of_the_paper():
    shapes = jax.eval_shape(functools.partial(transformer), jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == pytest.approx(130e6, rel=0.02)  # DiT-B's, table 1 of the paper
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("bfloat16")}


def test_references_in_numpy_are_the_library():
    rng = np.random.default_rng(0)
    rows, x = rng.normal(size=(40, 3)), rng.normal(size=(5, 3))
    times = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    ours = jax.vmap(EmpiricalField(rows.astype(np.float32)))(
        jnp.asarray(times, jnp.float32), jnp.asarray(x, jnp.float32)
    )
    np.testing.assert_allclose(ours, _exact.reference(times, x, rows), rtol=1e-3, atol=1e-5)
    distances, numbers = _neighbors.reference(x, rows)
    near = nearest_neighbors(x.astype(np.float32), rows.astype(np.float32), 2)
    np.testing.assert_array_equal(near.indices, numbers)
    np.testing.assert_allclose(near.distances, distances, rtol=1e-5)


def test_products_are_traced_in_the_precision_asked_for():
    rows, x = jnp.ones((4, 3)), jnp.zeros(3)

    def programs():
        return str(jax.make_jaxpr(lambda x: EmpiricalField(rows)(jnp.float32(0.5), x))(x))

    assert "BF16_BF16_F32" not in programs()
    with _rates.in_precision("BF16"):
        assert "BF16_BF16_F32" in programs()
    assert "BF16_BF16_F32" not in programs()


def test_calls_of_a_module_are_timed():
    with _job.timed(json, "dumps") as spent:
        assert json.dumps([1]) == "[1]"
    json.dumps([2])
    assert len(spent) == 1
    assert spent[0] >= 0


@pytest.mark.long
@pytest.mark.parametrize("run", [_rates.run, _job.run])
def test_light_parts_at_small_scale(run):
    recorder = Recorder(1, quick=True)
    run(recorder)
    assert len(recorder.records) == 2
    assert all(claim["holds"] is None for r in recorder.records for claim in r["claims"])
    json.dumps(recorder.records)
