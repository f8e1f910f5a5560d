"""Earlier forms of the U-Net's layers, to measure what the present ones save."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from kinetic_jax.networks._layers import EPSILON, GroupNorm, SelfAttention
from kinetic_jax.networks._unet import _Upsample


def attention(self: SelfAttention, x: Array) -> Array:
    """Weights normalised before use, with heads and batch in one axis."""
    batch, height, width, channels = x.shape
    tokens, features = height * width, channels // self.heads
    qkv = self.qkv(self.norm(x).reshape(batch, tokens, channels))
    qkv = qkv.reshape(batch, tokens, 3, self.heads, features)
    q, k, v = jnp.moveaxis(qkv, (2, 3), (0, 2)).reshape(3, batch * self.heads, tokens, features)
    weights = jax.nn.softmax(jnp.einsum("btf,bsf->bts", q * features**-0.5, k), axis=-1)
    mixed = jnp.einsum("bts,bsf->btf", weights, v)
    mixed = jnp.moveaxis(mixed.reshape(batch, self.heads, tokens, features), 1, 2)
    return x + self.out(mixed.reshape(batch, height, width, channels))


def norm(self: GroupNorm, x: Array) -> Array:
    """Flax's GroupNorm."""
    flax = nnx.GroupNorm(x.shape[-1], self.groups, epsilon=EPSILON, rngs=nnx.Rngs(0))
    flax.scale, flax.bias = self.scale, self.bias
    return flax(x)


def upsample(self: _Upsample, x: Array) -> Array:
    """The doubled image in memory, then a 3 × 3 convolution."""
    b, h, w, c = x.shape
    doubled = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
    return self.conv(doubled.reshape(b, 2 * h, 2 * w, c))


FORMS: dict[type[nnx.Module], Callable[..., Array]] = {
    SelfAttention: attention,
    GroupNorm: norm,
    _Upsample: upsample,
}


@contextmanager
def before(*classes: type[nnx.Module]) -> Iterator[None]:
    """Runs layers of these classes in their earlier form, if they are traced again."""
    with ExitStack() as stack:
        for layer in classes:
            stack.enter_context(mock.patch.object(layer, "__call__", FORMS[layer]))
        yield
