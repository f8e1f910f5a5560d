"""The U-Net and its attention against NumPy float64 forwards written from their description."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax.networks import AUTHORS_UNET, UNet, network_field
from kinetic_jax.networks._layers import GroupNorm, SelfAttention, attend

pytestmark = pytest.mark.long


def compiled(model, *inputs):
    graphdef, state = nnx.split(model)
    return jax.jit(lambda state, *inputs: nnx.merge(graphdef, state)(*inputs))(state, *inputs)


def randomized(build, seed, dtype, scale=1.0):
    """The model with every parameter random."""
    # Only the structure is built: drawing initial weights takes longer than all the rest.
    graphdef, state = nnx.split(nnx.eval_shape(build))
    rng = np.random.default_rng(seed)

    def draw(leaf):
        fan_in = max(np.prod(leaf.shape[:-1]), 4)
        return jax.device_put((scale * rng.normal(size=leaf.shape) / np.sqrt(fan_in)).astype(dtype))

    return nnx.merge(graphdef, jax.tree.map(draw, state))


def array(variable):
    return np.asarray(variable[...], np.float64)


def linear(layer, x):
    return x @ array(layer.kernel) + array(layer.bias)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def convolution(layer, x, stride=1):
    """Cross-correlation with zeros around, one output pixel at a time."""
    kernel, bias = array(layer.kernel), array(layer.bias)
    size, edge = kernel.shape[0], kernel.shape[0] // 2
    padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    height, width = x.shape[1] // stride, x.shape[2] // stride
    out = np.empty((x.shape[0], height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            patch = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
            out[:, i, j] = np.tensordot(patch, kernel, axes=3) + bias
    return out


def group_norm(layer, x, groups):
    parts = []
    for part in np.split(x, groups, axis=-1):  # neighbouring channels share a group
        mean = part.mean(axis=(1, 2, 3), keepdims=True)
        variance = ((part - mean) ** 2).mean(axis=(1, 2, 3), keepdims=True)
        parts.append((part - mean) / np.sqrt(variance + 1e-5))
    return np.concatenate(parts, axis=-1) * array(layer.scale) + array(layer.bias)


def attention(layer, x, groups, heads):
    """Scaled dot-product attention, one head and one query pixel at a time."""
    batch, channels = x.shape[0], x.shape[-1]
    flat = group_norm(layer.norm, x, groups).reshape(batch, -1, channels)
    queries, keys, values = np.split(linear(layer.qkv, flat), 3, axis=-1)
    features = channels // heads
    mixed = np.empty_like(flat)
    for head in range(heads):
        own = slice(head * features, (head + 1) * features)
        for b in range(batch):
            for i in range(flat.shape[1]):
                logits = keys[b, :, own] @ queries[b, i, own] / np.sqrt(features)
                weights = np.exp(logits - logits.max())
                mixed[b, i, own] = weights @ values[b, :, own] / weights.sum()
    return x + linear(layer.out, mixed).reshape(x.shape)


def norm_act_conv(layer, x, groups):
    return convolution(layer.conv, silu(group_norm(layer.norm, x, groups)))


def residual_block(block, x, embedded, groups, heads):
    h = norm_act_conv(block.first, x, groups) + linear(block.embed, silu(embedded))[:, None, None]
    h = norm_act_conv(block.second, h, groups)
    h = h + (x if block.skip is None else convolution(block.skip, x))
    return h if block.attention is None else attention(block.attention, h, groups, heads)


def embedding(layer, t, label, dim):
    half = dim // 2
    angles = 1000.0 * t[:, None] * 10_000.0 ** (-np.arange(half) / (half - 1))
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    result = linear(layer.outer, gelu(linear(layer.inner, waves)))
    return result if label is None else result + array(layer.classes.embedding)[label]


def forward(model, t, x, label, *, base_channels, multiples, num_res_blocks, groups, heads, **_):
    embedded = embedding(model.embedding, t, label, base_channels)
    down, up = iter(model.down), iter(model.up)
    skips = [convolution(model.first, x)]
    for level in range(len(multiples)):
        for _ in range(num_res_blocks):
            skips.append(residual_block(next(down), skips[-1], embedded, groups, heads))
        if level < len(multiples) - 1:
            skips.append(convolution(next(down), skips[-1], stride=2))
    h = skips[-1]
    for block in model.middle:
        h = residual_block(block, h, embedded, groups, heads)
    for level in reversed(range(len(multiples))):
        for _ in range(num_res_blocks + 1):
            joined = np.concatenate([h, skips.pop()], axis=-1)
            h = residual_block(next(up), joined, embedded, groups, heads)
        if level > 0:
            h = convolution(next(up).conv, h.repeat(2, axis=1).repeat(2, axis=2))
    assert not skips
    assert next(down, None) is None
    assert next(up, None) is None
    return norm_act_conv(model.last, h, groups)


TWO_LEVELS = {
    "base_channels": 8, "multiples": (1, 2), "attention": (False, True), "num_res_blocks": 1,
    "groups": 4, "heads": 2,
}  # fmt: skip
ONE_LEVEL = TWO_LEVELS | {
    "multiples": (1,), "attention": (True,), "num_res_blocks": 2, "heads": 1
}  # fmt: skip
# Levels of as many and of more channels, with attention and without, of sides that differ.
THREE_LEVELS = TWO_LEVELS | {"multiples": (1, 1, 2), "attention": (True, False, True)}
CASES = {
    "one level": ((3, 5, 1), ONE_LEVEL, None),
    "three levels with classes": ((4, 8, 3), THREE_LEVELS, 2),
}  # fmt: skip


def inputs(shape, num_classes, dtype):
    rng = np.random.default_rng(1)
    t = np.array([0.0, 0.3125, 1.0], dtype)
    x = rng.normal(size=(3, *shape)).astype(dtype)
    label = None if num_classes is None else np.array([0, num_classes, 1], np.int32)
    return t, x, label


def model_of(case, dtype):
    shape, config, classes = case
    settings = config | {"num_classes": classes, "dtype": dtype}
    return randomized(lambda: UNet(shape, **settings, rngs=nnx.Rngs(0)), 0, dtype)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_double_precision(case, x64):
    shape, config, classes = case
    model = model_of(case, jnp.float64)
    t, x, label = inputs(shape, classes, jnp.float64)
    want = forward(model, np.asarray(t), np.asarray(x), label, **config)
    assert np.abs(want).max() > 0.1
    np.testing.assert_allclose(compiled(model, t, x, label), want, rtol=1e-9, atol=1e-9)


def test_single_precision():
    shape, config, classes = case = (4, 4, 1), TWO_LEVELS, 3
    model = model_of(case, jnp.float32)
    t, x, label = inputs(shape, classes, jnp.float32)
    got = compiled(model, t, x, label)
    assert got.dtype == jnp.float32
    want = forward(model, np.asarray(t, np.float64), np.asarray(x, np.float64), label, **config)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3 * np.abs(want).max())


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention(heads, x64):
    def build():
        return SelfAttention(8, heads, 2, dtype=None, rngs=nnx.Rngs(0))

    # Larger weights than a fresh layer's: near-uniform attention would hide a wrong softmax.
    layer = randomized(build, heads, jnp.float64, scale=3.0)
    x = np.random.default_rng(2).normal(size=(2, 3, 4, 8))
    want = attention(layer, x, groups=2, heads=heads)
    np.testing.assert_allclose(compiled(layer, x), want, rtol=1e-10, atol=1e-10)


def exact_softmax(q, k, v):
    logits = np.einsum("bntf,bnsf->bnts", q, k)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.einsum("bnts,bnsf->bntf", weights / weights.sum(axis=-1, keepdims=True), v)


def queries_keys_values(dtype, scale=1.0):
    rng = np.random.default_rng(4)
    q, k, v = ((rng.normal(size=(2, 3, 10, 4)) * scale).astype(dtype) for _ in range(3))
    return q, k[:, :, :7], v[:, :, :7]


@pytest.mark.parametrize(
    ("dtype", "scale", "error"),
    [
        (jnp.float32, 1.0, 1e-6),
        (jnp.float32, 30.0, 1e-3),  # logits of thousands: no exponential may overflow
        (jnp.bfloat16, 1.0, 1e-2),
    ],
)
def test_softmax_of_scores(dtype, scale, error):
    inputs = queries_keys_values(dtype, scale)
    got = jax.jit(attend)(*inputs)
    assert got.dtype == dtype
    want = exact_softmax(*(np.asarray(part, np.float64) for part in inputs))
    got = np.asarray(got, np.float64)
    np.testing.assert_allclose(got, want, atol=error * np.abs(want).max())


def test_weights_in_bfloat16_are_summed_in_single_precision():
    """4,096 equal weights: a sum in bfloat16 stops at 256."""
    q, k, v = (jnp.ones((1, 1, 4096, 1), jnp.bfloat16) for _ in range(3))
    np.testing.assert_array_equal(jax.jit(attend)(q[:, :, :2], 0 * k, v), 1)


def test_gradient_of_attention_against_finite_differences(x64):
    inputs = queries_keys_values(np.float64)
    rng = np.random.default_rng(5)
    cotangent = rng.normal(size=inputs[0].shape)

    def loss(*inputs):
        return jnp.sum(cotangent * attend(*inputs))

    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))(*inputs)
    for which in range(3):
        along = rng.normal(size=inputs[which].shape)

        def moved(step, which=which, along=along):
            parts = list(inputs)
            parts[which] = parts[which] + step * along
            return np.sum(cotangent * exact_softmax(*parts))

        got = np.sum(np.asarray(gradient[which]) * along)
        np.testing.assert_allclose(got, (moved(1e-5) - moved(-1e-5)) / 2e-5, rtol=1e-7)


@pytest.mark.parametrize(("dtype", "error"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_normalisation_off_centre(dtype, error):
    """Computed in single precision also where its result is not."""
    layer = randomized(lambda: GroupNorm(12, 4, dtype=dtype, rngs=nnx.Rngs(0)), 0, jnp.float32)
    x = np.random.default_rng(6).normal(2.0, 1.0, size=(3, 4, 5, 12)).astype(dtype)
    got = compiled(layer, x)
    assert got.dtype == dtype
    want = group_norm(layer, np.asarray(x, np.float64), groups=4)
    np.testing.assert_allclose(np.asarray(got, np.float64), want, atol=error * np.abs(want).max())


@pytest.mark.parametrize("mean", [300.0, 1e4])
def test_normalisation_far_from_zero(mean):
    layer = randomized(lambda: GroupNorm(12, 4, dtype=None, rngs=nnx.Rngs(0)), 0, jnp.float32)
    x = np.random.default_rng(6).normal(mean, 1.0, size=(3, 16, 16, 12)).astype(np.float32)
    want = group_norm(layer, np.asarray(x, np.float64), groups=4)
    # What rounding x itself leaves, twice over.
    error = 2 * np.finfo(np.float32).eps * mean
    np.testing.assert_allclose(compiled(layer, x), want, atol=error * np.abs(want).max())


def test_parameters_are_called_and_shaped_as_in_flax():
    """Saved networks hold them by name."""
    own = nnx.state(GroupNorm(8, 4, dtype=None, rngs=nnx.Rngs(0)))
    flax = nnx.state(nnx.GroupNorm(8, 4, rngs=nnx.Rngs(0)))
    assert jax.tree.structure(own) == jax.tree.structure(flax)
    for got, want in zip(jax.tree.leaves(own), jax.tree.leaves(flax), strict=True):
        np.testing.assert_array_equal(got, want)


def test_attention_moves_with_its_pixels(x64):
    def build():
        return SelfAttention(8, 2, 2, dtype=None, rngs=nnx.Rngs(0))

    layer = randomized(build, 0, jnp.float64)
    rng = np.random.default_rng(3)
    x, order = rng.normal(size=(1, 12, 8)), rng.permutation(12)
    both = np.concatenate([x, x[:, order]]).reshape(2, 3, 4, 8)  # the shape of the test above
    straight, mixed = np.asarray(compiled(layer, both)).reshape(2, 1, 12, 8)
    np.testing.assert_allclose(mixed, straight[:, order], atol=1e-12)


def test_the_authors_number_of_parameters():
    def state():
        key, shape = jax.random.key(0), (32, 32, 1)
        return network_field("unet", shape, key=key, num_classes=10, **AUTHORS_UNET).velocity.state

    shapes = jax.eval_shape(state)
    table = shapes["embedding"]["classes"]["embedding"]
    assert table.shape == (11, 128)  # the null class is the eleventh
    trainable = sum(leaf.size for leaf in jax.tree.leaves(shapes)) - table.size
    assert trainable == 4_023_233
    # Their time embedding is a frozen table of 1000 rows, counted in their 4.06 million.
    assert round((trainable + 1000 * AUTHORS_UNET["base_channels"]) / 1e6, 2) == 4.06
