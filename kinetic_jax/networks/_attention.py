"""Self-attention over the pixels of an image."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kinetic_jax._dtypes import at_least_float32
from kinetic_jax.networks._norm import GroupNorm


class SelfAttention(nnx.Module):
    """x + multi-head attention over the pixels of norm(x).

    Heads come before tokens, an order that XLA's CPU backend multiplies several times faster than
    the (batch, tokens, heads, features) of `jax.nn.dot_product_attention`.
    """

    def __init__(
        self, channels: int, heads: int, groups: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs
    ):
        self.heads = heads
        self.norm = GroupNorm(channels, groups, dtype=dtype, rngs=rngs)
        self.qkv = nnx.Linear(channels, 3 * channels, dtype=dtype, rngs=rngs)
        self.out = nnx.Linear(channels, channels, dtype=dtype, rngs=rngs)

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

    The result is divided by the sum of the weights, instead of the weights themselves: this saves
    a pass over the (t, s) weights, and XLA's CPU backend keeps them in cache, a few rows at once.
    """
    wide = at_least_float32(q.dtype)
    logits = jnp.einsum("bntf,bnsf->bnts", q, k, preferred_element_type=wide)
    highest = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    weights = jnp.exp(logits - highest)
    mixed = jnp.einsum("bnts,bnsf->bntf", weights.astype(v.dtype), v, preferred_element_type=wide)
    return (mixed / jnp.sum(weights, axis=-1, keepdims=True)).astype(v.dtype)
