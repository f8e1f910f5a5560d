"""Models as files: what is kept, how exactly, and what is refused."""

import functools
import json
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax._digest import digest
from kinetic_jax._pretrained import (
    _pack,
    read_classifier,
    read_field,
    write_classifier,
    write_field,
)
from kinetic_jax._pretrained._pack import read_about
from kinetic_jax.networks import ImageClassifier, NetworkField, Scaling, network_field

KEY = jax.random.key(0)


@functools.cache
def random_field(**settings):
    settings |= {"key": KEY, "width": 8, "depth": 1}
    shapes = eqx.filter_eval_shape(lambda: network_field("mlp", (3,), **settings))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jax.device_put(rng.normal(size=leaf.shape).astype(leaf.dtype)), shapes
    )


@functools.cache
def judge():
    return ImageClassifier((4, 4, 1), 3, widths=(6, 5), key=KEY)


def weights(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))


def test_round_trip(tmp_path):
    field = random_field(num_classes=4, scaling=Scaling(2.0, 3.0))
    write_field(tmp_path / "field.npz", field, recipe={"steps": 7})
    again = read_field(tmp_path / "field.npz")
    assert again.spec == field.spec
    for got, want in zip(weights(again), weights(field), strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_array_equal(got, np.asarray(want).astype(np.float16))
    call = jax.jit(lambda field, *inputs: field(*inputs))
    inputs = np.float32(0.5), np.array([0.3, -1.0, 2.0], np.float32), np.int32(2)
    want, got = (np.asarray(call(one, *inputs)) for one in (field, again))
    np.testing.assert_allclose(got, want, atol=0.01 * np.abs(want).max())
    assert read_about(tmp_path / "field.npz")["recipe"] == {"steps": 7}


def test_classifier(tmp_path):
    write_classifier(tmp_path / "judge.npz", judge())
    again = read_classifier(tmp_path / "judge.npz")
    images = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype(np.float32)
    call = jax.jit(lambda model, images: model(images))
    np.testing.assert_allclose(call(again, images), call(judge(), images), atol=0.02)


def test_the_same_bytes_each_time(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_field(tmp_path / name, random_field())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_damage_is_named(tmp_path):
    file = tmp_path / "field.npz"
    write_field(file, random_field())
    content = file.read_bytes()
    file.write_bytes(content[:-400])
    with pytest.raises(
        ValueError, match=rf"field\.npz \({len(content) - 400:,} bytes\) is unreadable"
    ):
        read_field(file)
    file.write_bytes(content)
    with np.load(file) as stored:
        arrays = dict(stored)
    arrays["00001"] = arrays["00001"] + np.float16(1)
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match=r"field\.npz is damaged: its weights are not what was"):
        read_field(file)
    about = json.loads(str(arrays["about"]))
    arrays["about"] = np.array(json.dumps(about | {"format": 99}))
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match=r"field\.npz must be of format 1, got 99"):
        read_field(file)
    arrays["about"] = np.array("[1]")
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match=r"field\.npz must be of format 1, got \[1\]"):
        read_field(file)


@pytest.mark.parametrize("sizes", [[], "x", None, [[10**9, 10**9]], [[16, 6], [6, 4], [4, 3]]])
def test_a_description_that_does_not_fit_the_weights(tmp_path, sizes):
    _pack._write(tmp_path / "judge.npz", judge(), {"classifier": sizes})
    with pytest.raises(ValueError, match=r"judge\.npz must fit the model that it describes"):
        read_classifier(tmp_path / "judge.npz")


def test_other_kinds_are_refused(tmp_path):
    write_field(tmp_path / "field.npz", random_field())
    with pytest.raises(ValueError, match=r"field\.npz must hold a classifier"):
        read_classifier(tmp_path / "field.npz")
    huge = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf) * 1e6), random_field())
    with pytest.raises(ValueError, match=r"weights must be finite in float16"):
        write_field(tmp_path / "huge.npz", huge)


CRAFTED = {
    "unknown network": ({"network": "x"}, r"field\.network must be one of 'mlp'"),
    "a side below 0": ({"event_shape": [-2]}, r"field\.event_shape\[0\] must be a whole number"),
    "unknown setting": ({"config": {"evil": 1}}, r"field\.config must hold settings of 'mlp'"),
    "many layers": ({"config": {"depth": 10**5}}, r"field\.config must fit \d+ stored"),
    "wide": ({"config": {"width": 10**6}}, "weights of other shapes"),
    "scale 0": ({"scaling": {"shift": 0.0, "scale": 0.0}}, r"field\.scaling\.scale must not be 0"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_descriptions(name, tmp_path):
    """The weights are intact; their description is refused before anything is built."""
    change, message = CRAFTED[name]
    file = tmp_path / "field.npz"
    write_field(file, random_field())
    with np.load(file) as stored:
        arrays = dict(stored)
    about = json.loads(str(arrays["about"]))
    about["field"] |= change
    if "config" in change:
        about["field"]["config"] = dict(random_field().spec.config) | change["config"]
    np.savez(file, **arrays | {"about": np.array(json.dumps(about))})
    with pytest.raises(ValueError, match=rf"field\.npz .*{message}"):
        read_field(file)


def test_descriptions_nested_too_deeply(tmp_path):
    file = tmp_path / "field.npz"
    about = '{"format": 1, "field": ' + "[" * 100_000 + "]" * 100_000 + "}"
    np.savez(file, about=np.array(about))
    with pytest.raises(ValueError, match=r"field\.npz .* is unreadable"):
        read_field(file)


class Derived(NetworkField):
    def __call__(self, t, x, cond=None):
        return 2 * super().__call__(t, x, cond)


def test_a_field_that_computes_something_else_is_not_written(tmp_path):
    field = random_field()
    replaced = eqx.tree_at(lambda f: f.velocity, field, lambda t, x, c: 2 * x)
    for other in (Derived(field.velocity, field.spec), replaced):
        with pytest.raises(ValueError, match="field must be made by network_field"):
            write_field(tmp_path / "field.npz", other)
    assert not list(tmp_path.iterdir())


def crafted(file, weights, about):
    """A pack of any weights, its digest fitting."""
    numbered = {f"{number:05d}": weight for number, weight in enumerate(weights)}
    said = {"format": 1, "digest": digest(weights)} | about
    np.savez(file, about=np.array(json.dumps(said)), **numbered)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([np.zeros((4, 1), np.float16), np.zeros(1, np.float16)], "no classifier that can be bui"),
        ([np.zeros((0, 3), np.float16), np.zeros(3, np.float16)], "no classifier that can be bui"),
        ([np.full((4, 3), "a"), np.full(3, "a")], "its weights must be float16, got"),
        ([np.zeros((4, 3), "datetime64[s]")], "its weights must be float16, got"),
        ([np.zeros((4, 3), np.float32), np.zeros(3, np.float32)], "its weights must be float16"),
    ],
    ids=["one class", "no inputs", "strings", "dates", "float32"],
)
def test_weights_that_are_no_classifier(weights, message, tmp_path):
    sizes = [list(weight.shape) for weight in weights if weight.ndim == 2]
    crafted(tmp_path / "judge.npz", weights, {"classifier": sizes})
    with pytest.raises(ValueError, match=rf"judge\.npz .*{message}"):
        read_classifier(tmp_path / "judge.npz")


def test_more_layers_than_arrays(tmp_path):
    """A layer has several arrays: as many layers as arrays are too many."""
    about = random_field().spec.to_json()
    about["config"]["depth"] = 90
    began = time.monotonic()
    crafted(tmp_path / "field.npz", 90 * [np.zeros((), np.float16)], {"field": about})
    with pytest.raises(ValueError, match=r"field\.npz .*fit 90 stored arrays, got many more"):
        read_field(tmp_path / "field.npz")
    assert time.monotonic() - began < 5


def test_nothing_is_unpacked(tmp_path):
    """Half a megabyte of zeros unpacks to half a gigabyte."""
    file = tmp_path / "field.npz"
    write_field(file, random_field())
    with np.load(file) as stored:
        np.savez_compressed(file, **dict(stored) | {"00001": np.zeros(2**20, np.float16)})
    with pytest.raises(
        ValueError, match=r"field\.npz .*must be stored uncompressed, got compressed"
    ):
        read_field(file)
