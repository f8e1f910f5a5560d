"""A batch-first network under the library's vmap is the native batched program."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax import from_linen, from_nnx

BATCH = 7


class MLP(nn.Module):
    @nn.compact
    def __call__(self, t, x):
        h = nn.Dense(16)(jnp.concatenate([x, t[:, None]], axis=1))
        return nn.Dense(x.shape[-1])(nn.silu(h))


class ConvNet(nn.Module):
    @nn.compact
    def __call__(self, t, x):
        h = nn.GroupNorm(4)(nn.Conv(16, (3, 3))(x) + t[:, None, None, None])
        h = nn.Conv(8, (3, 3), strides=(2, 2))(nn.silu(h))
        h = nn.ConvTranspose(8, (3, 3), strides=(2, 2))(h)
        return nn.Conv(x.shape[-1], (1, 1))(h)


class Attention(nn.Module):
    @nn.compact
    def __call__(self, t, x):
        h = nn.Dense(8)(x) + t[:, None, None]
        return nn.Dense(x.shape[-1])(nn.MultiHeadDotProductAttention(2)(h))


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 6, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.out = nnx.Conv(6, 2, (3, 3), rngs=rngs)

    def __call__(self, t, x):
        return self.out(nnx.silu(self.norm(self.conv(x)) + t[:, None, None, None]))


def heavy_operations(program):
    """The dots and convolutions of an optimised program with their output shapes, sorted.

    A loop or a call to another program would hide work, so they are listed too.
    """
    pattern = r"= (\w+\[[\d,]*\])\S* (dot|convolution|while|custom-call|call)\("
    return sorted(f"{name} {shape}" for shape, name in re.findall(pattern, program.as_text()))


def compiled(function, *args):
    return jax.jit(function).lower(*args).compile()


def linen_case(net, shape):
    x, t = np.ones((BATCH, *shape), np.float32), np.ones(BATCH, np.float32)
    variables = jax.jit(net.init)(jax.random.key(0), t, x)
    return from_linen(net, variables), lambda t, x: net.apply(variables, t, x), shape


def nnx_case():
    model = NNXNet(nnx.Rngs(0))
    field = from_nnx(model)
    model.eval()
    return field, model, (8, 8, 2)


CASES = {
    "mlp": lambda: linen_case(MLP(), (5,)),
    "convolutions": lambda: linen_case(ConvNet(), (8, 8, 2)),
    "attention": lambda: linen_case(Attention(), (6, 4)),
    "nnx": nnx_case,
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def case(request):
    """A field, a batch of times and points, and the program of the native call."""
    field, native, shape = request.param()
    rng = np.random.default_rng(0)
    t = rng.uniform(size=BATCH).astype(np.float32)
    x = rng.normal(size=(BATCH, *shape)).astype(np.float32)
    return field, t, x, compiled(native, t, x)


def test_the_native_program_with_the_same_values(case):
    field, t, x, native = case
    want = heavy_operations(native)
    assert len(want) >= 2
    batched = compiled(lambda field, t, x: jax.vmap(field)(t, x), field, t, x)
    assert heavy_operations(batched) == want
    np.testing.assert_allclose(batched(field, t, x), native(t, x), rtol=1e-4, atol=1e-5)
    # One time for the whole batch, as on a fixed grid.
    at_once = compiled(lambda field, t, x: jax.vmap(field, (None, 0))(t, x), field, t[0], x)
    assert heavy_operations(at_once) == want


def test_a_loop_over_samples_would_be_seen(case):
    field, t, x, native = case
    loop = compiled(lambda field, t, x: jax.lax.map(lambda one: field(*one), (t, x)), field, t, x)
    assert heavy_operations(loop) != heavy_operations(native)
