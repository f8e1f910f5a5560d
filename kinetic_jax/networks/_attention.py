"""Self-attention over the pixels of an image."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class SelfAttention(nnx.Module):
    """x + multi-head attention over the pixels of norm(x).

    The heads are folded into the batch, which XLA's CPU backend multiplies several times faster
    than the (batch, tokens, heads, features) order of `jax.nn.dot_product_attention`.
    """

    def __init__(self, channels: int, heads: int, groups: int, *, dtype: Any, rngs: nnx.Rngs):
        self.heads = heads
        self.norm = nnx.GroupNorm(channels, groups, epsilon=1e-5, dtype=dtype, rngs=rngs)
        self.qkv = nnx.Linear(channels, 3 * channels, dtype=dtype, rngs=rngs)
        self.out = nnx.Linear(channels, channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The image after attention."""
        batch, height, width, channels = x.shape
        tokens, features = height * width, channels // self.heads
        qkv = self.qkv(self.norm(x).reshape(batch, tokens, channels))
        qkv = qkv.reshape(batch, tokens, 3, self.heads, features)
        q, k, v = jnp.moveaxis(qkv, (2, 3), (0, 2)).reshape(3, batch * self.heads, tokens, features)
        weights = jax.nn.softmax(jnp.einsum("btf,bsf->bts", q * features**-0.5, k), axis=-1)
        mixed = jnp.einsum("bts,bsf->btf", weights, v)
        mixed = jnp.moveaxis(mixed.reshape(batch, self.heads, tokens, features), 1, 2)
        return x + self.out(mixed.reshape(batch, height, width, channels))
