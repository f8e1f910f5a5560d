"""`kinetic-jax copies`, on a model that knows its rows by heart."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from click.testing import CliRunner

from kinetic_jax import fit, load_field, save_field
from kinetic_jax._cli import cli
from kinetic_jax.copies import CopyDetector
from kinetic_jax.jobs import JobSettings, open_job, run_job
from kinetic_jax.networks import Scaling, network_field

pytestmark = pytest.mark.long

ROWS = np.random.default_rng(0).normal(size=(80, 4, 4)).astype(np.float32)


def call(*arguments):
    done = CliRunner().invoke(cli, ["copies", *map(str, arguments)])
    return done, json.loads(done.stdout) if done.exit_code == 0 else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model after many steps of training on a few images, one after few, images and a job."""
    folder = tmp_path_factory.mktemp("copies")
    scaling = Scaling(0.0, 1.0)
    fresh = network_field(
        "mlp", (4, 4), key=jax.random.key(0), width=64, depth=2, skip=True, scaling=scaling
    )
    options = {"optimizer": optax.adam(3e-3), "batch_size": 64, "ema": 0.99}
    for name, steps in (("early", 50), ("late", 3000)):
        trained = fit(fresh, jnp.asarray(ROWS), key=jax.random.key(1), num_steps=steps, **options)
        save_field(folder / name, trained.ema_field)
    np.save(folder / "rows.npy", ROWS)
    settings = JobSettings(n=80, shard_size=50, num_steps=40, profile=True)
    run_job(load_field(folder / "late"), folder / "job", settings, say=None)
    return folder


def test_risks_without_labels_name_the_copies(folder):
    """The training data only judge here: the detector that is used was fitted without them."""
    detector = folder / "detector.json"
    models = [
        "--field",
        folder / "late",
        "--earlier",
        folder / "early",
        "--samples",
        folder / "job",
    ]
    done, blind = call(*models, "--save", detector)
    assert done.exit_code == 0, done.output
    assert (blind["samples"], blind["detector"], len(blind["risk"])) == (80, "snap", 80)
    assert blind["features"] == ["snap"]
    _, judged = call(*models, "--detector", detector, "--train", folder / "rows.npy")
    assert judged["risk"] == blind["risk"]
    assert judged["tested_on"] == 80
    assert 0.1 < judged["memorization"]["fraction"] < 0.99
    assert judged["auc"]["value"] > 0.75
    risk = np.array(blind["risk"])
    assert blind["riskiest"] == np.argsort(-risk, kind="stable")[:12].tolist()
    assert blind["mean_risk"] == pytest.approx(risk.mean())
    assert 0 < blind["snaps"]["value"] <= 1


def test_labels_a_picture_and_a_detector_of_another_model(folder, tmp_path):
    train = ["--train", folder / "rows.npy"]
    job = ["--samples", folder / "job"]
    saved = tmp_path / "detector.json"
    done, fitted = call("--field", folder / "late", *job, *train, "--save", saved,
                        "--plot", tmp_path / "risk.png")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (fitted["detector"], fitted["tested_on"]) == ("labels", 40)
    _, again = call("--field", folder / "late", *job, *train, "--detector", saved)
    assert (again["tested_on"], again["auc"]) == (40, fitted["auc"])  # not on what it was fitted on
    assert (tmp_path / "risk.png").read_bytes().startswith(b"\x89PNG")
    assert CopyDetector.load(saved).settings["bins"] == 20
    refused, _ = call("--field", folder / "early", *job, *train)
    assert "field must be the model of the samples in" in refused.output
    other = ["--field", folder / "early", "--n=30", "--num-steps=40", "--detector", saved]
    refused, _ = call(*other)
    assert refused.exit_code == 2
    assert "the detector was fitted with another --field: give that one, or --transfer" in (
        refused.output
    )
    accepted, _ = call(*other, "--transfer")
    assert accepted.exit_code == 0
    drawn = ["--n=30", "--num-steps=20", "--detector", saved]
    refused, _ = call("--field", folder / "late", *drawn)
    assert "profile must have at least two steps in each of 20 bins" in refused.output


def test_samples_in_a_file_and_training_data_without_copies(folder, tmp_path):
    """Without a path there is no profile; few copies are said, not an error, beside --earlier."""
    samples, others = tmp_path / "samples.npy", tmp_path / "others.npy"
    np.save(samples, np.concatenate([shard.x1 for shard in open_job(folder / "job").shards()]))
    np.save(others, 3 + ROWS)
    given = ["--field", folder / "late", "--earlier", folder / "early", "--samples", samples]
    done, risks = call(*given, "--train", others)
    assert done.exit_code == 0, done.output
    assert (risks["samples"], risks["detector"], risks["features"]) == (80, "snap", ["snap"])
    assert (risks["memorization"]["fraction"], risks["auc"]) == (0, None)
    refused, _ = call(*given[:2], *given[-2:], "--train", others)
    assert "0 of 80 samples are copies of training rows: a detector is fitted" in refused.output


def test_an_earlier_checkpoint_that_copies_is_refused(folder):
    """By its own snap; a field that copies is taken as earlier if there is nothing before it."""
    late = ["--field", folder / "late", "--earlier", folder / "late", "--n=20", "--num-steps=20"]
    refused, _ = call(*late, "--earliest", folder / "early")
    assert refused.exit_code == 1
    assert "earlier must be a model from before copying, got one" in refused.output
    included = ["--field", "fashion-mnist-1024", "--n=20", "--num-steps=20"]
    refused, _ = call(*included, "--earlier", "fashion-mnist-1024")
    assert "earlier must be a model from before copying, got one" in refused.output
    early = ["--earlier", folder / "early", "--earliest", folder / "early"]
    accepted, risks = call(*late[:2], *early, "--samples", folder / "job")
    assert accepted.exit_code == 0, accepted.output
    assert risks["earlier_snaps"]["value"] == 0


def test_bad_input(folder, tmp_path):
    done, _ = call("--field", folder / "late")
    assert "give --earlier, --detector or --train: a detector needs one of them" in done.output
    broken = tmp_path / "broken.json"
    broken.write_text('{"format": 1, "na')
    done, _ = call("--field", folder / "late", "--detector", broken)
    assert "broken.json (17 bytes) is no detector of copies, or damaged" in done.output
    done, _ = call("--field", folder / "late", "--earlier", folder / "early", "--n=1")
    assert "samples must be at least 10 to fit a detector, got 1" in done.output
    done, _ = call("--field", folder / "late", "--earlier", folder / "late", "--n=20")
    assert "earlier must be a checkpoint from before it copied, got the model itself" in done.output
    done, _ = call("--field", folder / "late", "--samples", folder / "job", "--n=9",
                   "--train", folder / "rows.npy")  # fmt: skip
    assert "--n is of samples that are drawn here" in done.output
    done, _ = call(
        "--field", folder / "late", "--train", folder / "rows.npy", "--save", "no/a.json"
    )
    assert "there is no folder no" in done.output
    np.save(tmp_path / "other.npy", np.zeros((9, 5)))
    done, _ = call("--field", folder / "late", "--train", tmp_path / "other.npy")
    assert "--train must have 16 numbers in each row, as a sample has" in done.output
    done, _ = call("--field", folder / "late", "--earlier", "fashion-mnist-1024@7")
    assert "step must be one of" in done.output
    done, _ = call("--field", folder / "late", "--earliest", folder / "early", "--train", "x.npy")
    assert "--earliest checks --earlier: give that as well" in done.output
    done, _ = call("--field", "fashion-mnist", "--earlier", "fashion-mnist", "--n=20")
    assert "--samples must be given for a model with labels" in done.output
