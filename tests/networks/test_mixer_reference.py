"""The patch mixer against a NumPy float64 forward, patch by patch, written from its description."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax.networks import PatchMixer


@pytest.fixture
def x64(x64):
    """Double precision; Flax's own normalisation promotes float64 with float32 implicitly."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def randomized(shape, **settings):
    def build():
        return PatchMixer(shape, **settings, dtype=jnp.float64, rngs=nnx.Rngs(0))

    graphdef, state = nnx.split(nnx.eval_shape(build))
    rng = np.random.default_rng(0)

    def draw(leaf):
        return jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(leaf.shape[0]), jnp.float64)

    return nnx.merge(graphdef, jax.tree.map(draw, state))


def linear(layer, x):
    return x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def norm(x):
    moved = x - x.mean(axis=-1, keepdims=True)
    return moved / np.sqrt((moved**2).mean(axis=-1, keepdims=True) + 1e-6)


def embedding_of(layer, t, label, dim):
    frequencies = 10_000.0 ** (-np.arange(dim // 2) / (dim // 2 - 1))
    waves = np.concatenate([np.sin(100.0 * t * frequencies), np.cos(100.0 * t * frequencies)])
    embedded = linear(layer.outer, gelu(linear(layer.inner, waves)))
    if label is not None:
        embedded = embedded + np.asarray(layer.classes.embedding[...])[label]
    return embedded / (1 + np.exp(-embedded))


def forward(model, t, x, label, side, dim):
    """ONE sample, its patches in a list."""
    embedded = embedding_of(model.embedding, t, label, dim)
    corners = [(i, j) for i in range(0, x.shape[0], side) for j in range(0, x.shape[1], side)]
    h = np.stack([linear(model.first, x[i : i + side, j : j + side].ravel()) for i, j in corners])
    h = h + np.asarray(model.places[...])
    for block in model.blocks:
        scale, shift, scale_2, shift_2 = np.split(linear(block.modulation, embedded), 4)
        y = norm(h) * (1 + scale) + shift
        for channel in range(h.shape[1]):
            mixed = linear(block.patches_out, gelu(linear(block.patches_in, y[:, channel])))
            h[:, channel] += mixed
        y = norm(h) * (1 + scale_2) + shift_2
        h = h + linear(block.channels_out, gelu(linear(block.channels_in, y)))
    scale, shift = np.split(linear(model.modulation, embedded), 2)
    velocities = linear(model.last, norm(h) * (1 + scale) + shift)
    image = np.zeros_like(x)
    for (i, j), velocity in zip(corners, velocities, strict=True):
        image[i : i + side, j : j + side] = velocity.reshape(side, side, -1)
    return image


CASES = {
    "square": ((4, 4, 1), 2, None),
    "wide, with colours": ((2, 6, 3), 2, None),
    "classes": ((6, 3, 1), 3, 4),
    "patches of a pixel": ((2, 2, 2), 1, 2),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "side", "classes"), CASES.values(), ids=CASES)
def test_reference(shape, side, classes, x64):
    settings = {"patch_size": side, "width": 6, "depth": 2, "told": 8, "num_classes": classes}
    model = randomized(shape, **settings)
    rng = np.random.default_rng(1)
    t, x = np.array([0.0, 0.3, 1.0]), rng.normal(size=(3, *shape))
    labels = [None] * 3 if classes is None else [0, classes - 1, classes]
    graphdef, state = nnx.split(model)
    run = jax.jit(lambda state, *inputs: nnx.merge(graphdef, state)(*inputs))
    label = None if classes is None else jnp.asarray(labels)
    want = [forward(model, *sample, side, 8) for sample in zip(t, x, labels, strict=True)]
    assert np.abs(want).max() > 0.1
    np.testing.assert_allclose(run(state, t, x, label), want, rtol=1e-9, atol=1e-9)
