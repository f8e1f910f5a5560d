"""Descriptions of fields on disk that somebody wrote by hand, of networks nobody should build."""

import hashlib
import json
import shutil
import time

import equinox as eqx
import jax
import numpy as np
import pytest

from kinetic_jax import load_field, save_field
from kinetic_jax.networks import network_field


@pytest.fixture(scope="module")
def field():
    settings = {"key": jax.random.key(0), "width": 8, "depth": 1}
    shapes = eqx.filter_eval_shape(lambda: network_field("mlp", (2,), **settings))
    return jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)


def craft(folder, change):
    """Changes the description of a saved field, and its checksum with it."""
    path = folder / "0" / "about" / "metadata"
    about = json.loads(path.read_text())
    del about["self"]
    change(about)
    text = json.dumps(about, sort_keys=True)
    path.write_text(json.dumps(about | {"self": hashlib.sha256(text.encode()).hexdigest()}))


def in_field(**fields):
    return lambda about: about["field"].update(fields)


def in_config(**settings):
    return lambda about: about["field"]["config"].update(settings)


CRAFTED = {
    "network": (in_field(network="x"), r"field\.network must be one of 'mlp'"),
    "network of another kind": (in_field(network=["mlp"]), r"field\.network must be a string"),
    "setting": (in_config(evil=1), r"field\.config must hold settings of 'mlp', got \['evil'\]"),
    "width": (in_config(width=10**6), r"'field' must hold float32 of shape"),
    "beyond integers": (in_config(width=10**400), r"field\.config\.width must be a whole number"),
    "depth": (in_config(depth=100_000), r"field\.config must fit \d+ stored arrays, got many"),
    "no depth": (in_config(depth=None), r"field\.config\.depth must be a whole number, got None"),
    "dtype": (in_config(dtype="x"), r"field\.config\.dtype must be None or a floating dtype"),
    "skip": (in_config(skip=1), r"field\.config\.skip must be true or false, got 1"),
    "side": (in_field(event_shape=[-2]), r"field\.event_shape\[0\] must be a whole number"),
    "shape": (in_field(event_shape=2), r"field\.event_shape must be a list, got 2"),
    "classes": (in_field(num_classes=-1), r"field\.num_classes must be a whole number in"),
    "scale": (in_field(scaling={"shift": 0, "scale": 0}), r"field\.scaling\.scale must not be 0"),
    "scaling": (in_field(scaling={"evil": 1}), r"field\.scaling must have no fields but shift, sc"),
    "more": (in_field(evil=1), r"field must have no fields but network, event_shape"),
    "less": (lambda about: about["field"].pop("config"), r"field must have the fields .*'config'"),
    "list": (lambda about: about.update(field=[1]), r"description\.field must be an object"),
    "digests": (lambda about: about.update(digests=3), r"description\.digests must be an object"),
    "settings": (lambda about: about.update(settings=3), r"description\.settings must be an obj"),
}  # fmt: skip


def test_crafted_descriptions(field, tmp_path):
    """Checksums that fit, and a network that nobody should build: refused at once, by name."""
    save_field(tmp_path / "saved", field)
    (tmp_path / "crafted").mkdir()
    for name, (change, message) in CRAFTED.items():
        folder = tmp_path / "crafted" / name
        shutil.copytree(tmp_path / "saved", folder)
        craft(folder, change)
        began = time.monotonic()
        with pytest.raises(ValueError, match=message) as raised:
            load_field(folder)
        assert f"checkpoint {folder}/0 " in str(raised.value)
        assert time.monotonic() - began < 30, name  # a hundred thousand layers take minutes


def test_descriptions_nested_too_deeply(field, tmp_path):
    save_field(tmp_path, field)
    path = tmp_path / "0" / "about" / "metadata"
    for depth in (900, 100_000):
        path.write_text('{"format": 1, "field": ' + "[" * depth + "]" * depth + "}")
        with pytest.raises(ValueError, match=f"checkpoint {tmp_path}/0 is damaged"):
            load_field(tmp_path)
