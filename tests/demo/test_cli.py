"""The command line says what it can do and what it misses."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kinetic_jax import __version__
from kinetic_jax._cli import cli
from kinetic_jax.experiments import _demo
from kinetic_jax.experiments.claims import CLAIMS


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


def test_reproduce_names_its_claims(tmp_path):
    shown = CliRunner().invoke(cli, ["reproduce", "--help"])
    assert all(name in shown.output for name in CLAIMS)
    refused = CliRunner().invoke(cli, ["reproduce", "luck", "--out", str(tmp_path)])
    assert refused.exit_code == 2
    assert "'luck' is not one of 'semantics'" in refused.output


@pytest.mark.parametrize("command", ["reproduce", "train-models"])
def test_images_that_do_not_serve(command, tmp_path):
    np.save(tmp_path / "some.npy", np.zeros((30, 4, 4), np.uint8))
    head = {"reproduce": ["reproduce", "all", "--data"], "train-models": ["train-models"]}[command]
    for name, words in (("some.npy", "must have labels"), ("none", "there is no file, folder or")):
        told = CliRunner().invoke(
            cli, [*head, str(tmp_path / name), "--out", str(tmp_path / "out")]
        )
        assert told.exit_code == 1
        assert words in told.output
        assert "Traceback" not in told.output


def test_paths_with_square_brackets_are_printed_whole(monkeypatch, tmp_path):
    """Rich takes [bold] for markup."""
    committed = Path(__file__).parents[2] / "benchmarks/results/demo/results.json"

    def run_demo(out, settings, *, quick, say):
        say(f"kept in {out}")
        return json.loads(committed.read_text())

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
