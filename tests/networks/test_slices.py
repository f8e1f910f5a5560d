"""Slices of a batch: the same numbers and derivatives, loops on CPU only, any nesting of vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.export import deserialize, export

from kinetic_jax import sample
from kinetic_jax.networks import _slices, network_field

SETTINGS = {
    "base_channels": 8, "multiples": (1,), "attention": (True,), "num_res_blocks": 1,
    "groups": 4, "heads": 2,
}  # fmt: skip
BATCH, SLICE = 12, 4


@pytest.fixture(scope="module")
def field():
    """A field with classes and random weights."""
    rng = np.random.default_rng(0)
    fresh = network_field("unet", (4, 4, 1), key=jax.random.key(0), num_classes=3, **SETTINGS)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape) * 0.2, a.dtype), fresh)


@pytest.fixture(autouse=True)
def room(monkeypatch):
    """Room for a few samples of these small images."""
    monkeypatch.setattr(_slices, "ROOM", SLICE * 4 * 4 * 8 * 4)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(1)
    t = jnp.linspace(0.0, 1.0, BATCH)
    return t, jnp.asarray(rng.normal(size=(BATCH, 4, 4, 1)), jnp.float32), jnp.arange(BATCH) % 4


def unsliced(field, t, x, label):
    """The network on the batch at once."""
    return nnx.merge(field.velocity.graphdef, field.velocity.state).unsliced(t, x, label)


def native(field, t, x, label):
    return nnx.merge(field.velocity.graphdef, field.velocity.state)(t, x, label)


def mapped(field, t, x, label):
    return jax.vmap(field)(t, x, label)


def both_maps(field, t, x, label):
    """Two nested maps, the inner one over one time and one label."""
    inner = jax.vmap(field, (None, 0, None))
    pairs = x.reshape(BATCH, 1, 4, 4, 1)
    return jax.vmap(inner)(t, pairs, label)[:, 0]


def close(got, want):
    scale = float(np.abs(np.asarray(want)).max())
    assert scale > 1e-3
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("call", [native, mapped, both_maps])
def test_same_numbers_in_a_loop(call, field, inputs):
    compiled = jax.jit(call).lower(field, *inputs).compile()
    assert " while(" in compiled.as_text()
    close(compiled(field, *inputs), jax.jit(unsliced)(field, *inputs))


def test_one_time_for_all(field, inputs):
    _, x, label = inputs
    t, times = jnp.float32(0.3), jnp.full(BATCH, 0.3)
    unlabelled = jax.jit(unsliced)(field, times, x, None)
    close(jax.jit(lambda field: native(field, t[None], x, None))(field), unlabelled)
    close(jax.vmap(field, (None, 0))(t, x), unlabelled)
    want = jax.jit(unsliced)(field, times, x, label)
    close(jax.vmap(field, (None, 0, 0))(t, x, label), want)
    assert np.abs(np.asarray(want - unlabelled)).max() > 1e-3


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

    x = jnp.arange(float(batch))[:, None]
    per_sample = _slices.ROOM // SLICE
    result = _slices.evaluate(network, per_sample, jnp.float32(2.0), jnp.zeros(1), x, None)
    np.testing.assert_array_equal(result, 2 * x)
    assert min(seen) == size


def test_every_sample_keeps_its_time_and_label():
    def network(weights, t, x, label):
        return weights * x + 10 * t[:, None] + 100 * label[:, None]

    x, t, label = jnp.arange(12.0)[:, None], jnp.arange(12.0), jnp.arange(12)
    got = _slices.evaluate(
        lambda w, t, x, label: network(w, t, x, label.astype(x.dtype)),
        _slices.ROOM // SLICE, jnp.float32(1.0), t, x, label,
    )  # fmt: skip
    np.testing.assert_array_equal(got[:, 0], 111 * np.arange(12))


@pytest.mark.parametrize("call", [native, mapped])
def test_gradients_are_those_of_the_whole(call, field, inputs):
    t, x, label = inputs

    def gradient(call):
        def loss(field, x):
            return jnp.sum(call(field, t, x, label) ** 2)

        return jax.jit(jax.grad(loss, argnums=(0, 1))).lower(field, x)

    lowered = gradient(call)
    assert "stablehlo.while" not in lowered.as_text()
    results = lowered.compile()(field, x), gradient(unsliced).compile()(field, x)
    for got, want in zip(*map(jax.tree.leaves, results), strict=True):
        close(got, want)


def test_forward_mode_against_finite_differences(field, inputs):
    t, x, label = inputs
    along = jnp.asarray(np.random.default_rng(2).normal(size=x.shape), x.dtype)
    call = jax.jit(lambda x: mapped(field, t, x, label))
    tangent = jax.jvp(call, (x,), (along,))[1]
    slope = (call(x + 5e-3 * along) - call(x - 5e-3 * along)) / 1e-2
    assert np.abs(np.asarray(slope)).max() > 0.1
    np.testing.assert_allclose(tangent, slope, atol=1e-2 * np.abs(np.asarray(slope)).max())


def test_a_derivative_in_x_alone_computes_none_in_the_weights(field, inputs):
    """In forward mode: in reverse JAX itself drops what is computed for nothing."""
    t, x, label = inputs

    def cost(call):
        def along(x):
            return jax.jvp(lambda x: call(field, t, x, label), (x,), (x,))

        return jax.jit(along).lower(x).cost_analysis()["flops"]

    assert cost(mapped) <= 1.02 * cost(unsliced)


@pytest.mark.parametrize("labelled", [False, True])
def test_an_empty_batch(field, inputs, labelled):
    t, x, label = (leaf[:0] for leaf in inputs)
    label = label if labelled else None
    assert jax.jit(mapped)(field, t, x, label).shape == x.shape
    assert sample(field, x, label).x1.shape == x.shape


def test_networks_of_their_own(field, inputs):
    """A map over weights, as for an ensemble."""
    fields = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), field)
    got = jax.jit(jax.vmap(mapped, (0, None, None, None)))(fields, *inputs)
    double = jax.tree.map(lambda leaf: 2 * leaf, field)
    close(got[0], unsliced(field, *inputs))
    close(got[1], unsliced(double, *inputs))


def test_exports_with_the_loop_for_the_cpu_only(field, inputs):
    leaves, structure = jax.tree.flatten(field)

    def run(leaves, *inputs):
        return mapped(jax.tree.unflatten(structure, leaves), *inputs)

    def lowered(platforms):
        exported = export(jax.jit(run), platforms=platforms)(leaves, *inputs)
        text = exported.mlir_module()
        assert "custom_call" not in text
        assert "callback" not in text
        return exported, text

    exported, _ = lowered(("cpu", "cuda", "tpu"))
    revived = deserialize(exported.serialize())
    close(revived.call(leaves, *inputs), jax.jit(unsliced)(field, *inputs))
    for platform, loops in (("cpu", True), ("cuda", False), ("tpu", False)):
        assert ("stablehlo.while" in lowered((platform,))[1]) == loops
