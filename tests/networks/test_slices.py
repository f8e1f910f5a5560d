"""Slices of a batch: the same numbers and derivatives, loops on CPU only, any nesting of vmap."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.export import deserialize, export

from kinetic_jax import sample
from kinetic_jax.networks import _slices, network_field

SETTINGS = {
    "base_channels": 8, "multiples": (1,), "attention": (False,), "num_res_blocks": 1,
    "groups": 4, "heads": 2,
}  # fmt: skip
BATCH, SLICE = 12, 4
ROOM = SLICE * 4 * 4 * 8 * 4  # a few samples of these small images


@pytest.fixture(autouse=True, scope="module")
def room():
    """A program keeps the room that it was traced with: here they share one, others another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_slices, "ROOM", ROOM)
        jax.clear_caches()
        yield
    jax.clear_caches()


def random(shapes, seed=0):
    rng = np.random.default_rng(seed)
    drawn = jax.tree.map(lambda a: (rng.normal(size=a.shape) * 0.2).astype(a.dtype), shapes)
    return jax.device_put(drawn)


@pytest.fixture(scope="module")
def field():
    """A U-Net with classes and random weights."""
    settings = SETTINGS | {"key": jax.random.key(0), "num_classes": 3}
    return random(eqx.filter_eval_shape(lambda: network_field("unet", (4, 4, 1), **settings)))


@pytest.fixture(scope="module")
def inputs():
    x = np.random.default_rng(1).normal(size=(BATCH, 4, 4, 1)).astype(np.float32)
    times, labels = np.linspace(0, 1, BATCH, dtype=np.float32), np.arange(BATCH, dtype=np.int32) % 4
    return jax.device_put((times, x, labels))


def mapped(field, t, x, label):
    return jax.vmap(field)(t, x, label)


@jax.jit
def unsliced(field, t, x, label):
    """The network on the batch at once."""
    return nnx.merge(field.velocity.graphdef, field.velocity.state).unsliced(t, x, label)


# Two layers, which compile in no time, are enough for `evaluate`'s own properties.


def layers(weights, t, x, label):
    told = t[:, None] if label is None else t[:, None] + weights["table"][label]
    return jnp.tanh(x @ weights["inner"] + told) @ weights["outer"]


@pytest.fixture(scope="module")
def weights():
    shapes = {"inner": (3, 5), "outer": (5, 3), "table": (4, 5)}
    rng = np.random.default_rng(0)
    return jax.device_put({k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()})


@pytest.fixture(scope="module")
def vectors(inputs):
    t, _, label = inputs
    rows = np.random.default_rng(1).normal(size=(BATCH, 3)).astype(np.float32)
    return t, jax.device_put(rows), label


def in_slices(weights, t, x, label):
    return _slices.evaluate(layers, ROOM // SLICE, weights, t, x, label)


def one(weights, t, x, label=None):
    """As a field calls its network."""
    return in_slices(weights, t[None], x[None], None if label is None else label[None])[0]


def each(weights, t, x, label):
    return jax.vmap(one, (None, 0, 0, 0))(weights, t, x, label)


def both_maps(weights, t, x, label):
    """Two nested maps, the inner one over one time and one label."""
    inner = jax.vmap(one, (None, None, 0, None))
    return jax.vmap(inner, (None, 0, 0, 0))(weights, t, x[:, None], label)[:, 0]


whole = jax.jit(layers)


def close(got, want):
    scale = float(np.abs(np.asarray(want)).max())
    assert scale > 1e-3
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.long
def test_same_numbers_in_a_loop(field, inputs):
    compiled = jax.jit(mapped).lower(field, *inputs).compile()
    assert " while(" in compiled.as_text()
    close(compiled(field, *inputs), unsliced(field, *inputs))


@pytest.mark.parametrize("call", [in_slices, each, both_maps])
def test_any_maps_are_one_loop(call, weights, vectors):
    compiled = jax.jit(call).lower(weights, *vectors).compile()
    assert compiled.as_text().count(" while(") == 1
    close(compiled(weights, *vectors), whole(weights, *vectors))


def test_one_time_for_all_samples_of_a_network(field, inputs):
    _, x, _ = inputs
    t, times = np.float32(0.3), np.full(BATCH, 0.3, np.float32)
    got = jax.jit(lambda field, t, x: jax.vmap(field, (None, 0))(t, x))(field, t, x)
    close(got, unsliced(field, times, x, None))


@pytest.mark.parametrize("labelled", [False, True])
def test_one_time_for_all(labelled, weights, vectors):
    _, x, label = vectors
    t, times, label = np.float32(0.3), np.full(BATCH, 0.3, np.float32), label if labelled else None
    want = whole(weights, times, x, label)
    axes = (None, None, 0, 0 if labelled else None)
    close(jax.jit(jax.vmap(one, axes))(weights, t, x, label), want)
    close(jax.jit(in_slices)(weights, t[None], x, label), want)
    other = whole(weights, times, x, None if labelled else vectors[2])
    assert np.abs(np.asarray(want) - np.asarray(other)).max() > 1e-3


@pytest.mark.parametrize(
    ("batch", "size"),
    [(3, 3), (4, 4), (6, 3), (7, 7), (8, 4), (10, 2), (12, 4)],
)
def test_slices_divide_the_batch_and_are_not_small(batch, size):
    """Four fit. Slices of 1, as 7 would have, are under half of that: 7 is not cut."""
    seen = []

    def network(weights, t, x, label):
        seen.append(x.shape[0])
        return weights * x

    x = np.arange(batch, dtype=np.float32)[:, None]
    one_time = np.zeros(1, np.float32)
    result = _slices.evaluate(network, ROOM // SLICE, np.float32(2.0), one_time, x, None)
    np.testing.assert_array_equal(result, 2 * x)
    assert min(seen) == size


def test_every_sample_keeps_its_time_and_label():
    def network(weights, t, x, label):
        return weights * x + 10 * t[:, None] + 100 * label[:, None].astype(x.dtype)

    t, label = np.arange(12, dtype=np.float32), np.arange(12, dtype=np.int32)
    got = _slices.evaluate(network, ROOM // SLICE, np.float32(1.0), t, t[:, None], label)
    np.testing.assert_array_equal(got[:, 0], 111 * np.arange(12))


def gradient(call, t, label):
    """The gradient of the sum of squares in the weights and in x."""

    def loss(weights, x):
        return jnp.sum(call(weights, t, x, label) ** 2)

    return jax.jit(jax.grad(loss, argnums=(0, 1)))


@pytest.mark.parametrize("call", [in_slices, each])
def test_gradients_are_those_of_the_whole(call, weights, vectors):
    t, x, label = vectors
    lowered = gradient(call, t, label).lower(weights, x)
    assert "stablehlo.while" not in lowered.as_text()
    got = lowered.compile()(weights, x)
    want = gradient(layers, t, label)(weights, x)
    for ours, other in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        close(ours, other)


@pytest.mark.long
def test_gradients_of_a_network_are_those_of_the_whole(field, inputs):
    t, x, label = inputs
    lowered = gradient(mapped, t, label).lower(field, x)
    assert "stablehlo.while" not in lowered.as_text()
    got = lowered.compile()(field, x)
    want = gradient(unsliced, t, label)(field, x)
    for ours, other in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        close(ours, other)


def test_forward_mode_against_finite_differences(weights, vectors):
    t, x, label = vectors
    along = np.random.default_rng(2).normal(size=x.shape).astype(x.dtype)
    call = jax.jit(lambda x: each(weights, t, x, label))
    tangent = jax.jit(lambda x, along: jax.jvp(call, (x,), (along,))[1])(x, along)
    step = np.float32(5e-3) * along
    slope = (np.asarray(call(x + step)) - np.asarray(call(x - step))) / 1e-2
    assert np.abs(slope).max() > 0.1
    np.testing.assert_allclose(tangent, slope, atol=1e-2 * np.abs(slope).max())


def test_a_derivative_in_x_alone_computes_none_in_the_weights(weights, vectors):
    """In forward mode: in reverse JAX itself drops what is computed for nothing."""
    t, x, label = vectors

    def cost(call):
        def along(x):
            return jax.jvp(lambda x: call(weights, t, x, label), (x,), (x,))

        return jax.jit(along).lower(x).cost_analysis()["flops"]

    assert cost(each) <= 1.02 * cost(layers)


@pytest.mark.parametrize("labelled", [False, True])
def test_an_empty_batch(labelled, weights, vectors):
    t, x, label = (np.asarray(leaf)[:0] for leaf in vectors)
    label = label if labelled else None
    axes = (None, 0, 0, 0 if labelled else None)
    assert jax.jit(jax.vmap(one, axes))(weights, t, x, label).shape == x.shape
    assert sample(functools.partial(one, weights), x, label).x1.shape == x.shape


def test_an_empty_batch_of_images(field, inputs):
    _, x, label = (np.asarray(leaf)[:0] for leaf in inputs)
    assert sample(field, x, label).x1.shape == x.shape


def test_networks_of_their_own(weights, vectors):
    """A map over weights, as for an ensemble."""
    double = jax.tree.map(lambda leaf: 2 * np.asarray(leaf), weights)
    several = jax.tree.map(lambda *leaves: np.stack(leaves), weights, double)
    got = jax.jit(jax.vmap(each, (0, None, None, None)))(several, *vectors)
    close(got[0], whole(weights, *vectors))
    close(got[1], whole(double, *vectors))


def exported(call, on, inputs, platforms):
    leaves, structure = jax.tree.flatten(on)

    def run(leaves, *inputs):
        return call(jax.tree.unflatten(structure, leaves), *inputs)

    result = export(jax.jit(run), platforms=platforms)(leaves, *inputs)
    text = result.mlir_module()
    assert "custom_call" not in text
    assert "callback" not in text
    return result, text


def test_exports_for_every_platform(field, inputs):
    revived = deserialize(exported(mapped, field, inputs, ("cpu", "cuda", "tpu"))[0].serialize())
    close(revived.call(jax.tree.leaves(field), *inputs), unsliced(field, *inputs))


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_exports_with_the_loop_for_the_cpu_only(platform, loops, weights, vectors):
    _, text = exported(each, weights, vectors, (platform,))
    assert ("stablehlo.while" in text) == loops
