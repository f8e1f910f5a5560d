"""Descriptions of networks: building from them, scaling, and refusals."""

import json
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from kinetic_jax.networks import Scaling, network_field
from kinetic_jax.networks._network_field import described_field
from kinetic_jax.networks._spec import NetworkSpec

KEY = jax.random.key(0)
TWO = jnp.asarray(2.0)
TINY_UNET = {
    "base_channels": 8, "multiples": (1, 2), "attention": (False, True), "num_res_blocks": 1
}  # fmt: skip
FIELDS = {
    "mlp": lambda: network_field("mlp", (3,), key=KEY, width=8, depth=1),
    "mlp with everything": lambda: network_field(
        "mlp", (2, 3), key=KEY, num_classes=4, scaling=Scaling(0.5, 0.25), width=8, depth=2,
        dtype="bfloat16",
    ),
    "mixer": lambda: network_field("mixer", (4, 4, 1), key=KEY, patch_size=2, width=8, depth=1),
    "unet with lists": lambda: network_field(
        "unet", [4, 4, 2], key=KEY, num_classes=2, time_bins=10,
        **TINY_UNET | {"multiples": [1, 2], "attention": [False, True]},
    ),
    "numpy numbers": lambda: network_field(
        "mlp", (np.int64(3),), key=KEY, num_classes=np.int64(4), width=np.int32(8), depth=1,
        scaling=Scaling(np.float32(0.5), TWO), dtype=jnp.bfloat16,
    ),
}  # fmt: skip


def structure(module):
    return {jax.tree_util.keystr(path): (leaf.shape, leaf.dtype)
            for path, leaf in jax.tree.leaves_with_path(nnx.state(module))}  # fmt: skip


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize("build", FIELDS.values(), ids=FIELDS)
def test_json_round_trip(build):
    field = eqx.filter_eval_shape(build)
    again = NetworkSpec.from_json(json.loads(json.dumps(field.spec.to_json())))
    assert again == field.spec
    assert hash(again) == hash(field.spec)
    # And it says enough: the network built from it has the same parameters by name and shape.
    built = nnx.eval_shape(lambda: again.build(nnx.Rngs(0)))
    model = nnx.merge(field.velocity.graphdef, field.velocity.state)
    assert structure(built) == structure(model)


@pytest.mark.usefixtures("own_messages")
def test_settings_in_the_description():
    field = eqx.filter_eval_shape(FIELDS["mlp with everything"])
    assert field.spec.to_json() == {
        "network": "mlp", "event_shape": (2, 3), "num_classes": 4,
        "scaling": {"shift": 0.5, "scale": 0.25},
        "config": {"width": 8, "depth": 2, "skip": False, "max_frequency": 100.0,
                   "dtype": "bfloat16"},
    }  # fmt: skip
    assert (field.event_shape, field.num_classes, field.scaling) == ((2, 3), 4, Scaling(0.5, 0.25))
    # A dtype given as an object is the one given by name.
    numpy_numbers = eqx.filter_eval_shape(FIELDS["numpy numbers"])
    assert dict(numpy_numbers.spec.config)["dtype"] == "bfloat16"


def test_same_spec_compiles_once():
    traces = []

    @jax.jit
    def call(field, x):
        traces.append(1)
        return field(jnp.array(0.5), x)

    for number in (0.0, 1.0):
        shapes = eqx.filter_eval_shape(FIELDS["mlp"])
        field = jax.tree.map(lambda leaf: np.full(leaf.shape, number, leaf.dtype), shapes)  # noqa: B023
        call(field, np.zeros(3, np.float32))
    assert len(traces) == 1


@given(
    st.floats(-1e3, 1e3),
    st.floats(1e-2, 1e3),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5),
)
def test_scaling(shift, scale, raw):
    scaling, raw = Scaling(shift, scale), np.array(raw)
    # Rounding of raw − shift, back at the size of the raw data.
    np.testing.assert_allclose(scaling.invert(scaling.apply(raw)), raw, rtol=0, atol=1e-11)
    x = raw / 100
    np.testing.assert_allclose(scaling.apply(scaling.invert(x)), x, rtol=1e-9, atol=1e-8)
    assert scaling.apply(shift) == 0
    assert scaling.apply(shift + scale) == pytest.approx(1.0, abs=1e-9 * (1 + abs(shift) / scale))


IMAGE = (8, 8, 1)
BAD = {
    "unknown network": (
        "resnet",
        IMAGE,
        {},
        r"network must be one of 'mlp', 'mixer', 'unet', got",
    ),
    "odd sides": ("unet", (28, 30, 1), {}, r"event_shape must have sides divisible by 4 .*30"),
    "no image": ("unet", (64,), {}, r"event_shape must be \(height, width, channels\)"),
    "groups": ("unet", IMAGE, {"base_channels": 12}, r"base_channels must .*groups, 8, got 12"),
    "heads": ("unet", IMAGE, {"heads": 3}, r"base_channels must be a multiple of heads, 3, got 32"),
    "attention": ("unet", IMAGE, {"multiples": (1, 2)}, r"attention must have one entry for each"),
    "no levels": ("unet", IMAGE, {"multiples": (), "attention": ()}, r"attention must have one"),
    "patches": ("mixer", (8, 6, 1), {}, r"event_shape must be .* sides that 4 divides, got \(8, 6"),
    "vectors to mix": ("mixer", (16,), {}, r"event_shape must be \(height, width, channels\)"),
    "no blocks": (
        "unet",
        IMAGE,
        {"num_res_blocks": 0},
        r"num_res_blocks must be a whole number >= 1",
    ),
    "no patch": (
        "mixer",
        IMAGE,
        {"patch_size": 0},
        r"patch_size must be a whole number >= 1",
    ),
    "odd width": ("mlp", (2,), {"width": 7}, r"width must be an even whole number >= 4, got 7"),
    "narrow": ("mlp", (2,), {"width": 2}, r"width must be an even whole number >= 4, got 2"),
}


@pytest.mark.parametrize(("network", "shape", "config", "message"), BAD.values(), ids=BAD)
def test_construction_errors(network, shape, config, message):
    with pytest.raises(ValueError, match=message):
        network_field(network, shape, key=KEY, **config)


@pytest.mark.usefixtures("own_messages")
def test_arguments_of_another_kind():
    others = [None, "x", 1j, [1.5], [[None]], float("nan"), {"a": {"b": "x"}}, object()]
    arguments = {"network": "mlp", "event_shape": (2,), "key": KEY}
    meant = {"num_classes", "scaling", "dtype"}  # None
    for name in (*arguments, "num_classes", "scaling", "width", "depth", "skip", "dtype"):
        for value in others:
            if value is None and name in meant:
                continue
            with pytest.raises(ValueError, match=name):
                network_field(**arguments | {name: value})
    for shift, scale in (("x", 1.0), (0.0, None), (float("nan"), 1.0), (1.0, 0.0)):
        with pytest.raises(ValueError, match=r"^(shift|scale) must"):
            Scaling(shift, scale)


@pytest.mark.parametrize(("network", "shape"), [("mlp", (2,)), ("unet", IMAGE)])
def test_unknown_setting(network, shape):
    with pytest.raises(TypeError, match="dropout"):
        network_field(network, shape, key=KEY, dropout=0.1)


@pytest.mark.parametrize(
    ("network", "shape", "config"),
    [
        ("mlp", (2,), {"width": 4, "depth": 0}),
        ("mlp", (2,), {"width": 4, "depth": 3, "skip": True}),
        ("mixer", (4, 4, 1), {"width": 4, "told": 4, "depth": 2}),
        ("unet", (4, 4, 1), TINY_UNET | {"multiples": (1,), "attention": (False,)}),
    ],
)  # fmt: skip
def test_networks_that_do_not_fit_the_stored_arrays(network, shape, config):
    field = eqx.filter_eval_shape(
        lambda: network_field(network, shape, key=KEY, num_classes=3, **config)
    )
    count, description = len(jax.tree.leaves(field)), field.spec.to_json()
    assert described_field(description, count).spec == field.spec
    for other in (count - 1, count + 1):
        with pytest.raises(ValueError, match=rf"fit {other} stored arrays, got {count} arr"):
            described_field(description, other)


def shallow_spec():
    build = lambda: network_field("mlp", (2,), key=KEY, width=4, depth=1)  # noqa: E731
    return eqx.filter_eval_shape(build).spec.to_json()


def test_deep_networks_are_refused_before_they_are_built():
    spec = shallow_spec()
    spec["config"]["depth"] = 100_000
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"field\.config must fit 18 stored arrays, got many more"):
        described_field(spec, 18)
    assert time.monotonic() - began < 15  # all of it takes minutes


def test_the_structure_of_a_deep_network_takes_linear_time():
    spec = shallow_spec()
    spec["config"]["depth"] = 100
    began = time.monotonic()
    assert len(jax.tree.leaves(described_field(spec, 810))) == 810
    assert time.monotonic() - began < 15  # in quadratic time a minute


def test_a_spec_says_its_defaults():
    """So that a default changed later does not change what was saved before."""
    field = eqx.filter_eval_shape(lambda: network_field("mlp", (2,), key=KEY, width=8))
    assert dict(field.spec.config) == {
        "width": 8, "depth": 4, "skip": False, "max_frequency": 100.0, "dtype": None,
    }  # fmt: skip
