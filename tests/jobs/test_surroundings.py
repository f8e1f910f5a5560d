"""The surroundings of a command: readers that are gone, full disks, packages, devices, Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from kinetic_jax.__main__ import main
from kinetic_jax._cli import cli
from kinetic_jax._cli._group import EXTRAS
from kinetic_jax._cli._options import _note_lost
from kinetic_jax.jobs import open_job


@pytest.fixture
def command(monkeypatch, capfd):
    """Runs the command line in this process: its exit status, standard output and error."""
    handler = signal.getsignal(signal.SIGINT)
    _note_lost.cache_clear()

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["kinetic-jax", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capfd.readouterr()

    yield command
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def rows(tmp_path):
    np.save(tmp_path / "rows.npy", np.eye(4, 2, dtype=np.float32))
    return tmp_path / "rows.npy"


def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.mark.parametrize("streams", [["stdout"], ["stdout", "stderr"]])
def test_a_job_goes_on_when_nobody_reads(streams, command, monkeypatch, saved, tmp_path):
    for name in streams:
        monkeypatch.setattr(sys, name, closed_pipe())
    status, _, errors = command("sample", f"--field={saved}", f"--out={tmp_path / 'out'}",
                                "--n=5", "--num-steps=2", "--shard-size=3")  # fmt: skip
    assert status == 0
    job = open_job(tmp_path / "out").check()
    assert sum(len(shard.x1) for shard in job.shards()) == 5
    lost = "standard output is lost (Broken pipe); the work goes on\n"
    assert errors == (lost if streams == ["stdout"] else "")


def full_device():
    return Path("/dev/full").open("w")


@pytest.mark.parametrize(
    ("open_stream", "reason"),
    [(closed_pipe, "Broken pipe"), (full_device, "No space left on device")],
)
@pytest.mark.parametrize("arguments", [["neighbors"], ["--version"]])
def test_an_answer_that_cannot_be_written(
    arguments, open_stream, reason, command, monkeypatch, rows
):
    monkeypatch.setattr(sys, "stdout", open_stream())
    files = [rows, rows] if arguments == ["neighbors"] else []
    status, _, errors = command(*arguments, *files)
    assert status == 1
    assert errors.count("\n") == 1
    assert reason in errors
    sys.stdout.close()  # the interpreter's own last flush raises no more


@pytest.fixture
def plain_install(monkeypatch):
    """No package of the extras can be imported, nor was one by a module of commands."""
    ours = ("kinetic_jax.demo", "kinetic_jax.plotting", "kinetic_jax._cli._")
    for name in [name for name in sys.modules if name.startswith(ours)]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] in EXTRAS]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.long
@pytest.mark.usefixtures("plain_install")
def test_commands_of_a_plain_install(command, saved, rows, tmp_path):
    out = tmp_path / "out"
    sampled = [
        "sample",
        f"--field={saved}",
        f"--out={out}",
        "--n=5",
        "--num-steps=2",
        "--shard-size=3",
    ]
    for arguments in (
        sampled,
        ["diagnose", out, f"--train={rows}"],
        ["neighbors", rows, rows],
        ["memorization", rows, rows, f"--held-out={rows}"],
    ):
        status, _, errors = command(*arguments)
        assert status == 0, errors
    # The first of them that an earlier test in this process has not imported.
    packages = "Matplotlib|Jinja|scikit-learn"
    for arguments, package in (
        (["demo", f"--out={tmp_path / 'demo'}"], packages),
        (["neighbors", "none.npy", rows, f"--plot={tmp_path / 'a.png'}"], "Matplotlib"),
    ):
        status, _, errors = command(*arguments)
        assert status == 1
        assert errors.count("\n") == 1
        assert re.search(
            rf"needs the package ({package}): pip install 'kinetic_jax\[demo\]'", errors
        )


@pytest.mark.parametrize("reason", [AssertionError(), RuntimeError("no chip\n  here")])
def test_no_device_of_the_kind_that_is_asked_for(reason, command, monkeypatch, saved, tmp_path):
    """JAX raises the first for a plugin that is not installed, the second for most others."""

    def devices(*arguments):
        raise reason

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setattr(jax, "local_devices", devices)
    status, _, errors = command("sample", f"--field={saved}", f"--out={tmp_path}", "--n=5")
    assert status == 1
    assert errors.count("\n") == 1
    assert "JAX found no device for JAX_PLATFORMS='cuda'" in errors
    assert ("no chip here" if str(reason) else "JAX_PLATFORMS=cpu") in errors


def test_other_failures_keep_their_traceback(monkeypatch, saved, tmp_path):
    def devices():
        raise RuntimeError("a defect")

    monkeypatch.setattr(jax, "local_devices", devices)
    arguments = ["sample", f"--field={saved}", f"--out={tmp_path}", "--n=5"]
    assert str(CliRunner().invoke(cli, arguments).exception) == "a defect"


INTERRUPTED = """
import os, signal, sys
from kinetic_jax.__main__ import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it

class Pressed:
    def __del__(self):  # an exception would be lost in here
        os.kill(os.getpid(), signal.SIGINT)

class Finder:
    def find_spec(name, path=None, target=None):
        if name == "jax":
            Pressed()

sys.meta_path.insert(0, Finder)
sys.argv = ["kinetic-jax", "neighbors", "--help"]
main()
"""


def test_ctrl_c_while_jax_is_imported():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
