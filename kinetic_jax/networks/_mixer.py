"""An MLP-Mixer for images, small enough to train on a laptop."""

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
    """Mixing between patches, then within each, of normalised, scaled and shifted inputs."""

    def __init__(
        self,
        patches: int,
        width: int,
        between: int,
        within: int,
        features: int,
        **options: Unpack[Options],
    ):
        linear = functools.partial(nnx.Linear, **options)
        from_zero = functools.partial(linear, kernel_init=nnx.initializers.zeros)
        self.modulation = from_zero(features, 4 * width)
        self.patches_in, self.patches_out = linear(patches, between), from_zero(between, patches)
        self.channels_in, self.channels_out = linear(width, within), from_zero(within, width)
        self.norms = nnx.List([_norm(width, **options) for _ in range(2)])

    def __call__(self, h: Array, embedding: Array) -> Array:
        scales_and_shifts = jnp.split(self.modulation(embedding)[:, None], 4, axis=-1)
        y = _modulated(self.norms[0](h), *scales_and_shifts[:2])
        mixed = self.patches_out(jax.nn.gelu(self.patches_in(y.swapaxes(1, 2))))
        h = h + mixed.swapaxes(1, 2)
        y = _modulated(self.norms[1](h), *scales_and_shifts[2:])
        return h + self.channels_out(jax.nn.gelu(self.channels_in(y)))


def _norm(width: int, **options: Unpack[Options]) -> nnx.LayerNorm:
    # The modulation supplies scale and shift.
    return nnx.LayerNorm(width, use_bias=False, use_scale=False, **options)


def _modulated(h: Array, scale: Array, shift: Array) -> Array:
    return h * (1 + scale) + shift


class PatchMixer(nnx.Module):
    """An MLP-Mixer on patches of an image, batch-first: `model(t, x, label)`.

    Every block mixes each channel between the patches, then the channels within each patch
    (Tolstikhin et al., MLP-Mixer, arXiv 2105.01601); time and label scale and shift the inputs
    of a block (Peebles and Xie, DiT, arXiv 2212.09748, without its gates).

    Args:
        event_shape: (height, width, channels) of one sample.
        patch_size: side of a patch in pixels; must divide both sides.
        width: channels of a patch.
        depth: number of blocks.
        between: width of the hidden layer that mixes patches; 3/4 of `width` by default.
        within: width of the hidden layer that mixes channels; 2 `width` by default.
        told: width of the embedding of time and label, even and at least 4.
        max_frequency: see `Embedding`.
        num_classes: number of classes, or None; see `Embedding`.
        dtype: the dtype to compute in, such as "bfloat16"; parameters stay float32.
        rngs: random number generators for the initial weights.

    Raises:
        ValueError: if the events are not images that the patches divide, or a size is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from kinetic_jax.networks import PatchMixer
        >>> model = PatchMixer((28, 28, 1), width=16, depth=1, rngs=nnx.Rngs(0))
        >>> velocity = nnx.jit(lambda model, t, x: model(t, x))
        >>> velocity(model, jnp.zeros(5), jnp.zeros((5, 28, 28, 1))).shape
        (5, 28, 28, 1)
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        patch_size: int = 4,
        width: int = 96,
        depth: int = 3,
        between: int | None = None,
        within: int | None = None,
        told: int = 128,
        max_frequency: float = 100.0,
        num_classes: int | None = None,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        check_settings(PatchMixer, locals())
        between = 3 * width // 4 if between is None else between
        within = 2 * width if within is None else within
        positive = {"patch_size": patch_size, "width": width, "between": between, "within": within}
        for name, size in positive.items():
            require(size >= 1, name, size, "be a whole number >= 1")
        require(told >= 4 and told % 2 == 0, "told", told, "be an even whole number >= 4")
        divides = len(event_shape) == 3 and all(side % patch_size == 0 for side in event_shape[:2])
        expected = f"be (height, width, channels) with sides that {patch_size} divides"
        require(divides, "event_shape", event_shape, expected)
        self.grid = (event_shape[0] // patch_size, event_shape[1] // patch_size)
        self.patch_size = patch_size
        patches, inputs = math.prod(self.grid), patch_size**2 * event_shape[2]
        options: Options = {"dtype": dtype, "rngs": rngs}
        linear = functools.partial(nnx.Linear, **options)
        from_zero = functools.partial(linear, kernel_init=nnx.initializers.zeros)
        self.embedding = Embedding(told, told, num_classes, max_frequency=max_frequency, **options)
        self.first = linear(inputs, width)
        self.places = nnx.Param(0.02 * jax.random.normal(rngs.params(), (patches, width)))
        sizes = (patches, width, between, within, told)
        self.blocks = nnx.List([_Block(*sizes, **options) for _ in range(depth)])
        self.norm = _norm(width, **options)
        self.modulation = from_zero(told, 2 * width)
        self.last = from_zero(width, inputs)

    def __call__(
        self,
        t: Float[Array, " batch"],
        x: Float[Array, "batch height width channels"],
        label: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """The velocities of a batch."""
        embedding = jax.nn.silu(self.embedding(t, label))
        h = self.first(self._patches(x))
        h = h + self.places[...].astype(h.dtype)[None]
        for block in self.blocks:
            h = block(h, embedding)
        scale_and_shift = jnp.split(self.modulation(embedding)[:, None], 2, axis=-1)
        return self._image(self.last(_modulated(self.norm(h), *scale_and_shift)), x.shape)

    def _patches(self, x: Array) -> Array:
        """(batch, height, width, channels) to (batch, patches, inputs)."""
        (rows, columns), side, channels = self.grid, self.patch_size, x.shape[-1]
        x = x.reshape(-1, rows, side, columns, side, channels).swapaxes(2, 3)
        return x.reshape(x.shape[0], rows * columns, side * side * channels)

    def _image(self, h: Array, shape: tuple[int, ...]) -> Array:
        (rows, columns), side, channels = self.grid, self.patch_size, shape[-1]
        return h.reshape(-1, rows, columns, side, side, channels).swapaxes(2, 3).reshape(shape)
