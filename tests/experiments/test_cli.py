"""The command line says what it can do and what it misses."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from kinetic_jax import __version__
from kinetic_jax._cli import cli


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
