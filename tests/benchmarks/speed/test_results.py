"""Results as files: suites of a day side by side, limits judged, their tables."""

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.speed import _command as command
from benchmarks.speed._machine import device_name, machine
from benchmarks.speed._record import Claim, Recorder, figure_record, time_record
from benchmarks.speed._results import read_results, results_file, write_suite
from benchmarks.speed._show import verdict
from benchmarks.speed._table import REGION, into_page, limits_table, markdown_table, tables
from benchmarks.speed._timing import Timing

ROOT = Path(__file__).parents[3]
NOON = datetime.datetime(2026, 1, 2, 12)
CPU = {
    "platform": "cpu", "device": "cpu", "devices": 1, "cpus": 2, "python": "3.11",
    "versions": {"jax": "0.10"}, "matmul_precision": "default", "commit": "c0",
    "changed_since": False,
}  # fmt: skip


def _comparison(*claims):
    by_hand, ours = Timing(3.0, np.array([1.0, 2.0, 4.0])), Timing(5.0, np.array([1.1, 2.0, 4.8]))
    return time_record("a field", {"by hand": by_hand, "ours": ours}, claims, dtype="float32")


def test_record_of_times_holds_every_round_and_the_compile_time_apart():
    record = json.loads(json.dumps(_comparison(Claim("ours", 1.05))))
    ours = record["rows"]["ours"]
    assert ours["rounds"] == [1.1, 2.0, 4.8]
    assert (ours["figure"], ours["first_call"], ours["compiling"]) == (2.0, 5.0, 3.0)
    # Ratios 1.1, 1.0, 1.2 by round.
    assert ours["ratio"] == 1.1
    np.testing.assert_allclose(ours["ratio_quartiles"], [1.05, 1.15])


@pytest.mark.parametrize(
    ("claim", "holds", "text"),
    [
        (Claim("ours", 1.1), True, "PASS: ours: 1.1 of by hand (limit 1.1)"),
        (Claim("ours", 1.05), False, "over the limit: ours: 1.1 of by hand (limit 1.05)"),
        (Claim("ours"), None, "ours: 1.1 of by hand"),
        (Claim("by hand", against="ours"), None, "by hand: 0.9091 of ours"),
    ],
)
def test_limits_are_reported_and_never_raised(claim, holds, text):
    (judged,) = _comparison(claim)["claims"]
    assert judged["holds"] is holds
    assert verdict(judged, "s") == text


def test_figures_are_judged_by_themselves_or_by_ratio():
    claims = Claim("two", 0.5), Claim("two", 3, figure=True)
    record = figure_record("work", "bytes", {"one": 8, "two": 4}, claims, dtype="float32")
    assert record["rows"]["two"] == {"figure": 4, "ratio": 0.5}
    assert [judged["holds"] for judged in record["claims"]] == [True, False]
    assert verdict(record["claims"][1], "bytes") == "over the limit: two: 4 bytes (limit 3 bytes)"
    # Nothing is so many times nothing.
    record = figure_record("work", "bytes", {"one": 0, "two": 0}, (), dtype="float32")
    assert record["rows"] == {"one": {"figure": 0}, "two": {"figure": 0}}


def test_small_sizes_of_a_quick_run_are_not_judged():
    recorder = Recorder(2, quick=True)
    recorder.times("a", {"by hand": lambda: None, "ours": lambda: None}, Claim("ours", 1e-9))
    (record,) = recorder.records
    assert record["claims"][0]["holds"] is None


def test_suites_of_a_day_are_kept_side_by_side(tmp_path):
    path = results_file(tmp_path / "new", CPU, NOON.date())
    assert path.name == "cpu-2-cores-2026-01-02.json"
    assert results_file(tmp_path, CPU, NOON.date(), quick=True) != tmp_path / path.name
    for suite, claim in (("one", 2), ("two", 2), ("one", 1)):
        records = [_comparison(Claim("ours", claim))]
        write_suite(path, suite, records, machine=CPU, rounds=3, at=NOON)
    suites = read_results(path)["suites"]
    assert [suites[suite]["records"][0]["claims"][0]["at_most"] for suite in suites] == [1, 2]
    assert suites["one"]["machine"] == CPU
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_device_names():
    tpu = {"platform": "tpu", "device": "TPU v5 lite", "devices": 8}
    assert device_name(tpu) == "tpu-v5-lite-x8"
    assert device_name(tpu | {"devices": 1}) == "tpu-v5-lite"
    here = machine()
    assert device_name(here) == f"cpu-{here['cpus']}-cores"
    assert {"jax", "jaxlib", "flax", "diffrax", "numpy"} <= set(here["versions"])
    assert here["python"].startswith("3.")


def test_table_of_every_claim_with_its_machine(tmp_path):
    path = results_file(tmp_path, CPU, NOON.date())
    records = [_comparison(Claim("ours", 1.05), Claim("ours", 2, against="ours"))]
    records.append(figure_record("work", "bytes", {"one": 8, "two": 4}, [], dtype="float32"))
    write_suite(path, "suite", records, machine=CPU, rounds=3, at=NOON)
    lines = markdown_table(read_results(path)).splitlines()
    assert lines[2:4] == [
        "| suite | a field | ours | 2 s | by hand: 2 s | 1.1 (1.05 to 1.15) | 1.05, **exceeded** |",
        "|  |  | ours | 2 s | ours: 2 s | 1 (1 to 1) | 2, holds |",
    ]
    assert "suite: 2026-01-02, cpu (cpu, 1 device(s)), 2 cores" in lines[-1]
    page = tmp_path / "docs" / "performance.md"
    page.parent.mkdir()
    page.write_text("a\n<!-- benchmarks: x -->\nold\n<!-- end of benchmarks -->\nb\n")
    into_page(page, path, "new\n")
    expected = f"<!-- benchmarks: ../{path.name} -->\nnew\n<!-- end of benchmarks -->\n"
    assert page.read_text() == f"a\n{expected}b\n"
    page.write_text("no region")
    with pytest.raises(ValueError, match="must have one region"):
        into_page(page, path, "new\n")


def test_limits_by_suite(tmp_path):
    """The one farthest beyond its limit is named; a suite without limits is left out."""
    path = results_file(tmp_path, CPU, NOON.date())
    records = [_comparison(Claim("ours", 1.05), Claim("ours", 2, against="ours"))]
    write_suite(path, "limited", records, machine=CPU, rounds=3, at=NOON)
    free = [figure_record("work", "bytes", {"one": 8}, [], dtype="float32")]
    write_suite(path, "free", free, machine=CPU, rounds=3, at=NOON)
    lines = limits_table(read_results(path)).splitlines()
    assert lines[2:] == ["| limited | 1 of 2 | a field: ours against by hand | 1.1 | 1.05 |"]


def test_page_holds_the_tables_of_the_committed_results():
    page = ROOT / "docs" / "performance.md"
    (region,) = REGION.finditer(page.read_text())
    assert region["tables"] == tables(read_results(page.parent / region["file"]))


def test_suites_that_lack_a_peer_are_left_out_with_a_message(monkeypatch, tmp_path):
    def missing(recorder):
        raise ModuleNotFoundError("No module named 'faiss'", name="faiss")

    def measured(recorder):
        recorder.figures("a", "bytes", {"b": 1})

    runs = {"benchmarks.speed.memory": measured, "benchmarks.speed.neighbors": missing}
    monkeypatch.setattr(command, "SUITES", ("memory", "neighbors"))

    def module(name):
        return type("Suite", (), {"run": staticmethod(runs[name])})

    monkeypatch.setattr(command.importlib, "import_module", module)
    done = CliRunner().invoke(command.command, ["--out", str(tmp_path), "--rounds", "1"])
    assert done.exit_code == 0
    assert 'left out: neighbors needs faiss: pip install -e ".[bench]"' in done.output
    (path,) = tmp_path.iterdir()
    assert list(read_results(path)["suites"]) == ["memory"]
    done = CliRunner().invoke(command.command, ["neighbors", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "neighbors needs faiss" in done.output
