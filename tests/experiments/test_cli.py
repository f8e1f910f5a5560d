"""The command line says what it can do and what it misses."""

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from kinetic_jax import __version__
from kinetic_jax._cli import cli
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


@pytest.mark.parametrize("missing", ["click", "sklearn", "matplotlib", "jinja2"])
def test_missing_extra_is_named(missing):
    program = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['kinetic-jax']; "
        "from kinetic_jax.__main__ import main; main()"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert told.returncode == 1
    assert "pip install 'kinetic_jax[demo]'" in told.stderr
    assert missing in told.stderr


def test_core_imports_no_extra():
    program = (
        "import sys, kinetic_jax; "
        "extras = ('click', 'jinja2', 'matplotlib', 'sklearn', 'torch', 'pandas'); "
        "print([name for name in extras if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr
