"""Models of other images: trained to files, gone on with, and read back."""

import dataclasses
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.claims import _variants, train_models, trained_subjects, with_held_out
from benchmarks.claims._recipes import GENERAL, MEMORIZING, require_alike, shortened
from benchmarks.claims._subjects import fitting, with_control
from kinetic_jax._digest import digest as digest_of
from kinetic_jax._pretrained import read_about, read_field
from kinetic_jax.data import load_images
from kinetic_jax.networks import network_field

pytestmark = pytest.mark.long

TINY = dataclasses.replace(GENERAL, config={"patch_size": 4, "width": 8, "depth": 1}, steps=20)
FEW = dataclasses.replace(MEMORIZING, config={"width": 8, "depth": 1, "skip": True}, num_train=50,
                          steps=30, marks=(10, 20))  # fmt: skip
FILES = ["classifier.npz", "general.npz", "memorizing.npz", "memorizing-step-10.npz",
         "memorizing-step-20.npz"]  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return folder, trained_subjects(digits, folder, TINY, FEW, epochs=12)


@pytest.fixture
def copied(trained, tmp_path):
    """A folder of its own with the same models."""
    return Path(shutil.copytree(trained[0], tmp_path / "models"))


def test_trained_and_gone_on_with(digits, trained, copied):
    subjects = trained[1]
    first = {name: (copied / name).read_bytes() for name in FILES}
    assert sorted(subjects.checkpoints) == [10, 20, 30]
    assert subjects.general.null_cond == 10
    assert subjects.memorizing.num_classes is None
    # The judge tells digits it never saw.
    logits = subjects.logits(subjects.data.held_out)
    assert np.mean(logits.argmax(axis=1) == subjects.data.held_out_labels) > 0.9
    # As after a kill before the last file was written: it is made again, the same.
    (copied / "memorizing.npz").unlink()
    again = trained_subjects(digits, copied, TINY, FEW, epochs=12)
    assert {name: (copied / name).read_bytes() for name in FILES} == first
    x = jnp.ones((8, 8, 1))
    want, got = (s.memorizing(jnp.array(0.5), x) for s in (subjects, again))
    np.testing.assert_array_equal(got, want)


def test_variants_differ_in_one_thing(digits, tmp_path, monkeypatch):
    """Centred images, another coupling, pairs; each is kept, and refused if made otherwise."""
    few = digits._replace(images=digits.images[:60], labels=digits.labels[:60])
    quick = dataclasses.replace(TINY, steps=2, batch_size=8)
    monkeypatch.setattr(_variants, "pretrained", lambda name: _field_of(few))
    for name, variant in {
        "plain": _variants.Variant(quick),
        "centred": _variants.Variant(quick, is_centred=True),
        "ot": _variants.Variant(quick, coupling="minibatch_ot"),
        "reflow": _variants.Variant(quick, num_pairs=20),
    }.items():
        monkeypatch.setitem(_variants.VARIANTS, name, variant)
        for _ in range(2):  # the second finds the first
            (file,) = _variants.train_variant(name, few, tmp_path, say=lambda message: None)
        assert read_about(file)["recipe"]["steps"] == 2
    plain, centred, ot, straight = (
        read_about(tmp_path / f"{name}.npz") for name in ("plain", "centred", "ot", "reflow")
    )
    assert plain["made_of"] == ot["made_of"] != centred["made_of"]
    assert centred["made_of"] == digest_of([few.images - few.images.mean(axis=0), few.labels])
    assert (ot["coupling"], straight["num_pairs"]) == ("minibatch_ot", 20)
    fields = [read_field(tmp_path / f"{name}.npz") for name in ("plain", "ot")]
    pairs = zip(*map(jax.tree.leaves, fields), strict=True)
    assert not all(np.array_equal(*pair) for pair in pairs)
    other = _variants.Variant(quick, num_pairs=30)
    monkeypatch.setitem(_variants.VARIANTS, "reflow", other)
    with pytest.raises(ValueError, match=r"reflow\.npz is a model of another num_pairs"):
        _variants.train_variant("reflow", few, tmp_path, say=lambda message: None)


def _field_of(data):
    return network_field(
        "mixer", data.event_shape, key=jax.random.key(0), num_classes=10, **TINY.config
    )


def test_models_that_were_not_trained_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(_variants, "WEIGHTS", tmp_path)
    assert _variants.variant("general-centred") is None
    assert _variants.coupled_variants() == {}
    assert _variants.seeded_variants() == {}


def test_held_out_images_are_none_of_the_others(digits):
    complete = with_held_out(digits)
    assert len(complete.held_out) == 1797 // 6
    rows = np.concatenate([complete.images, complete.held_out]).reshape(1797, -1)
    want = np.sort(digits.images.reshape(1797, -1).sum(axis=1))
    np.testing.assert_allclose(np.sort(rows.sum(axis=1)), want, rtol=1e-6)
    assert with_held_out(complete) is complete
    assert jax.tree.leaves(complete.labels)[0].shape == (1797 - 1797 // 6,)


def test_models_of_other_images_are_refused(digits, copied):
    other = with_held_out(digits._replace(images=-digits.images))
    with pytest.raises(ValueError, match=r"classifier\.npz is a model of other images"):
        train_models(other, copied, TINY, FEW, epochs=12)
    # The judge has not seen the images that are copied.
    seen = [-other.images[FEW.num_train :], other.labels[FEW.num_train :]]
    assert read_about(copied / "classifier.npz")["made_of"] == digest_of(seen)
    with pytest.raises(ValueError, match=r"general\.npz is a model of other images"):
        require_alike(copied / "general.npz", {"made_of": digest_of([other.images])})


def test_models_of_other_recipes_are_refused(digits, copied):
    complete = with_held_out(digits)
    with pytest.raises(ValueError, match=r"classifier\.npz is a model of another epochs"):
        train_models(complete, copied, TINY, FEW, epochs=2)
    slower = dataclasses.replace(TINY, learning_rate=1e-4)
    with pytest.raises(ValueError, match=r"general\.npz is a model of another recipe"):
        train_models(complete, copied, slower, FEW, epochs=12)
    with pytest.raises(ValueError, match=r"classifier\.npz is a model of another recipe"):
        require_alike(copied / "classifier.npz", {"recipe": {}})  # it says nothing of one


def test_the_control_is_the_same_network_on_all_images(trained, copied):
    subjects = dataclasses.replace(trained[1], folder=copied)
    controlled = with_control(subjects, 15)
    assert list(controlled.control) == [10]
    assert jax.tree.structure(controlled.control[10]) == jax.tree.structure(subjects.memorizing)
    (folder,) = copied.glob("control-*")
    about = read_about(folder / "control-step-10.npz")
    assert about["recipe"]["num_train"] is None
    assert about["recipe"]["steps"] == FEW.steps  # of the schedule, which is the same
    assert not (folder / "control.npz").exists()
    assert len(subjects.few) == 50
    # With few others there is none.
    most = dataclasses.replace(subjects, recipe=dataclasses.replace(FEW, num_train=500))
    assert with_control(most, 15).control is None


def test_a_quick_training_is_a_tenth():
    short = shortened(MEMORIZING)
    assert (short.steps, short.marks[0], short.marks[-1]) == (6000, 25, 3200)


def test_patches_divide_the_images():
    sides = {(28, 28, 1): 4, (30, 30, 3): 3, (9, 6, 1): 3, (7, 11, 1): 1}
    for shape, side in sides.items():
        assert fitting(TINY, shape).config["patch_size"] == side
    assert fitting(FEW, (7, 7, 1)) is FEW


def test_images_sorted_by_class_are_mixed(digits):
    order = np.argsort(digits.labels, kind="stable")
    images = np.repeat(digits.images[order], 8, axis=0)
    complete = with_held_out(
        digits._replace(images=images, labels=np.repeat(digits.labels[order], 8))
    )
    assert len(np.unique(complete.labels[:1024])) == 10


def test_images_without_labels_are_refused(digits, tmp_path):
    with pytest.raises(ValueError, match="digits must have labels"):
        trained_subjects(digits._replace(labels=None), tmp_path, TINY, FEW)
    one = digits._replace(labels=np.zeros_like(digits.labels))
    with pytest.raises(ValueError, match="digits must have two classes, got 1"):
        trained_subjects(one, tmp_path, TINY, FEW)
    few = digits._replace(images=digits.images[:90], labels=digits.labels[:90])
    with pytest.raises(ValueError, match="must have 20 images held out, got 15 held out"):
        trained_subjects(few, tmp_path, TINY, FEW)
