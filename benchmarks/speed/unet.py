"""The KTS authors' U-Net against the same network in PyTorch, and the times of its parts."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from jaxtyping import Array, PyTree

from benchmarks.speed import _torch_unet
from benchmarks.speed._loops import require_same
from benchmarks.speed._record import Claim, Recorder
from benchmarks.speed._unet_before import FORMS, before
from benchmarks.speed._unet_parts import callers, layer_counts, parts
from kinetic_jax.networks import AUTHORS_UNET, NetworkField, UNet, network_field
from kinetic_jax.networks._layers import GroupNorm, SelfAttention

FASTEST, BEFORE, NOW = "PyTorch", "before", "and slices: now"
LAST, SPELLED = "PyTorch, channels last", "PyTorch, softmax spelled"
VMAPPED = "now, the field under vmap"


def native_forward(model: UNet, t: Array, x: Array, *, slices: bool) -> Callable[[], Array]:
    graphdef, state = nnx.split(model)

    def forward(state: PyTree, t: Array, x: Array) -> Array:
        model = nnx.merge(graphdef, state)
        return model(t, x) if slices else model.unsliced(t, x, None)

    return functools.partial(jax.jit(forward).lower(state, t, x).compile(), state, t, x)


def _torch_forward(
    model: UNet, t: Array, x: Array, *, kernel: bool, last: bool
) -> Callable[[], torch.Tensor]:
    # `Any`: torch's own annotation of `Module.to` lacks `memory_format`.
    network: Any = _torch_unet.UNet(model, kernel).eval()
    inputs = torch.from_numpy(np.array(t)), torch.from_numpy(np.array(x).transpose(0, 3, 1, 2))
    layout = torch.channels_last if last else torch.contiguous_format
    network = network.to(memory_format=layout)
    image = inputs[1].contiguous(memory_format=layout)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return network(inputs[0], image)

    return call


def vmapped_forward(field: NetworkField, t: Array, x: Array) -> Callable[[], Array]:
    call = jax.jit(lambda field, t, x: jax.vmap(field)(t, x))
    return functools.partial(call.lower(field, t, x).compile(), field, t, x)


def _contenders(field: NetworkField, t: Array, x: Array) -> dict[str, Callable[[], Any]]:
    model = nnx.merge(field.velocity.graphdef, field.velocity.state)
    unsliced = functools.partial(native_forward, model, t, x, slices=False)
    with before(*FORMS):
        earlier = unsliced()
    earlier_layers = list(FORMS)
    rows: dict[str, Callable[[], Array]] = {}
    for layer, name in ((SelfAttention, "attention of today"), (GroupNorm, "and norms")):
        earlier_layers.remove(layer)
        with before(*earlier_layers):
            rows[name] = unsliced()
    return {
        FASTEST: _torch_forward(model, t, x, kernel=True, last=False),
        LAST: _torch_forward(model, t, x, kernel=True, last=True),
        SPELLED: _torch_forward(model, t, x, kernel=False, last=False),
        BEFORE: earlier,
        **rows,
        "and doubling": unsliced(),
        NOW: native_forward(model, t, x, slices=True),
        VMAPPED: vmapped_forward(field, t, x),
    }


def _require_same(contenders: dict[str, Callable[[], Any]]) -> None:
    outputs = {name: call() for name, call in contenders.items()}
    images = {
        name: output.numpy().transpose(0, 2, 3, 1) if isinstance(output, torch.Tensor) else output
        for name, output in outputs.items()
    }
    require_same(images[FASTEST], images, 1e-4)
    print("all outputs agree to 1e-4 of the largest value")


def run(recorder: Recorder) -> None:
    """Times the forward passes, which must agree, and then each part."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    key = jax.random.key(0)
    batch, slices, side, base = recorder.pick((64, 4, 32, 32), (2, 1, 8, 8))
    config = {**AUTHORS_UNET, "base_channels": base}
    field = network_field("unet", (side, side, 1), key=key, **config)
    x = jax.random.normal(key, (batch, side, side, 1))
    contenders = _contenders(field, jnp.linspace(0.0, 0.99, batch), x)
    _require_same(contenders)
    case = f"the KTS authors' U-Net, base {base}, {side} × {side} gray, batch {batch}"
    claims = (
        Claim(BEFORE),
        Claim(NOW, 1.0),
        Claim(NOW, 1.0, against=LAST),
        Claim(NOW, against=SPELLED),
        Claim(VMAPPED, 1.0),
    )
    recorder.times(f"{case}, one forward pass", contenders, *claims)
    model = nnx.merge(field.velocity.graphdef, field.velocity.state)
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    for name, pieces in parts(layer_counts(model, shape)).items():
        recorder.times(
            f"{case}, its parts: {name}",
            callers(pieces, batch, slices),
            *([] if name.startswith("(") else [Claim("before"), Claim("now")]),
            rounds=recorder.fewer(3),
        )
