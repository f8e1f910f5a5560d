"""Paths as users give them (`~` expanded, URLs refused by name), and files on a full disk."""

import errno
import os
import re
from pathlib import Path

import jax
import pytest
from click.testing import CliRunner

import kinetic_jax as kj
from benchmarks.__main__ import main
from benchmarks.claims import reproduce, shipped_subjects, train_models
from kinetic_jax._cli import cli
from kinetic_jax._cli._sample import read_labels
from kinetic_jax._files import local_path, write_whole
from kinetic_jax._pretrained import read_field, write_field
from kinetic_jax.demo._run import run_demo

FIELD = kj.networks.network_field("mlp", (2,), key=jax.random.key(0), width=4, depth=1)


def test_paths_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("out", "~/job") == local_path("out", Path("~/job")) == tmp_path / "job"
    for path in ("job", "../job", ".", "/a/b:c", "rows.npz:images", "C:/job"):
        assert local_path("out", path) == Path(path)


@pytest.mark.parametrize(
    "value",
    ["", "gs://bucket/job", Path("s3://bucket/job"), "http://host/a.npy", "file:///job", "a\0b",
     "~nobody-of-this-name/job", None, 3, b"job", ["job"]],
    ids=repr,
)  # fmt: skip
def test_what_is_no_path_of_this_machine(value, own_messages):
    is_path = isinstance(value, str | Path)
    got = re.escape(repr(str(value) if is_path else value))
    message = rf"^out must be a path on this machine(, not a URL)?, got {got}"
    with pytest.raises(ValueError, match=message):
        local_path("out", value)


TAKING_PATHS = {
    "name_or_path": kj.data.load_images,
    "data": lambda path: kj.data.load_images("fashion-mnist", data=path),
    "directory": lambda path: kj.save_field(path, FIELD),
    "directory ": kj.load_field,
    "folder": kj.jobs.open_job,
    "out": lambda path: kj.jobs.run_job(FIELD, path, kj.jobs.JobSettings(n=1)),
    "out ": lambda path: run_demo(path, None, quick=True),
    "out  ": lambda path: reproduce([], path, None),
    "path": read_field,
    "path ": lambda path: write_field(path, FIELD),
    "folder ": lambda path: shipped_subjects(path),
    "folder  ": lambda path: train_models(kj.data.load_images("digits"), path),
    "checkpoint_dir": lambda path: kj.fit(
        FIELD, None, key=None, num_steps=1, optimizer=None, batch_size=1, checkpoint_dir=path
    ),
}


@pytest.mark.parametrize(("name", "function"), TAKING_PATHS.items(), ids=TAKING_PATHS)
@pytest.mark.parametrize("value", ["gs://bucket/job", "", 3], ids=repr)
def test_refused_before_any_work(name, function, value, tmp_path, monkeypatch, own_messages):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"^{name.strip()} must be a path on this machine"):
        function(value)
    assert not list(tmp_path.iterdir())


COMMANDS = {
    "--out": "sample --field fashion-mnist --n 1 --out",
    "--field": "sample --n 1 --out job --field",
    "--labels": "sample --field fashion-mnist --n 1 --out job --labels",
    "DIR": "diagnose --train rows.npy",
    "--train": "diagnose job --train",
    "--held-out": "diagnose job --train rows.npy --held-out",
    "--plot": "diagnose job --train rows.npy --plot",
    "--table": "diagnose job --train rows.npy --table",
    "SAMPLES": "neighbors --k 1",
    "TRAIN": "memorization rows.npy",
    "demo --out": "demo --out",
}
MEASUREMENTS = {
    "--data": "train fashion-mnist --data",
    "claims --out": "claims all --out",
    "claims --data": "claims all --data",
    "claims --into": "claims all --into",
    "speed --out": "speed imports --out",
    "speed --table": "speed --table",
    "speed --into": "speed --into",
}


@pytest.mark.parametrize(
    ("group", "start"),
    [*((cli, start) for start in COMMANDS.values()), *((main, m) for m in MEASUREMENTS.values())],
    ids=[*COMMANDS, *MEASUREMENTS],
)
def test_commands_refuse_urls_and_nothing(group, start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in ("gs://bucket/x.png", ""):
        result = CliRunner().invoke(group, [*start.split(), value], catch_exceptions=False)
        assert result.exit_code in (1, 2)
        output = " ".join(result.output.replace("\n", " ").split())
        assert "must be a path on this machine" in output, (value, output)
    assert not list(tmp_path.iterdir())


def test_commands_expand_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    kj.save_field("~/field", FIELD)
    arguments = ["sample", "--field", "~/field", "--n", "2", "--out", "~/job", "--num-steps", "1"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert kj.jobs.open_job("~/job").n == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["field", "job"]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_names_the_file(call, tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    path.write_bytes(b"the old one")
    if call == "write":  # the system's own full device
        (tmp_path / ".x.npz.part").symlink_to("/dev/full")
    else:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(full))
    with pytest.raises(OSError, match=rf"No space left on device: '{re.escape(str(path))}'"):
        write_whole(path, b"the new one")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        "x.npz": b"the old one"
    }


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "x.npz", b"new")
    assert not list(tmp_path.iterdir())


def test_a_text_file_that_holds_no_labels(tmp_path):
    (tmp_path / "labels.txt").write_text("1\ntwo\n")
    with pytest.raises(ValueError, match=r"labels\.txt \(6 bytes\) is unreadable: .*two"):
        read_labels(str(tmp_path / "labels.txt"), 2)
