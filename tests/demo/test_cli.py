"""The command line says what it can do and what it misses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kinetic_jax import __version__
from kinetic_jax._cli import cli
from kinetic_jax.demo import _run as _demo
from kinetic_jax.demo._results import Results


def test_help_tells_the_options():
    shown = CliRunner().invoke(cli, ["demo", "--help"])
    assert shown.exit_code == 0
    assert all(option in shown.output for option in ("--out", "--quick", "--seed"))


def test_version():
    assert __version__ in CliRunner().invoke(cli, ["--version"]).output


@pytest.mark.parametrize("arguments", [["demo", "--seed", "-1"], ["demo", "--no-such"], ["dem"]])
def test_bad_arguments_are_refused(arguments):
    refused = CliRunner().invoke(cli, arguments)
    assert refused.exit_code == 2
    assert "Error" in refused.output


def test_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    refused = CliRunner().invoke(cli, ["demo", "--out", str(tmp_path / "taken")])
    assert refused.exit_code == 2
    assert "is a file" in refused.output


def test_paths_with_square_brackets_are_printed_whole(monkeypatch, tmp_path):
    """Rich takes [bold] for markup."""
    committed = Path(__file__).parents[2] / "benchmarks/results/demo/results.json"

    def run_demo(out, settings, *, quick, say):
        say(f"kept in {out}")
        return Results.from_json(json.loads(committed.read_text()))

    monkeypatch.setattr(_demo, "run_demo", run_demo)
    out = tmp_path / "[bold]a[/bold]"
    done = CliRunner().invoke(cli, ["demo", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert f"kept in {out}\n" in done.output
    assert f"report: {out / 'report.html'}\n" in done.output
    assert "held-out digits" in done.output  # the table


def test_ctrl_c_is_a_line_and_a_status(monkeypatch, tmp_path):
    def run_demo(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(_demo, "run_demo", run_demo)
    done = CliRunner().invoke(cli, ["demo", "--out", str(tmp_path)])
    assert done.exit_code == 130
    where = tmp_path / "training"
    assert done.stderr == f"interrupted; the same command goes on from {where}\n"
