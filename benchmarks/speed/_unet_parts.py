"""The parts of the U-Net, each at the shapes and counts of the network."""

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from jaxtyping import Array

from benchmarks.speed._unet_before import before
from kinetic_jax.networks import UNet
from kinetic_jax.networks._layers import GroupNorm, SelfAttention, attend
from kinetic_jax.networks._unet import _Upsample

Op = Callable[[Array], Array]
TorchOp = Callable[[torch.Tensor], torch.Tensor]


class Piece(NamedTuple):
    """One operation at one shape, as functions of a batch of its inputs.

    Attributes:
        shape: shape of one input.
        now: the present form.
        before: the earlier form.
        torch: the form in PyTorch.
        image: whether the input is an image, which PyTorch takes with channels first.
    """

    shape: tuple[int, ...]
    now: Op
    before: Op
    torch: TorchOp
    image: bool = True


def layer_counts(model: UNet, x: jax.ShapeDtypeStruct) -> Counter[tuple[Any, ...]]:
    """Counts of the network's layers by (class, input shape, *settings)."""
    counts: Counter[tuple[Any, ...]] = Counter()

    def counted(
        layer: type[nnx.Module], settings: Callable[[Any], tuple[Any, ...]]
    ) -> contextlib.AbstractContextManager[object]:
        original: Callable[..., Array] = layer.__call__

        def call(self: nnx.Module, x: Array, *rest: Array) -> Array:
            counts[(layer, tuple(x.shape[1:]), *settings(self))] += 1
            return original(self, x, *rest)

        return mock.patch.object(layer, "__call__", call)

    with (
        counted(nnx.Conv, lambda self: (self.kernel.shape, self.strides)),
        counted(GroupNorm, lambda self: (self.groups,)),
        counted(SelfAttention, lambda self: (self.heads,)),
        counted(_Upsample, lambda self: ()),
    ):
        nnx.eval_shape(lambda model, x: model.unsliced(jnp.zeros(x.shape[0]), x, None), model, x)
    return counts


def parts(counts: Counter[tuple[Any, ...]]) -> dict[str, list[tuple[int, Piece]]]:
    """The pieces of the counted layers by name, with the number of times each is run."""
    pieces: dict[str, list[tuple[int, Piece]]] = {}
    attending = Counter({key[1]: count for key, count in counts.items() if key[0] is SelfAttention})

    def add(name: str, count: int, piece: Piece) -> None:
        pieces.setdefault(name, []).append((count, piece))

    for (layer, shape, *settings), count in counts.items():
        if layer is nnx.Conv:
            kernel, strides = settings
            name = "convolutions 1 × 1" if kernel[0] == 1 else "convolutions 3 × 3"
            add(name, count, _convolution(shape, kernel, int(np.max(strides))))
        elif layer is _Upsample:
            add("doubling and its convolution", count, _doubling(shape))
        elif layer is GroupNorm:
            add("group norm, SiLU", count - attending[shape], _norm(shape, *settings, silu=True))
            add("group norm, SiLU", attending[shape], _norm(shape, *settings, silu=False))
        else:
            add("attention: linear layers", count, _linear(shape))
            for name, piece in _attention(shape, *settings).items():
                add(name, count, piece)
    return dict(sorted(pieces.items(), key=lambda item: "alone" in item[0]))


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _convolution(shape: tuple[int, ...], kernel: tuple[int, ...], stride: int) -> Piece:
    pad = (kernel[0] // 2,) * 2
    layer = nnx.Conv(kernel[2], kernel[3], kernel[:2], stride, padding=(pad, pad), rngs=nnx.Rngs(0))
    weight = torch.from_numpy(np.array(layer.kernel[...]).transpose(3, 2, 0, 1).copy())
    bias = torch.zeros(kernel[3])

    def run(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, weight, bias, stride, pad[0])

    return Piece(shape, layer, layer, run)


def _doubling(shape: tuple[int, ...]) -> Piece:
    channels = shape[-1]
    layer = _Upsample(channels, dtype=None, rngs=nnx.Rngs(0))
    weight = torch.from_numpy(np.array(layer.conv.kernel[...]).transpose(3, 2, 0, 1).copy())
    bias = torch.zeros(channels)

    def run(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.interpolate(x, scale_factor=2), weight, bias, 1, 1)

    return Piece(shape, layer, _earlier(layer), run)


def _norm(shape: tuple[int, ...], groups: int, *, silu: bool) -> Piece:
    layer = GroupNorm(shape[-1], groups, dtype=None, rngs=nnx.Rngs(0))
    scale, bias = torch.ones(shape[-1]), torch.zeros(shape[-1])
    activation: Op = jax.nn.silu if silu else lambda x: x
    torch_activation: TorchOp = F.silu if silu else lambda x: x
    earlier = _earlier(layer)

    def run(x: torch.Tensor) -> torch.Tensor:
        return torch_activation(F.group_norm(x, groups, scale, bias, 1e-5))

    return Piece(shape, lambda x: activation(layer(x)), lambda x: activation(earlier(x)), run)


def _linear(shape: tuple[int, ...]) -> Piece:
    channels = shape[-1]
    inner, outer = _draw(channels, 3 * channels), _draw(channels, channels)
    weights = [torch.from_numpy(weight.T.copy()) for weight in (inner, outer)]

    def by_jax(x: Array) -> Array:
        return (x @ inner)[..., :channels] @ outer

    def by_torch(x: torch.Tensor) -> torch.Tensor:
        qkv = F.linear(x.flatten(2).transpose(1, 2), weights[0])
        return F.linear(qkv[..., :channels], weights[1])

    return Piece(shape, by_jax, by_jax, by_torch)


def _attention(shape: tuple[int, ...], heads: int) -> dict[str, Piece]:
    """The softmax-weighted sums, and each of their three steps."""
    tokens, features = shape[0] * shape[1], shape[2] // heads
    vectors, square = (heads, tokens, features), (heads, tokens, tokens)

    def product(q: Array) -> Array:
        return jnp.einsum("bntf,bnsf->bnts", q, q)

    def softmax(s: Array) -> Array:
        return jax.nn.softmax(s, axis=-1)

    def mix(s: Array) -> Array:
        return jnp.einsum("bnts,bnsf->bntf", s, s[..., :features])

    def attention(q: Array) -> Array:
        return jnp.einsum("bnts,bnsf->bntf", softmax(product(q)), q)

    kernel = F.scaled_dot_product_attention
    forms: dict[str, tuple[tuple[int, ...], Op, Op, TorchOp]] = {
        "attention: softmax(q kᵀ) v": (
            vectors,
            lambda q: attend(q, q, q),
            attention,
            lambda q: kernel(q, q, q),
        ),
        "(scores alone)": (vectors, product, product, lambda q: q @ q.transpose(-1, -2)),
        "(softmax alone)": (square, softmax, softmax, lambda s: torch.softmax(s, dim=-1)),
        "(mixture alone)": (square, mix, mix, lambda s: s @ s[..., :features]),
    }
    return {name: Piece(*form, image=False) for name, form in forms.items()}


def _earlier(layer: GroupNorm | _Upsample) -> Op:
    def call(x: Array) -> Array:
        with before(type(layer)):
            return layer(x)

    return call


def callers(
    pieces: Iterable[tuple[int, Piece]], batch: int, slices: int
) -> dict[str, Callable[[], None]]:
    """Functions that run the pieces as often as the network does, on a batch of their inputs."""
    runs: dict[str, list[tuple[int, Callable[[], object]]]] = {"torch": [], "before": [], "now": []}
    for count, piece in pieces:
        x = _draw(batch, *piece.shape)
        first = x.transpose(0, 3, 1, 2) if piece.image else x
        by_torch = functools.partial(piece.torch, torch.from_numpy(first.copy()))
        runs["torch"].append((count, by_torch))
        runs["before"].append((count, functools.partial(jax.jit(piece.before), jnp.asarray(x))))
        # One slice repeatedly: in the network, too, it is in cache from the layer before.
        now = functools.partial(jax.jit(piece.now), jnp.asarray(x[: batch // slices]))
        runs["now"].append((count * slices, now))
    return {name: _repeated(calls) for name, calls in runs.items()}


def _repeated(calls: list[tuple[int, Callable[[], object]]]) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            for count, call in calls:
                for _ in range(count):
                    jax.block_until_ready(call())

    return run
