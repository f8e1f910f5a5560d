"""The package's U-Net in idiomatic PyTorch, channels first, with the same weights."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetic_jax.networks import UNet as JaxUNet
from kinetic_jax.networks._embedding import Embedding as JaxEmbedding
from kinetic_jax.networks._layers import GroupNorm, SelfAttention


def _tensor(variable: Any, *axes: int) -> nn.Parameter:
    """A parameter of the Flax network, its axes in PyTorch's order."""
    value = np.array(variable[...])
    value = value.transpose(axes) if axes else value
    return nn.Parameter(torch.from_numpy(np.ascontiguousarray(value)), requires_grad=False)


def _conv(source: Any, stride: int = 1) -> nn.Conv2d:
    size, _, inputs, outputs = source.kernel.shape
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2)
    layer.weight, layer.bias = _tensor(source.kernel, 3, 2, 0, 1), _tensor(source.bias)
    return layer


def _linear(source: Any) -> nn.Linear:
    layer = nn.Linear(*source.kernel.shape)
    layer.weight, layer.bias = _tensor(source.kernel, 1, 0), _tensor(source.bias)
    return layer


def _norm(source: GroupNorm) -> nn.GroupNorm:
    layer = nn.GroupNorm(source.groups, source.scale.shape[0], eps=1e-5)
    layer.weight, layer.bias = _tensor(source.scale), _tensor(source.bias)
    return layer


class Attention(nn.Module):
    """x + attention over the pixels of norm(x), by PyTorch's kernel or by its formula."""

    def __init__(self, source: SelfAttention, kernel: bool = True):
        super().__init__()
        self.norm, self.heads, self.kernel = _norm(source.norm), source.heads, kernel
        self.qkv, self.out = _linear(source.qkv), _linear(source.out)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        flat = self.norm(x).reshape(b, c, h * w).transpose(1, 2)
        qkv = self.qkv(flat).reshape(b, h * w, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.kernel:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1) @ v
        mixed = self.out(mixed.transpose(1, 2).reshape(b, h * w, c))
        return x + mixed.transpose(1, 2).reshape(b, c, h, w)


class NormActConv(nn.Module):
    """A convolution of silu(norm(x))."""

    def __init__(self, source: Any):
        super().__init__()
        self.norm, self.conv = _norm(source.norm), _conv(source.conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.silu(self.norm(x)))


class ResBlock(nn.Module):
    """Two convolutions with the embedding between them, a skip connection, optional attention."""

    def __init__(self, source: Any, kernel: bool):
        super().__init__()
        self.first, self.second = NormActConv(source.first), NormActConv(source.second)
        self.embed = _linear(source.embed)
        self.skip = nn.Identity() if source.skip is None else _conv(source.skip)
        attends = source.attention is not None
        self.attention = Attention(source.attention, kernel) if attends else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.first(x) + self.embed(F.silu(embedding))[:, :, None, None]
        return self.attention(self.second(h) + self.skip(x))


class Embedding(nn.Module):
    """Sinusoids of the time and two layers."""

    def __init__(self, source: JaxEmbedding):
        super().__init__()
        self.inner, self.outer = _linear(source.inner), _linear(source.outer)
        self.half, self.bins, self.fastest = source.dim // 2, source.time_bins, source.max_frequency
        self.gelu = nn.GELU("none" if source.exact_gelu else "tanh")

    def forward(self, t: Tensor) -> Tensor:
        if self.bins is not None:
            last = self.bins - 1
            t = torch.clamp(torch.floor(t * last), 0, last) / last
        places = torch.arange(self.half, device=t.device)
        frequencies = torch.exp(places * (-math.log(1e4) / (self.half - 1)))
        angles = self.fastest * t[:, None] * frequencies
        waves = torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)
        return self.outer(self.gelu(self.inner(waves.to(self.inner.weight.dtype))))


class UNet(nn.Module):
    """`UNet(model)(t, x)` is `model(t, x)`, with x of shape (batch, channels, height, width).

    Args:
        source: a `kinetic_jax.networks.UNet` without classes.
        kernel: use `scaled_dot_product_attention`, not its formula.
    """

    def __init__(self, source: JaxUNet, kernel: bool = True):
        super().__init__()

        def layer(source: Any) -> nn.Module:
            if hasattr(source, "embed"):
                return ResBlock(source, kernel)
            if hasattr(source, "conv"):
                return nn.Sequential(nn.Upsample(scale_factor=2), _conv(source.conv))
            return _conv(source, stride=2)

        self.embedding, self.first = Embedding(source.embedding), _conv(source.first)
        self.down, self.middle, self.up = (
            nn.ModuleList(map(layer, layers)) for layers in (source.down, source.middle, source.up)
        )
        self.last = NormActConv(source.last)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        embedding, h = self.embedding(t), self.first(x)
        skipped = [h]
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, ResBlock) else layer(h)
            skipped.append(h)
        for layer in self.middle:
            h = layer(h, embedding)
        for layer in self.up:
            if isinstance(layer, ResBlock):
                h = layer(torch.cat([h, skipped.pop()], dim=1), embedding)
            else:
                h = layer(h)
        return self.last(h)
