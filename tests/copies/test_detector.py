"""The detector on features with a known answer; its files; and what it refuses."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kinetic_jax import EmpiricalField, GaussianField, fit, memorization, noise, sample
from kinetic_jax.copies import CopyDetector, CopyFeatures, copy_features
from kinetic_jax.metrics import roc_auc
from kinetic_jax.networks import network_field

SETTINGS = {
    "bins": 20, "steps": 100, "grid": "c", "noise": "d", "model": "a", "earlier": "b",
}  # fmt: skip


def features(seed, number=2000, gap=2.0):
    """Two normal distributions a gap apart in one feature, and a feature that says nothing."""
    rng = np.random.default_rng(seed)
    is_copy = rng.uniform(size=number) < 0.4
    values = rng.normal(size=(number, 2)) * [1.0, 3.0] + [5.0, -1.0]
    values[:, 0] += gap * is_copy
    return CopyFeatures(values, ("snap", "spread"), SETTINGS), is_copy


def exact(given):
    """The probability by Bayes."""
    return 1 / (1 + np.exp(-(2.0 * (given.values[:, 0] - 6.0) + np.log(0.4 / 0.6))))


@pytest.mark.parametrize("kind", ["labels", "snap"])
def test_the_probability_is_that_of_bayes(kind):
    given, is_copy = features(0)
    if kind == "labels":
        detector = CopyDetector.fit(given, is_copy)
    else:
        detector = CopyDetector.without_labels(given)
    fresh, _ = features(1)
    off = np.abs(detector.score(fresh) - exact(fresh))
    assert off.mean() < (0.02 if kind == "labels" else 0.08)


def test_with_negatives_the_order_is_that_of_bayes():
    given, _ = features(0, 4000)
    rng = np.random.default_rng(2)
    negatives = given._replace(values=rng.normal(size=(4000, 2)) * [1.0, 3.0] + [5.0, -1.0])
    detector = CopyDetector.without_labels(given, negatives)
    fresh, is_copy = features(1)
    risk = detector.score(fresh)
    best = exact(fresh)
    areas = [roc_auc(score[is_copy], score[~is_copy]).value for score in (risk, best)]
    assert areas[0] == pytest.approx(areas[1], abs=0.005)
    assert np.all((risk >= 0) & (risk <= 1))


def test_samples_that_are_not_finite_are_unknown():
    given, is_copy = features(0)
    plain = CopyDetector.fit(given, is_copy)
    spoiled = given._replace(values=np.concatenate([given.values, [[np.nan, 1.0]]]))
    detector = CopyDetector.fit(spoiled, np.append(is_copy, True))
    np.testing.assert_array_equal(detector.weights, plain.weights)
    risk = detector.score(spoiled)
    assert np.isnan(risk[-1])
    np.testing.assert_array_equal(risk[:-1], plain.score(given))


def test_the_same_again_from_a_file(tmp_path):
    given, is_copy = features(0)
    for detector in (CopyDetector.fit(given, is_copy), CopyDetector.without_labels(given)):
        detector.save(tmp_path / "detector.json")
        loaded = CopyDetector.load(tmp_path / "detector.json")
        assert loaded.settings == detector.settings
        np.testing.assert_array_equal(loaded.score(given), detector.score(given))
        assert b"pickle" not in (tmp_path / "detector.json").read_bytes()


def test_a_damaged_file(tmp_path):
    given, is_copy = features(0)
    file = tmp_path / "detector.json"
    CopyDetector.fit(given, is_copy).save(file)
    content = json.loads(file.read_text())
    for damaged in (
        file.read_text()[:200],
        "[]",
        json.dumps(content | {"format": 7}),
        json.dumps(content | {"weights": [1.0]}),
        json.dumps(content | {"kind": "guess"}),
        json.dumps({name: value for name, value in content.items() if name != "bias"}),
        *(
            json.dumps(content | {name: value})
            for name, value in (
                ("bias", None),
                ("bias", "x"),
                ("bias", float("nan")),
                ("settings", None),
                ("floor", float("nan")),
                ("floor", 2.0),
                ("scale", [0.0, 1.0]),
                ("names", "ab"),
                ("names", [1, 2]),
            )
        ),
    ):
        file.write_text(damaged)
        with pytest.raises(ValueError, match=r"detector\.json \([\d,]+ bytes\) is no detector"):
            CopyDetector.load(file)
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        CopyDetector.load(tmp_path / "none.json")


@pytest.mark.parametrize("name", list(SETTINGS))
def test_features_of_other_settings_are_refused_by_name(name):
    given, is_copy = features(0)
    detector = CopyDetector.fit(given, is_copy)
    other = given._replace(settings=SETTINGS | {name: "other"})
    with pytest.raises(ValueError, match=f"have the {name} of the detector, {SETTINGS[name]}, got"):
        detector.score(other)
    if name in ("model", "earlier"):
        transferred = detector.score(other, is_other_model=True)
        np.testing.assert_array_equal(transferred, detector.score(given))


def test_other_features_are_refused():
    given, is_copy = features(0)
    detector = CopyDetector.fit(given, is_copy)
    with pytest.raises(ValueError, match=r"features must be \['snap', 'spread'\], got"):
        detector.score(given._replace(names=("snap", "flipd")))


def test_too_little_to_fit_on():
    given, is_copy = features(0)
    with pytest.raises(ValueError, match="labels must mark at least 5, got 0 copies"):
        CopyDetector.fit(given, np.zeros_like(is_copy))
    with pytest.raises(ValueError, match="labels must mark at least 5, got 0 others"):
        CopyDetector.fit(given, np.ones_like(is_copy))
    with pytest.raises(ValueError, match="labels must mark at least 5, got"):
        CopyDetector.fit(given.rows(slice(0, 1)), is_copy[:1])
    with pytest.raises(ValueError, match=r"labels must be bool, \(2000,\), got"):
        CopyDetector.fit(given, is_copy[:3])
    with pytest.raises(ValueError, match="features must be at least 10, got 1 finite samples"):
        CopyDetector.without_labels(given.rows(slice(0, 1)))
    with pytest.raises(ValueError, match="negatives must be at least 10, got 2 finite"):
        CopyDetector.without_labels(given, given.rows(slice(0, 2)))
    alike = given._replace(values=np.random.default_rng(3).normal(size=(1000, 2)))
    for one_group in (alike, alike._replace(values=np.ones((1000, 2)))):
        with pytest.raises(ValueError, match="features must have two groups of snap"):
            CopyDetector.without_labels(one_group)
    split = np.random.default_rng(4).normal(size=(1000, 2)) - 3.0
    split[900:, 0] += 9.0
    with pytest.raises(ValueError, match="the earlier model guesses the median sample better"):
        CopyDetector.without_labels(alike._replace(values=split))
    without = given.only(["spread"])
    with pytest.raises(ValueError, match="features must have snap among them"):
        CopyDetector.without_labels(without)


def test_no_risk_is_certain():
    """Platt's targets: of samples that a feature separates, 20 do not prove a rule."""
    values = np.linspace(-3, 3, 20)[:, None]
    separable = CopyFeatures(values, ("snap",), SETTINGS)
    risk = CopyDetector.fit(separable, values[:, 0] > 0).score(separable)
    assert 0.01 < risk.min() < 0.1
    assert 0.9 < risk.max() < 0.99


def test_features_of_other_settings_are_not_joined():
    given, _ = features(0)
    assert len(given.joined([given]).values) == 4000
    with pytest.raises(ValueError, match=r"features must have the noise of the first, d, got"):
        given.joined([given._replace(settings=SETTINGS | {"noise": "other"})])


def two_models(seed):
    """A model of ten rows in 16 dimensions, and the Gaussian of their moments; 120 samples.

    Half of the samples are those of a wider model, so that they are no copies.
    """
    rows = np.random.default_rng(0).normal(size=(10, 16)).astype(np.float32)
    model = EmpiricalField(rows)
    earlier = GaussianField(rows.mean(axis=0), np.float32(1.0))
    x0 = noise(jax.random.key(seed), jnp.arange(120), (16,))
    run = sample(model, x0, num_steps=40)
    other = sample(earlier, x0, num_steps=40)
    is_odd = np.arange(120) % 2 == 1
    mixed = np.where(is_odd[:, None], run.x1, other.x1)
    return rows, model, earlier, dataclasses.replace(run, x1=jnp.asarray(mixed)), is_odd


@pytest.mark.long
def test_copies_are_detected_without_the_training_rows():
    """A network has learnt its rows by heart, which are then deleted."""
    rows = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    network = network_field("mlp", (6,), key=jax.random.key(0), width=64, depth=2)
    options = {"optimizer": optax.adam(3e-3), "batch_size": 64, "key": jax.random.key(1)}
    model = fit(network, jnp.asarray(rows), num_steps=1500, **options).field
    earlier = GaussianField(rows.mean(axis=0), np.float32(1.0))
    settings = {"key": jax.random.key(5), "earlier": earlier, "bins": 4}

    def samples(seed):
        x0 = noise(jax.random.key(seed), jnp.arange(120), (6,))
        return sample(model, x0, num_steps=40)

    run, fresh = samples(1), samples(2)
    labels, truth = (
        memorization(np.asarray(part.x1), rows, progress=False).memorized for part in (run, fresh)
    )
    assert 0.2 < labels.mean() < 0.95
    detector = CopyDetector.fit(copy_features(model, run, **settings), labels)
    rows[:] = np.nan  # whoever looked at them now would know nothing
    risk = detector.score(copy_features(model, fresh, **settings))
    assert roc_auc(risk[truth], risk[~truth]).value > 0.8


@pytest.mark.long
def test_features_are_the_statistics_whatever_the_batch():
    _, model, earlier, run, _ = two_models(1)
    options = {"key": jax.random.key(5), "earlier": earlier, "bins": 4}
    together = copy_features(model, run, **options)
    parts = copy_features(model, run, batch_size=50, **options)
    assert together.names == (
        *(f"{kind} {part:.2f}" for kind in ("speed", "bending") for part in (0, 0.25, 0.5, 0.75)),
        "snap", "self_consistency", "spread",
    )  # fmt: skip
    np.testing.assert_allclose(parts.values, together.values, rtol=1e-5, atol=1e-5)
    assert together.settings["steps"] == 40
    assert together.settings["model"] != together.settings["earlier"]
    alone = together.only(["snap", "spread"])
    assert (alone.settings["bins"], alone.settings["steps"], alone.settings["grid"]) == (
        0,
        None,
        None,
    )
    np.testing.assert_array_equal(alone.values, together.values[:, [8, 10]])
    other = copy_features(model, run, **options | {"key": jax.random.key(6)}, statistics=["snap"])
    assert other.settings["noise"] != together.settings["noise"]
    with pytest.raises(ValueError, match="earlier must be a checkpoint from before it copied"):
        copy_features(model, run, **options | {"earlier": model})
    with pytest.raises(ValueError, match="statistics must be of"):
        copy_features(model, run, statistics=["gut feeling"], **options)
    with pytest.raises(ValueError, match="name must be one of"):
        together.column("gut feeling")


def test_a_failed_sample_has_no_features():
    _, model, earlier, run, _ = two_models(1)
    bad = dataclasses.replace(run, status=run.status.at[3].set(1))
    values = copy_features(model, bad, key=jax.random.key(5), earlier=earlier, bins=4).values
    assert np.isnan(values[3]).all()
    assert np.isfinite(np.delete(values, 3, axis=0)).all()
