"""The residual MLP against a NumPy float64 forward written from its description."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax.networks import ResidualMLP, network_field


@pytest.fixture
def x64(x64):
    """Double precision; Flax's own normalisation promotes float64 with float32 implicitly."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def compiled(model, *inputs):
    graphdef, state = nnx.split(model)
    return jax.jit(lambda state, *inputs: nnx.merge(graphdef, state)(*inputs))(state, *inputs)


def randomized(seed, dtype, shape, **settings):
    """A model with every parameter random: zero-initialised kernels would hide their inputs."""

    def build():
        return ResidualMLP(shape, **settings, dtype=dtype, rngs=nnx.Rngs(0))

    graphdef, state = nnx.split(nnx.eval_shape(build))
    rng = np.random.default_rng(seed)

    def draw(leaf):
        return jax.device_put((rng.normal(size=leaf.shape) / np.sqrt(leaf.shape[0])).astype(dtype))

    return nnx.merge(graphdef, jax.tree.map(draw, state))


def array(variable):
    return np.asarray(variable[...], np.float64)


def linear(layer, x):
    return x @ array(layer.kernel) + array(layer.bias)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def layer_norm(layer, x):
    moved = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((moved**2).mean(axis=-1, keepdims=True) + 1e-6)
    return moved / deviation * array(layer.scale) + array(layer.bias)


def embedding(layer, t, label, width):
    half = width // 2
    frequencies = 10_000.0 ** (-np.arange(half) / (half - 1))
    angles = 100.0 * t[:, None] * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    result = linear(layer.outer, gelu(linear(layer.inner, waves)))
    return result if label is None else result + array(layer.classes.embedding)[label]


def forward(model, t, x, label, width):
    embedded = silu(embedding(model.embedding, t, label, width))
    h = linear(model.first, x.reshape(len(x), -1))
    for block in model.blocks:
        scale, shift = np.split(linear(block.modulation, embedded), 2, axis=1)
        inner = linear(block.inner, layer_norm(block.norm, h) * (1 + scale) + shift)
        h = h + linear(block.outer, silu(inner))
    velocity = linear(model.last, silu(layer_norm(model.norm, h)))
    if hasattr(model, "skip"):
        velocity = velocity + linear(model.skip, embedded) * x.reshape(len(x), -1)
    return velocity.reshape(x.shape)


CASES = {
    "vectors": ((5,), 8, 2, None),
    "images": ((4, 3, 2), 12, 1, None),
    "classes": ((5,), 8, 1, 3),
    "scalars": ((), 6, 1, 2),
    "no blocks": ((2,), 8, 0, None),
}


def inputs(shape, num_classes, dtype):
    rng = np.random.default_rng(1)
    t = np.array([0.0, 0.3125, 0.5, 0.875, 1.0], dtype)
    x = np.asarray(rng.normal(size=(5, *shape)), dtype)
    label = None if num_classes is None else np.arange(5, dtype=np.int32) % (num_classes + 1)
    return t, x, label


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_double_precision(case, x64):
    shape, width, depth, classes = case
    model = randomized(0, jnp.float64, shape, width=width, depth=depth, num_classes=classes)
    t, x, label = inputs(shape, classes, jnp.float64)
    want = forward(model, np.asarray(t), np.asarray(x), label, width)
    np.testing.assert_allclose(compiled(model, t, x, label), want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", [CASES["images"], CASES["classes"]], ids=["images", "classes"])
def test_single_precision(case):
    shape, width, depth, classes = case
    model = randomized(0, jnp.float32, shape, width=width, depth=depth, num_classes=classes)
    t, x, label = inputs(shape, classes, jnp.float32)
    got = compiled(model, t, x, label)
    assert got.dtype == jnp.float32
    want = forward(model, np.asarray(t, np.float64), np.asarray(x, np.float64), label, width)
    # The angles reach 100, so that float32 knows them to 8e-6.
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3 * np.abs(want).max())


def test_skip(x64):
    model = randomized(0, jnp.float64, (4, 3), width=8, depth=1, num_classes=3, skip=True)
    t, x, label = inputs((4, 3), 3, jnp.float64)
    want = forward(model, np.asarray(t), np.asarray(x), label, 8)
    np.testing.assert_allclose(compiled(model, t, x, label), want, rtol=1e-10, atol=1e-10)


def test_no_label_is_the_null_class(x64):
    model = randomized(0, jnp.float64, (5,), width=8, depth=1, num_classes=3)
    t, x, _ = inputs((5,), None, jnp.float64)
    want = forward(model, np.asarray(t), np.asarray(x), np.full(5, 3), 8)
    np.testing.assert_allclose(compiled(model, t, x), want, rtol=1e-10, atol=1e-10)
    others = forward(model, np.asarray(t), np.asarray(x), np.full(5, 2), 8)
    assert np.abs(want - others).max() > 1e-2


fresh = eqx.filter_jit(
    lambda key: network_field("mlp", (3, 2), key=key, width=8, depth=2, num_classes=4)
)


def test_a_fresh_field_stands_still():
    # Its last layer starts at zero, so that the loss starts at that of the zero field.
    x = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
    call = jax.jit(lambda field, t, x, label: field(t, x, label))
    velocity = call(fresh(jax.random.key(0)), np.float32(0.3), x, np.int32(2))
    np.testing.assert_array_equal(velocity, np.zeros((3, 2)))


def test_the_key_decides_the_weights():
    fields = [fresh(jax.random.key(seed)) for seed in (0, 0, 1)]
    kernels = [np.asarray(field.velocity.state["first"]["kernel"]) for field in fields]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).min() > 0
