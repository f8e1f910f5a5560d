"""`kinetic-jax sample` and `kinetic-jax diagnose`, in this process."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from click.testing import CliRunner

from kinetic_jax import fit, load_field
from kinetic_jax._cli import _diagnose, _sample, cli
from kinetic_jax.jobs import JobSettings, diagnose_job, open_job, run_job

pytestmark = pytest.mark.long

OPTIONS = ["--n=25", "--shard-size=10", "--num-steps=4", "--labels=all", "--alpha0=0.1",
           "--beta0=0.01", "--batch-size=4"]  # fmt: skip


def call(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def assert_same_samples(found, wanted):
    """Bitwise but for rounding: the command uses all devices of this process, the library one."""
    assert found.about == wanted.about
    for one, other in zip(found.check().shards(), wanted.check().shards(), strict=True):
        for name in ("index", "label", "status", "num_evals"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_allclose(one.x1, other.x1, rtol=0, atol=1e-5)
        np.testing.assert_allclose(
            *(list(vars(shard.energy).values()) for shard in (one, other)), rtol=1e-5, atol=1e-5
        )


def test_sample_is_the_library(saved, run, tmp_path):
    out = tmp_path / "out"
    done = call("sample", "--field", saved, "--out", out, *OPTIONS)
    assert (done.exit_code, done.output) == (0, "25 samples in 3 shards, all of them finite\n")
    assert_same_samples(open_job(out), run(tmp_path / "library"))
    refused = call("sample", "--field", saved, "--out", out, *OPTIONS, "--seed=5", "--k=2")
    assert refused.exit_code == 1
    assert "holds a job with k = 3.0, got 2.0; seed = 0, got 5: choose" in refused.output


@pytest.mark.parametrize("kind", ["npy", "txt"])
def test_labels_from_a_file(kind, saved, tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, 25)
    path = tmp_path / f"labels.{kind}"
    np.save(path, labels) if kind == "npy" else np.savetxt(path, labels, fmt="%d")
    options = ["--labels", path, "--num-steps=2", "--cfg=1.5", "--cfg-interval", "0.1", "0.8"]
    out = tmp_path / "out"
    done = call("sample", "--field", saved, "--out", out, "--n=25", *options)
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(next(open_job(out).shards()).label, labels)
    refused = call("sample", "--field", saved, "--out", out, "--n=24", *options)
    assert "must be n = 24, got shape (25,)" in refused.output


def test_a_folder_of_fit(field, tmp_path):
    """The average of the weights by default, the plain weights on demand."""
    run = tmp_path / "run"
    fit(field, jnp.zeros((4, 2)), key=jax.random.key(0), num_steps=3, optimizer=optax.sgd(0.1),
        batch_size=2, checkpoint_dir=run)  # fmt: skip
    fields = {(): load_field(run), ("--raw",): load_field(run, ema=False)}
    results = []
    for number, (flag, same) in enumerate(fields.items()):
        out = tmp_path / str(number)
        done = call("sample", "--field", run, "--out", out, "--n=4", "--num-steps=2", *flag)
        assert done.exit_code == 0, done.output
        direct = run_job(same, tmp_path / f"{number}d", JobSettings(n=4, num_steps=2), say=None)
        results.append(next(open_job(out).shards()).x1)
        assert_same_samples(open_job(out), direct)
    assert np.abs(results[0] - results[1]).max() > 1e-4


def test_span_grid_and_tolerances(saved, tmp_path, monkeypatch):
    """They reach the library; what it makes of them is its own tests' business."""
    given = []
    monkeypatch.setattr(
        _sample, "run_job", lambda field, out, settings, **_: given.append(settings)
    )
    np.savetxt(tmp_path / "times.txt", [0.1, 0.4, 0.9])
    same = ["--field", saved, "--n=3", "--out", tmp_path / "out", "--t0=0.1", "--t1=0.9"]
    call("sample", *same, "--grid", tmp_path / "times.txt")
    call("sample", *same, "--rtol=1e-2", "--atol=1e-3", "--max-steps=50")
    names = ("t0", "t1", "rtol", "atol", "max_steps", "num_steps", "solver")
    assert [[getattr(settings, name) for name in names] for settings in given] == [
        [0.1, 0.9, None, None, 4096, 2, "euler"],
        [0.1, 0.9, 1e-2, 1e-3, 50, None, "tsit5"],
    ]
    np.testing.assert_array_equal(given[0].grid, [0.1, 0.4, 0.9])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--field=nowhere"],
            "fashion-mnist-1024; NAME@STEP for a checkpoint), got 'nowhere'",
        ),
        (["--field={parent}"], "no complete checkpoint in {parent}; {saved} holds one"),
        (["--field={saved}/0"], "; {saved} holds one"),
        (["--cfg-interval", "0.5", "0.6"], "cfg_interval must be left out without cfg"),
        (["--labels=5"], "labels must lie in"),
        (["--labels=nowhere.npy"], "there is no file or folder nowhere.npy"),
        (["--grid=nowhere.npy"], "there is no file or folder nowhere.npy"),
        (["--rtol=0.1"], "rtol, atol must be given together"),
        (["--cfg=2"], "cfg must be left out without labels"),
        (["--beta0=0.3"], "beta0 must keep the gain above 0"),
    ],
)
def test_bad_options_are_told_in_a_line(options, words, saved, tmp_path):
    names = {"parent": saved.parent, "saved": saved}
    options = [option.format(**names) for option in options]
    told = call("sample", "--field", saved, "--n=3", "--out", tmp_path / "out", *options)
    assert told.exit_code == 1
    assert words.format(**names) in told.output
    assert not (tmp_path / "out").exists()


def test_diagnose_is_the_library(saved, undisturbed, tmp_path):
    for name, content in undisturbed.items():
        (tmp_path / name).write_bytes(content)
    train = np.random.default_rng(0).normal(8.0, 4.0, (30, 2))
    np.save(tmp_path / "train.npy", train)
    np.save(tmp_path / "held.npy", train[:5] + 0.1)
    done = call("diagnose", tmp_path, "--train", tmp_path / "train.npy", "--held-out",
                tmp_path / "held.npy", "--plot", tmp_path / "all.png", "--table",
                tmp_path / "all.npz")  # fmt: skip
    assert done.exit_code == 0, done.output
    found = diagnose_job(open_job(tmp_path), train, held_out=train[:5] + 0.1)
    assert json.loads(done.stdout) == _diagnose.as_json(found)
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "all.npz") as table:
        assert set(table.files) == {"index", "label", "status", *vars(found.energy), "nearest",
                                    "second", "nearest_row", "ratio", "memorized"}  # fmt: skip
        np.testing.assert_array_equal(table["ratio"], found.memorization.ratios)
    (tmp_path / "shard-00001.npz").unlink()
    told = call("diagnose", tmp_path, "--train", tmp_path / "train.npy")
    assert told.exit_code == 1
    assert "lacks 1 of its 3 shards (shard-00001.npz is missing)" in told.output
    refused = call("diagnose", tmp_path, "--train", tmp_path / "train.npy", "--table", "all.csv")
    assert refused.exit_code == 2


def test_a_gain_below_zero_if_it_is_meant(saved, tmp_path):
    same = ["--field", saved, "--n=2", "--num-steps=2", "--beta0=0.3", "--allow-reversal"]
    done = call("sample", "--out", tmp_path, *same)
    assert done.exit_code == 0, done.output
    assert open_job(tmp_path).about["beta0"] == 0.3


def test_diagnose_of_data_on_another_scale(saved, undisturbed, tmp_path):
    """Such data would tell, in silence, that nothing is copied."""
    for name, content in undisturbed.items():
        (tmp_path / name).write_bytes(content)
    found = next(open_job(tmp_path).shards()).x1
    scaling = open_job(tmp_path).scaling
    train = np.asarray(scaling.invert(found), np.float64)
    for factor, words in ((1.0, ""), (1 / 3, ""), (1 / 16, "are these the raw data"), (16, "raw")):
        np.save(tmp_path / "train.npy", factor * train)
        done = call("diagnose", tmp_path, "--train", tmp_path / "train.npy")
        assert words in done.stderr
        assert bool(words) == bool(done.stderr)
        told = json.loads(done.stdout)["scale"]
        assert told["alike"] == (not words)
        assert told["train"] == pytest.approx(np.std(factor * train), rel=1e-6)
        assert told["samples"] == pytest.approx(np.std(train), rel=1e-6)


def test_diagnose_without_a_finite_sample(field, tmp_path):
    """JSON without NaN, and a picture that says so."""
    gone = jax.tree.map(lambda leaf: leaf * jnp.nan, field)
    run_job(gone, tmp_path, JobSettings(n=3, num_steps=2), say=None)
    np.save(tmp_path / "train.npy", np.zeros((3, 2)))
    done = call("diagnose", tmp_path, "--train", tmp_path / "train.npy", "--plot",
                tmp_path / "all.png")  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["bad_samples"] == {"not_finite": 3, "step_limit": 0, "first": [0, 1, 2]}
    assert told["memorization"]["fraction"] is None
    assert told["energy"]["total"]["mean"] is None
    assert (tmp_path / "all.png").exists()
