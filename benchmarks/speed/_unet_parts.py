"""The parts of the U-Net, each alone at its true shapes and counts."""

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
from kinetic_jax.networks._attention import SelfAttention, attend
from kinetic_jax.networks._norm import GroupNorm
from kinetic_jax.networks._unet import _Upsample

Op = Callable[[Array], Any]


class Piece(NamedTuple):
    """One kind of work at one shape, as functions of a batch of its inputs.

    Attributes:
        shape: of the input of one sample.
        now: how the network does it.
        before: how it did.
        torch: how PyTorch does.
        image: whether the input is an image, which PyTorch is given with its channels first.
    """

    shape: tuple[int, ...]
    now: Op
    before: Op
    torch: Callable[[torch.Tensor], Any]
    image: bool = True


def recorded(model: UNet, x: Any) -> Counter[tuple[Any, ...]]:
    """Counts of the layers that the network runs, by shape."""
    seen: Counter[tuple[Any, ...]] = Counter()

    def noting(layer: type[Any], describe: Callable[[Any], tuple[Any, ...]]) -> Any:
        original = layer.__call__

        def call(self: Any, x: Array, *rest: Any) -> Any:
            seen[(layer, tuple(x.shape[1:]), *describe(self))] += 1
            return original(self, x, *rest)

        return mock.patch.object(layer, "__call__", call)

    with (
        noting(nnx.Conv, lambda self: (self.kernel.shape, self.strides)),
        noting(GroupNorm, lambda self: (self.groups,)),
        noting(SelfAttention, lambda self: (self.heads,)),
        noting(_Upsample, lambda self: ()),
    ):
        nnx.eval_shape(lambda model, x: model.whole(jnp.zeros(x.shape[0]), x, None), model, x)
    return seen


def parts(seen: Counter[tuple[Any, ...]]) -> dict[str, list[tuple[int, Piece]]]:
    """The pieces of the layers by what they do, with how often each is run."""
    found: dict[str, list[tuple[int, Piece]]] = {}
    attending = Counter({key[1]: count for key, count in seen.items() if key[0] is SelfAttention})

    def add(name: str, count: int, piece: Piece) -> None:
        found.setdefault(name, []).append((count, piece))

    for (layer, shape, *told), count in seen.items():
        if layer is nnx.Conv:
            kernel, strides = told
            name = "convolutions 1 × 1" if kernel[0] == 1 else "convolutions 3 × 3"
            add(name, count, _convolution(shape, kernel, int(np.max(strides))))
        elif layer is _Upsample:
            add("doubling and its convolution", count, _doubling(shape))
        elif layer is GroupNorm:
            add("group norm, SiLU", count - attending[shape], _norm(shape, *told, silu=True))
            add("group norm, SiLU", attending[shape], _norm(shape, *told, silu=False))
        else:
            add("attention: linear layers", count, _linear(shape))
            for name, piece in _attention(shape, *told).items():
                add(name, count, piece)
    return dict(sorted(found.items(), key=lambda item: "alone" in item[0]))


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _convolution(shape: tuple[int, ...], kernel: tuple[int, ...], stride: int) -> Piece:
    pad = (kernel[0] // 2,) * 2
    layer = nnx.Conv(kernel[2], kernel[3], kernel[:2], stride, padding=(pad, pad), rngs=nnx.Rngs(0))
    weight = torch.from_numpy(np.array(layer.kernel[...]).transpose(3, 2, 0, 1).copy())
    bias = torch.zeros(kernel[3])

    def run(x: Any) -> Any:
        return F.conv2d(x, weight, bias, stride, pad[0])

    return Piece(shape, layer, layer, run)


def _doubling(shape: tuple[int, ...]) -> Piece:
    channels = shape[-1]
    layer = _Upsample(channels, rngs=nnx.Rngs(0))
    weight = torch.from_numpy(np.array(layer.conv.kernel[...]).transpose(3, 2, 0, 1).copy())
    bias = torch.zeros(channels)

    def run(x: Any) -> Any:
        return F.conv2d(F.interpolate(x, scale_factor=2), weight, bias, 1, 1)

    return Piece(shape, layer, _earlier(layer), run)


def _norm(shape: tuple[int, ...], groups: int, *, silu: bool) -> Piece:
    layer = GroupNorm(shape[-1], groups, dtype=None, rngs=nnx.Rngs(0))
    scale, bias = torch.ones(shape[-1]), torch.zeros(shape[-1])
    own = jax.nn.silu if silu else lambda x: x
    torchs = F.silu if silu else lambda x: x
    old = _earlier(layer)

    def run(x: Any) -> Any:
        return torchs(F.group_norm(x, groups, scale, bias, 1e-5))

    return Piece(shape, lambda x: own(layer(x)), lambda x: own(old(x)), run)


def _linear(shape: tuple[int, ...]) -> Piece:
    channels = shape[-1]
    inner, outer = _draw(channels, 3 * channels), _draw(channels, channels)
    weights = [torch.from_numpy(weight.T.copy()) for weight in (inner, outer)]

    def own(x: Array) -> Array:
        return (x @ inner)[..., :channels] @ outer

    def torchs(x: torch.Tensor) -> torch.Tensor:
        qkv = F.linear(x.flatten(2).transpose(1, 2), weights[0])
        return F.linear(qkv[..., :channels], weights[1])

    return Piece(shape, own, own, torchs)


def _attention(shape: tuple[int, ...], heads: int) -> dict[str, Piece]:
    """The softmax-weighted sums, and their three steps each by itself."""
    tokens, features = shape[0] * shape[1], shape[2] // heads
    vectors, square = (heads, tokens, features), (heads, tokens, tokens)

    def product(q: Any) -> Any:
        return jnp.einsum("bntf,bnsf->bnts", q, q)

    def softmax(s: Any) -> Any:
        return jax.nn.softmax(s, axis=-1)

    def mix(s: Any) -> Any:
        return jnp.einsum("bnts,bnsf->bntf", s, s[..., :features])

    def whole(q: Any) -> Any:
        return jnp.einsum("bnts,bnsf->bntf", softmax(product(q)), q)

    kernel = F.scaled_dot_product_attention
    given: dict[str, tuple[tuple[int, ...], Op, Op, Callable[[torch.Tensor], Any]]] = {
        "attention: softmax(q kᵀ) v": (
            vectors,
            lambda q: attend(q, q, q),
            whole,
            lambda q: kernel(q, q, q),
        ),
        "(scores alone)": (vectors, product, product, lambda q: q @ q.transpose(-1, -2)),
        "(softmax alone)": (square, softmax, softmax, lambda s: torch.softmax(s, dim=-1)),
        "(mixture alone)": (square, mix, mix, lambda s: s @ s[..., :features]),
    }
    return {name: Piece(*told, image=False) for name, told in given.items()}


def _earlier(layer: Any) -> Op:
    def call(x: Array) -> Any:
        with before(type(layer)):
            return layer(x)

    return call


def callers(
    pieces: Iterable[tuple[int, Piece]], batch: int, slices: int
) -> dict[str, Callable[[], Any]]:
    """Functions that run the pieces as often as the network does, on a batch of their inputs."""
    runs: dict[str, list[tuple[int, Callable[[], Any]]]] = {"torch": [], "before": [], "now": []}
    for count, piece in pieces:
        x = _draw(batch, *piece.shape)
        first = x.transpose(0, 3, 1, 2) if piece.image else x
        runs["torch"].append((count, _bound(piece.torch, torch.from_numpy(first.copy()))))
        runs["before"].append((count, _bound(jax.jit(piece.before), jnp.asarray(x))))
        # The same slice again and again: in the network it is in cache too, from the layer before.
        slice_ = jnp.asarray(x[: batch // slices])
        runs["now"].append((count * slices, _bound(jax.jit(piece.now), slice_)))
    return {name: _repeated(calls) for name, calls in runs.items()}


def _bound(call: Callable[[Any], Any], x: Any) -> Callable[[], Any]:
    return lambda: call(x)


def _repeated(calls: list[tuple[int, Callable[[], Any]]]) -> Callable[[], Any]:
    def run() -> None:
        with torch.inference_mode():
            for count, call in calls:
                for _ in range(count):
                    jax.block_until_ready(call())

    return run
