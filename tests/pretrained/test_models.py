"""The models that ship: what they are asked to be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.claims._recipes import GENERAL, MEMORIZING
from benchmarks.claims._variants import VARIANTS
from kinetic_jax import (
    memorization,
    noise,
    pretrained,
    pretrained_classifier,
    pretrained_steps,
    sample,
)
from kinetic_jax._pretrained import MODELS, _load
from kinetic_jax._pretrained._load import CLONE, WEIGHTS
from kinetic_jax._pretrained._pack import read_about
from kinetic_jax.data import load_images
from kinetic_jax.networks import Scaling

NAMES = list(MODELS)


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return request.param, pretrained(request.param)


def test_what_a_user_is_told(model):
    name, field = model
    assert field.event_shape == (28, 28, 1)
    assert field.scaling == Scaling(127.5, 127.5)
    labelled = name == "fashion-mnist"
    assert field.num_classes == (10 if labelled else None)
    assert (None if field.null_cond is None else int(field.null_cond)) == (10 if labelled else None)


def test_files_are_small():
    files = [*WEIGHTS.glob("*.npz"), *CLONE.glob("*.npz")]
    own = [file for file in files if not file.name.startswith(tuple(VARIANTS))]
    assert len(own) == 3 + len(MEMORIZING.marks)
    assert all(file.stat().st_size <= 20e6 for file in files)


def test_an_evaluation_is_cheap(model):
    name, field = model
    cond = np.int32(0) if name == "fashion-mnist" else None
    one = jax.jit(lambda field, t, x, cond: field(t, x, cond))
    x = np.zeros(field.event_shape, np.float32)
    cost = one.lower(field, np.float32(0.5), x, cond).compile().cost_analysis()
    assert 1e6 < cost["flops"] <= 20e6


@pytest.mark.parametrize(("name", "recipe"), [("general", GENERAL), ("memorizing", MEMORIZING)])
def test_made_by_the_recipes_of_today(name, recipe):
    about = read_about(WEIGHTS / f"{name}.npz")["recipe"]
    for setting, value in vars(recipe).items():
        assert about[setting] == (list(value) if isinstance(value, tuple) else value)


def test_checkpoints():
    assert pretrained_steps("fashion-mnist-1024") == list(MEMORIZING.marks)
    assert len(MEMORIZING.marks) >= 8
    assert pretrained_steps("fashion-mnist") == []
    first, last = (pretrained("fashion-mnist-1024", step=s) for s in MEMORIZING.marks[::7])
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(last), strict=True)
    )


def test_checkpoints_of_an_installed_package(monkeypatch, tmp_path):
    """One before the onset comes with it; the others are in a clone, and the error says so."""
    monkeypatch.setattr(_load, "CLONE", tmp_path / "benchmarks")
    assert pretrained_steps("fashion-mnist-1024") == [1000]
    assert pretrained("fashion-mnist-1024", step=1000).event_shape == (28, 28, 1)
    with pytest.raises(ValueError, match=r"step must be one of \[1000\] \(a clone of .* has more"):
        pretrained("fashion-mnist-1024", step=2000)


def test_errors():
    with pytest.raises(
        ValueError, match=r"name must be one of 'fashion-mnist', 'fashion-mnist-1024'"
    ):
        pretrained("cifar")
    with pytest.raises(ValueError, match=r"step must be one of \[250, .*got 3"):
        pretrained("fashion-mnist-1024", step=3)
    with pytest.raises(ValueError, match=r"name must be 'fashion-mnist', got 'digits'"):
        pretrained_classifier("digits")


@pytest.mark.parametrize("value", [None, 3, ["fashion-mnist"], np.zeros(3), b"fashion-mnist"])
def test_names_and_steps_of_other_kinds(value, own_messages):
    for function in (pretrained, pretrained_steps, pretrained_classifier):
        with pytest.raises(ValueError, match=r"^name must be"):
            function(value)
    if value is not None:
        with pytest.raises(ValueError, match=r"^step must be one of"):
            pretrained("fashion-mnist-1024", step=value)


@pytest.fixture(scope="module")
def x0():
    return np.asarray(noise(jax.random.key(0), jnp.arange(200), (28, 28, 1)))


judged = jax.jit(lambda judge, images: judge(images).argmax(axis=1))


@pytest.mark.long
def test_samples_are_of_the_class_they_are_asked_for(x0):
    field, judge = pretrained("fashion-mnist"), pretrained_classifier()
    labels = np.arange(60, dtype=np.int32) % 10
    run = sample(field, x0[:60], labels, num_steps=20).check()
    assert np.mean(np.asarray(judged(judge, run.x1)) == labels) > 0.6  # a tenth by chance
    # And of the images' range: what is beyond [−1, 1] is little.
    assert np.mean(np.abs(np.asarray(run.x1)) > 1.1) < 0.05


@pytest.mark.long
def test_the_model_of_few_copies_them(x0):
    """At least 15% at 100 steps; 200 samples tell that from held-out images' none."""
    field, few = pretrained("fashion-mnist-1024"), load_images("fashion-mnist-1024").images
    copies = memorization(sample(field, x0, num_steps=100).check().x1, few)
    assert copies.high > 0.15
    assert copies.low > 0.05


def test_the_classifier_tells_images_it_never_saw():
    """The 1,024 that ship, which it was kept from; 0.91 of them, with a standard error of 0.01."""
    images = load_images("fashion-mnist-1024")
    classes = np.asarray(judged(pretrained_classifier(), images.images))
    assert np.mean(classes == images.labels) > 0.87
    assert read_about(WEIGHTS / "classifier.npz")["accuracy"] >= 0.90
