"""PyTorch on the device that JAX computes on; it is imported when called."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
from jaxtyping import Array

from benchmarks.speed.accelerator._preset import LeftOutError

if TYPE_CHECKING:
    import torch


def torch_device() -> str:
    """PyTorch's name of JAX's device.

    Raises:
        LeftOutError: if PyTorch does not compute on it.
    """
    import torch

    platform = jax.default_backend()
    if platform == "cpu":
        return "cpu"
    if platform == "gpu" and torch.cuda.is_available():
        return "cuda"
    raise LeftOutError(f"this PyTorch ({torch.__version__}) does not compute on the {platform}")


def on_device(array: Array) -> "torch.Tensor":
    """The same memory as a tensor.

    Raises:
        LeftOutError: if PyTorch does not compute on the array's device.
    """
    import torch

    torch_device()
    return torch.from_dlpack(jax.block_until_ready(array))


def synchronized(call: Callable[[], Any]) -> Callable[[], Any]:
    """The call without gradients, which returns when the device is done."""
    import torch

    def until_done() -> Any:
        with torch.no_grad():
            result = call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return result

    return until_done
