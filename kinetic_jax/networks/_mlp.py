"""A residual MLP for vectors and small images."""

import functools
import math
from typing import Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kinetic_jax._checks import require
from kinetic_jax.networks._embedding import Embedding
from kinetic_jax.networks._layers import Options
from kinetic_jax.networks._settings import check_settings


class _Block(nnx.Module):
    """h + MLP(norm(h) · (1 + scale) + shift), with scale and shift linear in the embedding."""

    def __init__(self, width: int, **options: Unpack[Options]):
        self.norm = nnx.LayerNorm(width, **options)
        linear = functools.partial(nnx.Linear, width, **options)
        self.modulation = linear(2 * width)
        self.inner = linear(width)
        self.outer = linear(width, kernel_init=nnx.initializers.zeros)

    def __call__(self, h: Array, embedding: Array) -> Array:
        scale, shift = jnp.split(self.modulation(embedding), 2, axis=-1)
        y = self.norm(h) * (1 + scale) + shift
        return h + self.outer(jax.nn.silu(self.inner(y)))


class ResidualMLP(nnx.Module):
    """A residual MLP on flattened events, batch-first: `model(t, x, label)`.

    Args:
        event_shape: shape of one sample.
        width: width of the hidden layers.
        depth: number of residual blocks of two layers.
        skip: whether to add x times a learned function of time and label to the result. The
            hidden layers then need not carry the noise in all dimensions of x, which layers
            narrower than x cannot (Karras et al., EDM, arXiv 2206.00364).
        max_frequency: see `Embedding`.
        num_classes: number of classes, or None; see `Embedding`.
        dtype: the dtype to compute in, such as "bfloat16"; parameters stay float32.
        rngs: random number generators for the initial weights.

    Raises:
        ValueError: if `width` is not even and at least 4, or a setting is of a wrong kind.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from kinetic_jax.networks import ResidualMLP
        >>> model = ResidualMLP((8, 8), width=64, depth=2, rngs=nnx.Rngs(0))
        >>> model(jnp.zeros(5), jnp.zeros((5, 8, 8))).shape
        (5, 8, 8)
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        width: int = 512,
        depth: int = 4,
        skip: bool = False,
        max_frequency: float = 100.0,
        num_classes: int | None = None,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        check_settings(ResidualMLP, locals())
        require(width >= 4 and width % 2 == 0, "width", width, "be an even whole number >= 4")
        size = math.prod(event_shape)
        options: Options = {"dtype": dtype, "rngs": rngs}
        linear = functools.partial(nnx.Linear, **options)
        self.embedding = Embedding(
            width, width, num_classes, max_frequency=max_frequency, **options
        )
        self.first = linear(size, width)
        self.blocks = nnx.List([_Block(width, **options) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, **options)
        self.last = linear(width, size, kernel_init=nnx.initializers.zeros)
        if skip:
            self.skip = linear(width, 1)

    def __call__(
        self,
        t: Float[Array, " batch"],
        x: Float[Array, "batch *event"],
        label: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "batch *event"]:
        """The velocities of a batch."""
        embedding = jax.nn.silu(self.embedding(t, label))
        flat = x.reshape(x.shape[0], -1)
        h = self.first(flat)
        for block in self.blocks:
            h = block(h, embedding)
        velocity = self.last(jax.nn.silu(self.norm(h)))
        if hasattr(self, "skip"):
            velocity = velocity + self.skip(embedding) * flat.astype(velocity.dtype)
        return velocity.reshape(x.shape)
