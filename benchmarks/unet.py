"""The KTS authors' U-Net against the same network in PyTorch, and where the time goes."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from jaxtyping import Array
from rich.console import Console
from rich.table import Table

from benchmarks import _torch_unet
from benchmarks._show import show
from benchmarks._timing import Timing, compare
from benchmarks._unet_before import FORMS, before
from benchmarks._unet_parts import callers, parts, recorded
from kinetic_jax import UNet, network_field
from kinetic_jax.networks import AUTHORS_UNET, NetworkField
from kinetic_jax.networks._attention import SelfAttention
from kinetic_jax.networks._norm import GroupNorm

BATCH, SLICES, SHAPE = 64, 4, (32, 32, 1)
FASTEST, BEFORE, NOW = "PyTorch", "before", "and slices: now"
LIMIT = "limit: 1.0 for the last two rows"


def _compiled(model: UNet, t: Array, x: Array, *, whole: bool) -> Callable[[], Any]:
    graphdef, state = nnx.split(model)

    def forward(state: Any, t: Array, x: Array) -> Array:
        model = nnx.merge(graphdef, state)
        return model.whole(t, x, None) if whole else model(t, x)

    return functools.partial(jax.jit(forward).lower(state, t, x).compile(), state, t, x)


def _torch_forward(model: UNet, t: Any, x: Any, *, kernel: bool, last: bool) -> Callable[[], Any]:
    network = _torch_unet.UNet(model, kernel).eval()
    inputs = torch.from_numpy(np.array(t)), torch.from_numpy(np.array(x).transpose(0, 3, 1, 2))
    layout = torch.channels_last if last else torch.contiguous_format
    network = network.to(memory_format=layout)  # type: ignore[call-overload]
    image = inputs[1].contiguous(memory_format=layout)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return network(inputs[0], image)

    return call


def _vmapped(field: NetworkField, t: Array, x: Array) -> Callable[[], Any]:
    call = jax.jit(lambda field, t, x: jax.vmap(field)(t, x))
    return functools.partial(call.lower(field, t, x).compile(), field, t, x)


def _contenders(field: NetworkField, t: Array, x: Array) -> dict[str, Callable[[], Any]]:
    model = nnx.merge(field.velocity.graphdef, field.velocity.state)
    whole = functools.partial(_compiled, model, t, x, whole=True)
    with before(*FORMS):
        earlier = whole()
    kept = list(FORMS)
    rows: dict[str, Callable[[], Any]] = {}
    for layer, name in (
        (SelfAttention, "attention of today"),
        (GroupNorm, "and norms"),
    ):
        kept.remove(layer)
        with before(*kept):
            rows[name] = whole()
    return {
        FASTEST: _torch_forward(model, t, x, kernel=True, last=False),
        "PyTorch, channels last": _torch_forward(model, t, x, kernel=True, last=True),
        "PyTorch, softmax spelled": _torch_forward(model, t, x, kernel=False, last=False),
        BEFORE: earlier,
        **rows,
        "and doubling": whole(),
        NOW: _compiled(model, t, x, whole=False),
        "now, the field under vmap": _vmapped(field, t, x),
    }


def _require_same(contenders: dict[str, Callable[[], Any]]) -> None:
    first, *others = contenders.items()
    want = first[1]().numpy().transpose(0, 2, 3, 1)
    for name, call in others:
        found = call()
        if isinstance(found, torch.Tensor):
            found = found.numpy().transpose(0, 2, 3, 1)
        error = float(np.abs(np.asarray(found) - want).max() / np.abs(want).max())
        if not error < 1e-4:
            raise RuntimeError(
                f"{name} differs from {first[0]} by {error:.1e} of the largest value"
            )
    print("all outputs agree to 1e-4 of the largest value")


def run(rounds: int) -> None:
    """Prints the forward pass of all, after checking that they agree, then its parts."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    key = jax.random.key(0)
    field = network_field("unet", SHAPE, key=key, **AUTHORS_UNET)
    x = jax.random.normal(key, (BATCH, *SHAPE))
    contenders = _contenders(field, jnp.linspace(0.0, 0.99, BATCH), x)
    _require_same(contenders)
    title = f"the KTS authors' U-Net, base 32, 32 × 32 gray, batch {BATCH}, one forward pass"
    timings = compare(contenders, rounds=rounds)
    show(title, timings, limit=LIMIT)
    _show_parts(field, {name: timings[name] for name in (FASTEST, BEFORE, NOW)}, rounds)


def _show_parts(field: NetworkField, wholes: dict[str, Timing], rounds: int) -> None:
    model = nnx.merge(field.velocity.graphdef, field.velocity.state)
    # What is left of the network: joining, residuals, the embedding, and what parts cost together.
    table = Table(title="where the time goes: parts alone, at their shapes and counts, median ms",
                  caption="rest: the whole less its parts; the steps of attention are in brackets "
                  "because as one program they cost less", title_justify="left")  # fmt: skip
    for name in ("", "PyTorch", "before", "now", "now by PyTorch"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    sums = np.zeros(3)
    x = jax.ShapeDtypeStruct((BATCH, *SHAPE), jnp.float32)
    for name, pieces in parts(recorded(model, x)).items():
        timings = compare(callers(pieces, BATCH, SLICES), rounds=-(-rounds // 3))
        medians = np.array([1e3 * timing.median for timing in timings.values()])
        _add_row(table, name, medians, timings["now"].ratio)
        sums += 0 if "alone" in name else medians
    whole = np.array([1e3 * timing.median for timing in wholes.values()])
    _add_row(table, "rest", whole - sums, None)
    _add_row(table, "the whole", whole, list(wholes.values())[-1].ratio)
    console = Console()
    console.width = max(console.width, 110)
    console.print(table)


def _add_row(table: Table, name: str, medians: np.ndarray, ratio: float | None) -> None:
    told = "" if ratio is None else f"{ratio:.3f}"
    table.add_row(name, *(f"{value:.1f}" for value in medians), told)
