"""The residual MLP in PyTorch with the same weights, and samplers for PyTorch."""

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from flax import nnx
from flax.traverse_util import flatten_dict
from flow_matching.solver import ODESolver

from kinetic_jax.networks import NetworkField

EPS = 1e-6  # of Flax's LayerNorm


class TorchMLP(torch.nn.Module):
    """`ResidualMLP` without classes; `model(t, x)` with t of shape (batch,), or (1,) for all."""

    frequencies: torch.Tensor

    def __init__(self, size: int, width: int, depth: int, max_frequency: float = 100.0):
        super().__init__()
        linear, norm = torch.nn.Linear, torch.nn.LayerNorm
        half = width // 2
        angles = max_frequency * torch.exp(torch.arange(half) * (-math.log(1e4) / (half - 1)))
        self.register_buffer("frequencies", angles, persistent=False)
        self.inner, self.outer = linear(width, width), linear(width, width)
        self.first, self.last = linear(size, width), linear(width, size)
        self.norm = norm(width, eps=EPS)
        self.blocks = torch.nn.ModuleList(
            torch.nn.ModuleDict(
                {
                    "norm": norm(width, eps=EPS),
                    "modulation": linear(width, 2 * width),
                    "inner": linear(width, width),
                    "outer": linear(width, width),
                }
            )
            for _ in range(depth)
        )

    def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The velocities of a batch."""
        silu = torch.nn.functional.silu
        angles = t[:, None] * self.frequencies
        h = torch.nn.functional.gelu(
            self.inner(torch.cat([angles.sin(), angles.cos()], 1)), approximate="tanh"
        )
        embedding = silu(self.outer(h))
        h = self.first(x)
        block: Any
        for block in self.blocks:
            scale, shift = block["modulation"](embedding).chunk(2, 1)
            y = block["norm"](h) * (1 + scale) + shift
            h = h + block["outer"](silu(block["inner"](y)))
        return self.last(silu(self.norm(h)))


def ported(field: NetworkField) -> TorchMLP:
    """The network of an MLP field in PyTorch, with all of its weights."""
    (size,) = field.event_shape
    state = flatten_dict(nnx.to_pure_dict(field.velocity.state))
    weights = {path: np.asarray(value) for path, value in state.items()}
    width = weights["first", "kernel"].shape[1]
    model = TorchMLP(size, width, len({path[1] for path in weights if path[0] == "blocks"}))
    tensors = {}
    for path, value in weights.items():
        *module, kind = (str(part) for part in path if part != "embedding")
        name = ".".join([*module, "bias" if kind == "bias" else "weight"])
        tensors[name] = torch.tensor(value.T if kind == "kernel" else value)
    model.load_state_dict(tensors)
    return model.eval()


def one_time(model: TorchMLP) -> Callable[[float, torch.Tensor], torch.Tensor]:
    """The model as called by loops by hand, with the time embedded once for the batch."""
    return lambda t, x: model(torch.full((1,), t), x)


def by_flow_matching(
    model: Callable[..., torch.Tensor], x0: torch.Tensor, num_steps: int, *, once: bool
) -> torch.Tensor:
    """Sampling by `flow_matching`, with the time embedded for each sample, as usual, or once."""
    expanded = 1 if once else len(x0)
    solver = ODESolver(velocity_model=lambda x, t: model(t.expand(expanded), x))
    times = torch.linspace(0, 1, num_steps + 1, device=x0.device)
    return solver.sample(x0, step_size=None, method="euler", time_grid=times)


def torchcfm_works() -> bool:
    """True if torchdyn can be imported; prints the reason if not.

    It imports an installed torchvision, which fails if built for CUDA beside a PyTorch for CPU:
    `pip uninstall torchvision`, which is not needed here.
    """
    try:
        importlib.import_module("torchdyn.core")
    except ModuleNotFoundError:
        raise
    except (ImportError, RuntimeError) as error:
        print(f"left out: torchcfm, whose torchdyn cannot be imported ({error})")
        return False
    return True


def by_torchcfm(model: TorchMLP, x0: torch.Tensor, num_steps: int) -> torch.Tensor:
    """Sampling as in the examples of `torchcfm`, by a NeuralODE of torchdyn."""
    from torchdyn.core import NeuralODE

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, t: torch.Tensor, x: torch.Tensor, *args: object, **kwargs: object
        ) -> torch.Tensor:
            return self.model(t.expand(len(x)), x)

    node = NeuralODE(Wrapped(), solver="euler", sensitivity="adjoint")
    return node.trajectory(x0, torch.linspace(0, 1, num_steps + 1))[-1]
