"""A diffusion transformer of the size of DiT-B/2, as users would write it, in Equinox.

Peebles and Xie, Scalable diffusion models with transformers, arXiv 2212.09748: adaLN-zero blocks
with the time as the only condition.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, PyTree

SINUSOIDS = 256
AWAKE = 0.02  # weights that start at zero in the paper would hide errors


class Block(eqx.Module):
    """Attention and two layers, each scaled, shifted and gated by the time."""

    qkv: Array
    out: Array
    inner: Array
    outer: Array
    modulation: Array

    def __call__(self, h: Array, embedding: Array, heads: int) -> Array:
        """The tokens after the block, shape (tokens, width)."""
        tokens, width = h.shape
        shift, scale, gate, shift2, scale2, gate2 = jnp.split(embedding @ self.modulation, 6)
        qkv = (normed(h, shift, scale) @ self.qkv).reshape(tokens, 3, heads, width // heads)
        mixed = jax.nn.dot_product_attention(qkv[:, 0], qkv[:, 1], qkv[:, 2])
        h = h + gate * (mixed.reshape(tokens, width) @ self.out)
        return h + gate2 * (jax.nn.gelu(normed(h, shift2, scale2) @ self.inner) @ self.outer)


class Transformer(eqx.Module):
    """The velocity of one image, of its dtype; computed in the dtype of the weights.

    The blocks are stacked and scanned over, so that a program holds one of them.
    """

    patches: Array
    positions: Array
    time_in: Array
    time_out: Array
    blocks: Block
    modulation: Array
    last: Array
    patch: int = eqx.field(static=True)
    heads: int = eqx.field(static=True)

    def __call__(self, t: Array, x: Array, cond: PyTree = None) -> Array:
        """The velocity at time t of an image of shape (side, side, channels)."""
        del cond
        side, _, channels = x.shape
        count, patch, dtype = side // self.patch, self.patch, self.patches.dtype
        grid = x.reshape(count, patch, count, patch, channels).swapaxes(1, 2)
        h = grid.reshape(count**2, -1).astype(dtype) @ self.patches + self.positions
        angles = 1000 * t * jnp.exp(-math.log(1e4) * jnp.arange(SINUSOIDS // 2) / (SINUSOIDS // 2))
        waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)]).astype(dtype)
        embedding = jax.nn.silu(jax.nn.silu(waves @ self.time_in) @ self.time_out)
        h, _ = jax.lax.scan(
            lambda h, block: (block(h, embedding, self.heads), None), h, self.blocks
        )
        shift, scale = jnp.split(embedding @ self.modulation, 2)
        pixels = normed(h, shift, scale) @ self.last
        grid = pixels.reshape(count, count, patch, patch, channels).swapaxes(1, 2)
        return grid.reshape(x.shape).astype(x.dtype)


def normed(h: Array, shift: Array, scale: Array) -> Array:
    """Tokens of mean 0 and variance 1, computed in float32, then scaled and shifted."""
    h32 = h.astype(jnp.float32)
    centered = h32 - jnp.mean(h32, axis=-1, keepdims=True)
    h32 = centered * jax.lax.rsqrt(jnp.mean(centered**2, axis=-1, keepdims=True) + 1e-6)
    return h32.astype(h.dtype) * (1 + scale) + shift


def transformer(
    key: Array,
    *,
    side: int = 32,
    channels: int = 4,
    patch: int = 2,
    depth: int = 12,
    width: int = 768,
    heads: int = 12,
    dtype: DTypeLike = jnp.bfloat16,
) -> Transformer:
    """Random weights; the defaults are DiT-B/2 on latents of 32 × 32 × 4 (130 M parameters)."""
    keys = iter(jax.random.split(key, 16))

    def weight(*shape: int, scale: float | None = None) -> Array:
        scale = shape[-2] ** -0.5 if scale is None else scale
        return (scale * jax.random.normal(next(keys), shape)).astype(dtype)

    size = patch**2 * channels
    blocks = Block(
        qkv=weight(depth, width, 3 * width),
        out=weight(depth, width, width),
        inner=weight(depth, width, 4 * width),
        outer=weight(depth, 4 * width, width),
        modulation=weight(depth, width, 6 * width, scale=AWAKE),
    )
    return Transformer(
        patches=weight(size, width),
        positions=weight((side // patch) ** 2, width, scale=AWAKE),
        time_in=weight(SINUSOIDS, width),
        time_out=weight(width, width),
        blocks=blocks,
        modulation=weight(width, 2 * width, scale=AWAKE),
        last=weight(width, size, scale=AWAKE),
        patch=patch,
        heads=heads,
    )
