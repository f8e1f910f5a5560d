"""Checkpoints by PyTorch and the outputs of their networks; run as a program, in the extra `bench`.

The network is that of Li et al. in PyTorch's modules; the names of its weights are those of the
authors' code (github.com/ziyunli-2023/KPE-KTS, Experiments/src/Utils/Unet.py).
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
BINS = (0, 1, 333, 640, 999)


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.group_norm = nn.GroupNorm(8, channels)
        self.mhsa = nn.MultiheadAttention(channels, 4, batch_first=True)

    def forward(self, x):
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)
        mixed, _ = self.mhsa(tokens, tokens, tokens)
        return x + mixed.transpose(1, 2).reshape(x.shape)


class NormActConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(8, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x):
        return self.conv(nn.functional.silu(self.norm(x)))


class Block(nn.Module):
    def __init__(self, inputs, outputs, features, attend):
        super().__init__()
        self.block1, self.block2 = NormActConv(inputs, outputs), NormActConv(outputs, outputs)
        self.dense = nn.Linear(features, outputs)
        self.res_conv = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.attention = Attention(outputs) if attend else nn.Identity()

    def forward(self, x, embedding):
        h = self.block1(x) + self.dense(nn.functional.silu(embedding))[:, :, None, None]
        return self.attention(self.block2(h) + self.res_conv(x))


class Down(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.downsample = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, x, embedding):
        return self.downsample(x)


class Up(nn.Module):
    def __init__(self, channels):
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = nn.Sequential(nn.Upsample(scale_factor=2), conv)

    def forward(self, x, embedding):
        return self.upsample(x)


class Time(nn.Module):
    def __init__(self, base):
        super().__init__()
        frequencies = torch.exp(torch.arange(base // 2) * (-math.log(1e4) / (base // 2 - 1)))
        angles = torch.arange(1000.0)[:, None] * frequencies
        table = torch.cat([angles.sin(), angles.cos()], dim=1)
        outer = nn.Linear(4 * base, 4 * base)
        self.time_mlp = nn.Sequential(
            nn.Embedding.from_pretrained(table), nn.Linear(base, 4 * base), nn.GELU(), outer
        )

    def forward(self, time_bin):
        return self.time_mlp(time_bin)


class UNet(nn.Module):
    def __init__(self, channels, base, multiples, attention, num_res_blocks):
        super().__init__()
        self.time_embeddings = Time(base)
        self.init_conv = nn.Conv2d(channels, base, 3, padding=1)
        inputs, skipped, encoder, decoder = base, [base], [], []
        for level, (multiple, attend) in enumerate(zip(multiples, attention, strict=True)):
            for _ in range(num_res_blocks):
                encoder.append(Block(inputs, base * multiple, 4 * base, attend))
                inputs = base * multiple
                skipped.append(inputs)
            if level < len(multiples) - 1:
                encoder.append(Down(inputs))
                skipped.append(inputs)
        middle = [Block(inputs, inputs, 4 * base, attend) for attend in (True, False)]
        for level in reversed(range(len(multiples))):
            for _ in range(num_res_blocks + 1):
                outputs = base * multiples[level]
                decoder.append(Block(skipped.pop() + inputs, outputs, 4 * base, attention[level]))
                inputs = outputs
            if level > 0:
                decoder.append(Up(inputs))
        self.encoder_blocks, self.bottleneck_blocks, self.decoder_blocks = map(
            nn.ModuleList, (encoder, middle, decoder)
        )
        self.final_block = NormActConv(inputs, channels)

    def forward(self, x, time_bin):
        embedding, h = self.time_embeddings(time_bin), self.init_conv(x)
        skipped = [h]
        for layer in self.encoder_blocks:
            h = layer(h, embedding)
            skipped.append(h)
        for layer in self.bottleneck_blocks:
            h = layer(h, embedding)
        for layer in self.decoder_blocks:
            if isinstance(layer, Block):
                h = torch.cat([h, skipped.pop()], dim=1)
            h = layer(h, embedding)
        return self.final_block(h)


def randomized(model):
    """The model with random weights, biases included, that half precision holds."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "time_mlp.0" in name:
                continue
            draw = torch.randn(weight.shape)
            if weight.ndim > 1:
                weight.copy_((draw / max(weight[0].numel(), 4) ** 0.5).half().float())
            else:
                weight.copy_(0.3 * draw + (name.endswith("norm.weight")))
    return model.eval()


def evaluated(model, channels, side):
    """Inputs and outputs of the network, channels last."""
    x, time_bins = torch.randn(len(BINS), channels, side, side), torch.tensor(BINS)
    with torch.no_grad():
        velocity = model(x, time_bins)
    return x.permute(0, 2, 3, 1).numpy(), velocity.permute(0, 2, 3, 1).numpy()


def shaped_loop(model, x, num_steps=20, alpha0=0.05, beta0=0.02, tau_split=0.6):
    """Where x, channels last, ends by the authors' Euler steps under KTS."""
    x = torch.tensor(x).permute(0, 3, 1, 2)
    for step in range(num_steps):
        t = step / num_steps
        if t < tau_split:
            gain = 1 + alpha0 * (1 - t / tau_split)
        else:
            gain = 1 - beta0 * (math.exp(3 * (t - tau_split) / (1 - tau_split)) - 1)
        with torch.no_grad():
            velocity = model(x, torch.full((len(x),), int(999 * t)))
        x = x + gain / num_steps * velocity
    return x.permute(0, 2, 3, 1).numpy()


def main():
    """Writes the files beside this one."""
    torch.manual_seed(0)
    # As their code saves it, the larger weights in half precision.
    model = randomized(UNet(1, 8, (1, 2, 4), (False, True, True), 2))
    state = model.state_dict()
    for name, weight in state.items():
        if weight.ndim > 1 and "time_mlp.0" not in name:
            state[name] = weight.half()
    torch.save(state, HERE / "Model_0")
    x, velocity = evaluated(model, 1, 32)
    # As training loops save it: of several devices, among other things; colours, one level. With 8
    # channels in 8 groups GroupNorm would take the time out again.
    small = randomized(UNet(3, 8, (2,), (True,), 1))
    parallel = nn.DataParallel(small)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
    checkpoint = {
        "epoch": 3,
        "loss": 0.25,
        "model_state_dict": parallel.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
    }
    torch.save(checkpoint, HERE / "training.pt")
    small_x, small_velocity = evaluated(small, 3, 8)
    np.savez_compressed(
        HERE / "outputs.npz",
        time_bins=np.array(BINS), x=x, velocity=velocity,
        small_x=small_x, small_velocity=small_velocity, small_end=shaped_loop(small, small_x),
    )  # fmt: skip
    # And a file of PyTorch before 1.6.
    torch.save({"a": torch.zeros(1)}, HERE / "old.pt", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
