"""A U-Net for images, and the configuration of the KTS authors' network."""

import dataclasses
import math
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PyTree

from kinetic_jax._checks import require
from kinetic_jax.networks._embedding import Embedding
from kinetic_jax.networks._layers import GroupNorm, Options, SelfAttention
from kinetic_jax.networks._settings import check_settings
from kinetic_jax.networks._slices import evaluate

#: Settings of `UNet`: those of Li et al. (arXiv 2602.07928) in their own code, 4.06 M parameters on
#: gray 32 × 32 images. Its dropout of 0.1 acts in training only and is left out.
AUTHORS_UNET: dict[str, Any] = {
    "base_channels": 32,
    "multiples": (1, 2, 4),
    "attention": (False, True, True),
    "num_res_blocks": 2,
    "groups": 8,
    "heads": 4,
    "max_frequency": 999.0,  # their fastest sinusoid turns by 1 a bin, from bin 0 to 999
    "time_bins": 1000,
    "exact_gelu": True,
}


def _conv(
    inputs: int, outputs: int, *, size: int = 3, strides: int = 1, **options: Unpack[Options]
) -> nnx.Conv:
    pad = (size // 2, size // 2)
    return nnx.Conv(inputs, outputs, (size, size), strides, padding=(pad, pad), **options)


class _NormActConv(nnx.Module):
    def __init__(self, inputs: int, outputs: int, groups: int, **options: Unpack[Options]):
        self.norm = GroupNorm(inputs, groups, **options)
        self.conv = _conv(inputs, outputs, **options)

    def __call__(self, x: Array) -> Array:
        return self.conv(jax.nn.silu(self.norm(x)))


class _ResBlock(nnx.Module):
    """Two convolutions with the embedding between them, a skip connection, optional attention."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        features: int,
        attend: bool,
        *,
        groups: int,
        heads: int,
        **options: Unpack[Options],
    ):
        self.first = _NormActConv(inputs, outputs, groups, **options)
        self.embed = nnx.Linear(features, outputs, **options)
        self.second = _NormActConv(outputs, outputs, groups, **options)
        self.skip = None if inputs == outputs else _conv(inputs, outputs, size=1, **options)
        self.attention = SelfAttention(outputs, heads, groups, **options) if attend else None

    def __call__(self, x: Array, embedding: Array) -> Array:
        h = self.first(x) + self.embed(jax.nn.silu(embedding))[:, None, None, :]
        h = self.second(h) + (x if self.skip is None else self.skip(x))
        return h if self.attention is None else self.attention(h)


class _Upsample(nnx.Module):
    """Nearest-neighbour upsampling and a 3 × 3 convolution, in 4/9 of the multiplications.

    Two of the three rows under a kernel are copies, so their weights can be added beforehand, and
    likewise for columns. Even and odd outputs add different weights, which gives four 2 × 2
    convolutions of the original image. (One convolution with four times the outputs is possible,
    but XLA's CPU backend takes seconds for its gradient.)
    """

    def __init__(self, channels: int, **options: Unpack[Options]):
        self.conv = _conv(channels, channels, **options)

    def __call__(self, x: Array) -> Array:
        assert self.conv.bias is not None
        x, bias = self.conv.promote_dtype((x, self.conv.bias[...]), dtype=self.conv.dtype)
        b, h, w, c = x.shape
        rows = [
            jnp.stack([self._parity(x, i, j) for j in (0, 1)], axis=3)  # (b, h, w, 2, c)
            for i in (0, 1)
        ]
        return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, c) + bias[None, None, None]

    def _parity(self, x: Array, odd_row: int, odd_column: int) -> Array:
        """The outputs at even or odd rows and columns."""
        kernel = _add_weights(_add_weights(self.conv.kernel[...], 0, odd_row), 1, odd_column)
        pad = [(1 - odd_row, odd_row), (1 - odd_column, odd_column)]
        return jax.lax.conv_general_dilated(
            x, kernel.astype(x.dtype), (1, 1), pad, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


def _add_weights(kernel: Array, axis: int, odd: int) -> Array:
    """Adds the weights that meet copies of the same pixel: three become two along `axis`."""
    first, second, third = jnp.split(kernel, 3, axis)
    pair = [first + second, third] if odd else [first, second + third]
    return jnp.concatenate(pair, axis)


class UNet(nnx.Module):
    """A U-Net on images of shape (height, width, channels), batch-first: `model(t, x, label)`.

    `UNet((32, 32, 1), **AUTHORS_UNET, rngs=...)` is the KTS authors' network.

    Args:
        event_shape: (height, width, channels); the sides must halve once per level but the last.
        base_channels: channels at full resolution, a multiple of `groups` and of `heads`.
        multiples: channels of each level, in multiples of `base_channels`.
        attention: for each level, whether its blocks attend over all pixels.
        num_res_blocks: residual blocks per level of the encoder; the decoder has one more.
        groups: groups of GroupNorm.
        heads: attention heads.
        num_classes: number of classes, or None; see `Embedding`.
        max_frequency: see `Embedding`.
        time_bins: see `Embedding`.
        exact_gelu: see `Embedding`.
        dtype: the dtype to compute in, such as "bfloat16"; parameters stay float32.
        rngs: random number generators for the initial weights.

    Raises:
        ValueError: if the event is not an image, its sides do not halve, or settings do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from kinetic_jax.networks import UNet
        >>> model = UNet((8, 8, 1), base_channels=8, multiples=(1,), attention=(False,),
        ...              num_res_blocks=1, rngs=nnx.Rngs(0))
        >>> model(jnp.zeros(2), jnp.zeros((2, 8, 8, 1))).shape
        (2, 8, 8, 1)
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        base_channels: int = 32,
        multiples: tuple[int, ...] = (1, 2, 4),
        attention: tuple[bool, ...] = (False, True, True),
        num_res_blocks: int = 2,
        groups: int = 8,
        heads: int = 4,
        num_classes: int | None = None,
        max_frequency: float = 1000.0,
        time_bins: int | None = None,
        exact_gelu: bool = False,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        check_settings(UNet, locals())
        require(num_res_blocks >= 1, "num_res_blocks", num_res_blocks, "be a whole number >= 1")
        _check_settings(event_shape, base_channels, multiples, attention, groups, heads)
        width = 4 * base_channels
        options: Options = {"dtype": dtype, "rngs": rngs}

        def block(inputs: int, outputs: int, attend: bool) -> _ResBlock:
            return _ResBlock(inputs, outputs, width, attend, groups=groups, heads=heads, **options)

        self.embedding = Embedding(
            base_channels,
            width,
            num_classes,
            max_frequency=max_frequency,
            time_bins=time_bins,
            exact_gelu=exact_gelu,
            **options,
        )
        channels = base_channels
        self.first = _conv(event_shape[-1], channels, **options)
        skipped = [channels]  # channels of the skip connections
        down: list[_ResBlock | _Upsample | nnx.Conv] = []
        for level, multiple in enumerate(multiples):
            for _ in range(num_res_blocks):
                down.append(block(channels, base_channels * multiple, attention[level]))
                channels = base_channels * multiple
                skipped.append(channels)
            if level < len(multiples) - 1:
                down.append(_conv(channels, channels, strides=2, **options))
                skipped.append(channels)
        self.down = nnx.List(down)
        self.middle = nnx.List([block(channels, channels, attend) for attend in (True, False)])
        up: list[_ResBlock | _Upsample | nnx.Conv] = []
        for level in reversed(range(len(multiples))):
            for _ in range(num_res_blocks + 1):
                outputs = base_channels * multiples[level]
                up.append(block(skipped.pop() + channels, outputs, attention[level]))
                channels = outputs
            if level > 0:
                up.append(_Upsample(channels, **options))
        self.up = nnx.List(up)
        self.last = _NormActConv(channels, event_shape[-1], groups, **options)

    def __call__(
        self,
        t: Float[Array, " one_or_batch"],
        x: Float[Array, "batch height width channels"],
        label: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """The velocities of a batch of images."""
        graphdef, state = nnx.split(self)
        dtype = x.dtype if self.first.dtype is None else jnp.dtype(self.first.dtype)
        sample_bytes = math.prod(x.shape[1:3]) * self.first.out_features * dtype.itemsize
        return evaluate(_Evaluation(graphdef), sample_bytes, nnx.as_pure(state), t, x, label)

    def unsliced(self, t: Array, x: Array, label: Array | None) -> Array:
        """The velocities, with the entire batch in each layer."""
        embedding = self.embedding(t, label)
        h = self.first(x)
        skipped = [h]
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, _ResBlock) else layer(h)
            skipped.append(h)
        for layer in self.middle:
            h = layer(h, embedding)
        for layer in self.up:
            if isinstance(layer, _ResBlock):
                h = layer(jnp.concatenate([h, skipped.pop()], axis=-1), embedding)
            else:
                h = layer(h)
        return self.last(h)


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """The network as a function of its weights."""

    graphdef: nnx.GraphDef

    def __call__(self, weights: PyTree, t: Array, x: Array, label: Array | None) -> Array:
        return nnx.merge(self.graphdef, weights).unsliced(t, x, label)


def _check_settings(
    event_shape: tuple[int, ...],
    base_channels: int,
    multiples: tuple[int, ...],
    attention: tuple[bool, ...],
    groups: int,
    heads: int,
) -> None:
    require(len(event_shape) == 3, "event_shape", event_shape, "be (height, width, channels)")
    require(min(multiples, default=1) >= 1, "multiples", multiples, "be whole numbers >= 1")
    expected = f"have one entry for each of the multiples {multiples}"
    require(len(multiples) == len(attention) >= 1, "attention", attention, expected)
    factor = 2 ** (len(multiples) - 1)
    divides = event_shape[0] % factor == 0 and event_shape[1] % factor == 0
    expected = f"have sides divisible by {factor} for {len(multiples)} levels"
    require(divides, "event_shape", event_shape, expected)
    for name, divisor in (("groups", groups), ("heads", heads)):
        require(divisor >= 1, name, divisor, "be a whole number >= 1")
        divides = base_channels >= 1 and base_channels % divisor == 0
        require(divides, "base_channels", base_channels, f"be a multiple of {name}, {divisor}")
