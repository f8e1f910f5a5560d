"""`kinetic-jax compare`, in this process."""

import csv
import json

import jax
import numpy as np
import optax
import pytest
from click.testing import CliRunner

import kinetic_jax as kj
from kinetic_jax._cli import cli
from kinetic_jax._cli._checkpoints import find_checkpoints
from kinetic_jax.comparison import _compare
from kinetic_jax.networks import Scaling, network_field

pytestmark = pytest.mark.long

OPTIONS = ("--n=400", "--num-steps=4", "--seed=2")
RAW = np.random.default_rng(0).integers(0, 256, size=(6, 2)).astype(np.uint8)


def call(*arguments):
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)])


def field(seed, **settings):
    options = {"width": 4, "depth": 1, "scaling": Scaling(127.5, 127.5)} | settings
    return network_field("mlp", (2,), key=jax.random.key(seed), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of checkpoints, whose names end with their steps."""
    parent = tmp_path_factory.mktemp("training")
    for step in (20, 100, 3):
        kj.save_field(parent / f"step-{step}", field(step))
    return parent


def test_the_command_is_the_library(folder, tmp_path):
    np.save(tmp_path / "train.npy", RAW)
    out, train = tmp_path / "out", (RAW.astype(np.float32) - 127.5) / 127.5
    done = call(folder, *OPTIONS, "--train", tmp_path / "train.npy", "--out", out)
    assert done.exit_code == 0, done.output
    models = {step: kj.load_field(folder / f"step-{step}") for step in (3, 20, 100)}
    wanted = kj.compare(models, key=jax.random.key(2), num_samples=400, num_steps=4, train=train)
    shown = json.loads(done.stdout)
    assert shown == json.loads(json.dumps(wanted.as_json()))
    assert [model["step"] for model in shown["models"]] == [3, 20, 100]
    assert done.stderr.splitlines()[-1] == wanted.reason
    assert (out / "compare.md").read_text() == wanted.to_markdown()
    assert json.loads((out / "compare.json").read_text()) == shown
    with (out / "compare.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["3", "20", "100"]


def test_an_interrupted_command_goes_on(folder, tmp_path, monkeypatch):
    measured, names = _compare.measured, []

    def stopped(name, *rest):
        if name == "100":
            raise KeyboardInterrupt
        return measured(name, *rest)

    def counted(name, *rest):
        names.append(name)
        return measured(name, *rest)

    arguments = (folder, *OPTIONS, "--out", tmp_path)
    monkeypatch.setattr(_compare, "measured", stopped)
    done = call(*arguments)
    assert done.exit_code == 130
    assert f"the same command goes on from what is in {tmp_path}" in done.stderr
    monkeypatch.setattr(_compare, "measured", counted)
    done = call(*arguments, "--plot", tmp_path / "picture.png")
    assert done.exit_code == 0, done.output
    assert names == ["100"]
    assert (tmp_path / "picture.png").read_bytes()[1:4] == b"PNG"


def test_labels_give_each_sample_its_class(tmp_path):
    for step in (1, 2):
        kj.save_field(tmp_path / f"{step}", field(step, num_classes=3))
    done = call(tmp_path, *OPTIONS, "--labels=all")
    assert done.exit_code == 0, done.output
    models = {step: kj.load_field(tmp_path / f"{step}") for step in (1, 2)}
    labels = np.arange(400, dtype=np.int32) % 3
    wanted = kj.compare(models, key=jax.random.key(2), num_samples=400, num_steps=4, cond=labels)
    assert json.loads(done.stdout) == json.loads(json.dumps(wanted.as_json()))


def test_checkpoints_by_their_names(folder, tmp_path):
    kj.fit(
        field(0), np.zeros((8, 2), np.float32), key=jax.random.key(0), num_steps=4,
        optimizer=optax.sgd(0.1), batch_size=4, checkpoint_dir=tmp_path / "fit", checkpoint_every=2,
        checkpoints_kept=2,
    )  # fmt: skip
    assert list(find_checkpoints([str(tmp_path / "fit")])) == [2, 4]
    names = [str(folder / "step-20"), "fashion-mnist-1024@1000"]
    assert list(find_checkpoints(names)) == [20, 1000]
    assert find_checkpoints(names)[1000].event_shape == (28, 28, 1)
    kj.save_field(tmp_path / "last", field(9))
    paths = [str(tmp_path / "last"), str(folder / "step-3")]
    assert list(find_checkpoints(paths)) == paths  # one has no step
    steps = [*kj.pretrained_steps("fashion-mnist-1024"), 60_000]
    assert list(find_checkpoints(["fashion-mnist-1024"])) == steps


BAD = {
    "fields must hold at least two models, got 1": ("fashion-mnist-1024@1000",),
    "step must be one of": ("fashion-mnist-1024@1000", "fashion-mnist-1024@7"),
    "there is no such folder or file": ("nowhere", "fashion-mnist-1024@1000"),
    "must be named once": ("fashion-mnist-1024@1000", "fashion-mnist-1024@1000"),
    "earliest must be one of": ("fashion-mnist-1024", "--earliest=7"),
    "num_samples must be at least 381": ("fashion-mnist-1024", "--n=100"),
    "there are no classes": ("fashion-mnist-1024", "--labels=all"),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_line(message):
    done = call(*BAD[message])
    assert done.exit_code == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.exception
    assert message in lines[0]


def test_data_and_folders_that_do_not_fit(folder, tmp_path):
    np.save(tmp_path / "train.npy", np.zeros((4, 3)))
    done = call(folder, *OPTIONS, "--train", tmp_path / "train.npy")
    assert "train must have rows of 2 numbers, got (4, 3)" in done.stderr
    (tmp_path / "empty").mkdir()
    done = call(tmp_path / "empty", folder)
    assert "must be a folder of save_field or fit, or hold some" in done.stderr
