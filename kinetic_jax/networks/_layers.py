"""Group normalisation and self-attention of images, in few passes over memory."""

from typing import TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kinetic_jax._dtypes import at_least_float32

EPSILON = 1e-5


class Options(TypedDict):
    """The dtype to compute in and the generators of initial weights, shared by all layers."""

    dtype: DTypeLike | None
    rngs: nnx.Rngs


class GroupNorm(nnx.Module):
    """`nnx.GroupNorm` with the same parameters, `scale` and `bias`, but faster.

    Flax splits the channels into groups before it sums, so inner loops have `channels / groups`
    numbers, four at the authors' full resolution. Here each channel is averaged over the pixels,
    then each group over its channels; the image takes one multiplication and one addition.
    Squares are taken about the mean, so that an image far from 0 loses no precision.
    """

    def __init__(self, channels: int, groups: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs):
        self.groups = groups
        self.dtype = dtype
        self.scale = nnx.Param(nnx.initializers.ones(rngs.params(), (channels,), jnp.float32))
        self.bias = nnx.Param(nnx.initializers.zeros(rngs.params(), (channels,), jnp.float32))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The image with mean 0 and variance 1 over each group of channels, scaled and shifted."""
        scale, bias = self.scale[...], self.bias[...]
        dtype = np.promote_types(x.dtype, scale.dtype) if self.dtype is None else self.dtype
        wide = at_least_float32(jnp.dtype(dtype))
        x = x.astype(wide)
        mean = self._group_means(jnp.mean(x, axis=(1, 2)))
        deviation = x - mean[:, None, None]
        variance = self._group_means(jnp.mean(deviation**2, axis=(1, 2)))
        factor = jax.lax.rsqrt(variance + EPSILON) * scale.astype(wide)[None]
        shift = bias.astype(wide)[None] - mean * factor
        return (x * factor[:, None, None] + shift[:, None, None]).astype(dtype)

    def _group_means(self, values: Float[Array, "b c"]) -> Float[Array, "b c"]:
        """For each channel, the mean of the values of its group."""
        batch, channels = values.shape
        grouped = values.reshape(batch, self.groups, channels // self.groups)
        means = jnp.mean(grouped, axis=2, keepdims=True)
        return jnp.broadcast_to(means, grouped.shape).reshape(values.shape)


class SelfAttention(nnx.Module):
    """x + multi-head attention over the pixels of norm(x).

    Heads come before tokens, an order that XLA's CPU backend multiplies several times faster than
    the (batch, tokens, heads, features) of `jax.nn.dot_product_attention`.
    """

    def __init__(self, channels: int, heads: int, groups: int, **options: Unpack[Options]):
        self.heads = heads
        self.norm = GroupNorm(channels, groups, **options)
        self.qkv = nnx.Linear(channels, 3 * channels, **options)
        self.out = nnx.Linear(channels, channels, **options)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The image after attention."""
        batch, height, width, channels = x.shape
        tokens, features = height * width, channels // self.heads
        qkv = self.qkv(self.norm(x).reshape(batch, tokens, channels))
        qkv = qkv.reshape(batch, tokens, 3, self.heads, features)
        q, k, v = (jnp.swapaxes(qkv[:, :, i], 1, 2) for i in range(3))
        mixed = jnp.swapaxes(attend(q * features**-0.5, k, v), 1, 2)
        return x + self.out(mixed.reshape(batch, height, width, channels))


def attend(
    q: Float[Array, "b n t f"], k: Float[Array, "b n s f"], v: Float[Array, "b n s f"]
) -> Float[Array, "b n t f"]:
    """softmax(q kᵀ) v, with weights and sums in at least float32.

    Dividing the result, not the weights, by their sum saves a pass over the (t, s) weights, and
    XLA's CPU backend keeps them in cache, a few rows at once.
    """
    wide = at_least_float32(q.dtype)
    logits = jnp.einsum("bntf,bnsf->bnts", q, k, preferred_element_type=wide)
    highest = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    weights = jnp.exp(logits - highest)
    mixed = jnp.einsum("bnts,bnsf->bntf", weights.astype(v.dtype), v, preferred_element_type=wide)
    return (mixed / jnp.sum(weights, axis=-1, keepdims=True)).astype(v.dtype)
