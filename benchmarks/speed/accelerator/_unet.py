"""The authors' U-Net in bfloat16 against PyTorch on the same device: a pass, and samples.

Estimates for an H200: 1.05 GFlop an image, 0.27 TFlop a batch of 256, a few ms a pass and about
0.1 s for 25 steps. Most of the time is torch.compile's, 30 to 60 s.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from benchmarks.speed._loops import require_same
from benchmarks.speed._record import Claim, Recorder
from benchmarks.speed.accelerator._preset import LeftOutError
from benchmarks.speed.accelerator._torch import synchronized, torch_device
from kinetic_jax import noise, sample
from kinetic_jax.networks import AUTHORS_UNET, NetworkField, network_field

if TYPE_CHECKING:
    import torch

# CUDA graphs, without the minutes of max-autotune.
MODE = "reduce-overhead"
COMPILED, EAGER = f"PyTorch, torch.compile (mode={MODE!r})", "PyTorch, without torch.compile"
NATIVE, OURS = "native batched call", "field under vmap"
SMALL = {"base_channels": 8, "multiples": (1, 2), "attention": (False, True), "num_res_blocks": 1}
LOOP, SOLVER, SAMPLE = "an Euler loop", "flow_matching's ODESolver", "sample, with energy"
TOLERANCE = 5e-2  # of bfloat16, through all layers and steps
Velocity = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


def field_of(recorder: Recorder) -> tuple[NetworkField, str]:
    """The network with random weights, and its name."""
    side, name = recorder.pick((32, "the KTS authors' U-Net, base 32"), (8, "a small U-Net"))
    config = recorder.pick(AUTHORS_UNET, AUTHORS_UNET | SMALL) | {"dtype": "bfloat16"}
    build = functools.partial(network_field, "unet", (side, side, 1), **config)
    shapes = eqx.filter_eval_shape(build, key=jax.random.key(0))
    name = f"{name}, {side} × {side} gray"
    return _filled(shapes), name


def _filled(shapes: NetworkField) -> NetworkField:
    """The field with weights from NumPy, none of them zero: JAX would compile each of its own."""
    rng = np.random.default_rng(0)

    def weight(path: Any, leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        scale = np.prod(leaf.shape[:-1]) ** -0.5 if len(leaf.shape) > 1 else 0.02
        values = scale * rng.standard_normal(leaf.shape)
        return jnp.asarray(values + ("scale" in jax.tree_util.keystr(path)), leaf.dtype)

    return jax.tree_util.tree_map_with_path(weight, shapes)


def run(recorder: Recorder) -> None:
    """Passes and samples without torch.compile, then with it; limits are for the latter."""
    field, name = field_of(recorder)
    batch, steps = recorder.pick((256, 25), (2, 3))
    if recorder.quick:
        import torch

        torch.set_num_threads(1)  # several would wait for each other more than compute
    x = noise(jax.random.key(2), jnp.arange(batch), field.event_shape)
    title = f"{name}, batch {batch}"
    velocity = _velocity(field)
    _pass(recorder, title, field, x, velocity, EAGER, None)
    _samples(recorder, title, field, x, velocity, EAGER, None, steps)
    if torch_device() == "cpu":
        raise LeftOutError("torch.compile, which needs a C++ compiler and minutes on a CPU")
    import torch

    torch.backends.cudnn.benchmark = True
    compiled: Velocity = torch.compile(velocity, mode=MODE)
    _pass(recorder, title, field, x, compiled, COMPILED, 1.0)
    _samples(recorder, title, field, x, compiled, COMPILED, 1.0, steps)


def _velocity(field: NetworkField) -> Velocity:
    """The network in PyTorch: bfloat16, channels last; times and flat float32 images in and out.

    Images are flat outside, because an axis of one channel may have any stride, and torch.compile
    compiles again for each.
    """
    import torch

    from benchmarks.speed._torch_unet import UNet

    # `Any`: torch's own annotation of `Module.to` lacks `memory_format`.
    model: Any = UNet(nnx.merge(field.velocity.graphdef, field.velocity.state)).eval()
    model = model.to(torch_device(), torch.bfloat16, memory_format=torch.channels_last)

    def velocity(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        images = x.to(torch.bfloat16).reshape(-1, *field.event_shape).permute(0, 3, 1, 2)
        return model(t, images).permute(0, 2, 3, 1).float().reshape(x.shape)

    return velocity


def _tensor(x: Array) -> "torch.Tensor":
    """Flat images on the device."""
    import torch

    return torch.from_numpy(np.array(x).reshape(len(x), -1)).to(torch_device())


def _array(x: "torch.Tensor", shape: tuple[int, ...]) -> np.ndarray:
    return x.cpu().numpy().reshape(shape)


def _pass(
    recorder: Recorder,
    title: str,
    field: NetworkField,
    x: Array,
    velocity: Velocity,
    peer: str,
    limit: float | None,
) -> None:
    import torch

    from benchmarks.speed.unet import native_forward, vmapped_forward

    t = jnp.linspace(0.0, 0.99, len(x))
    times, images = torch.from_numpy(np.array(t)).to(torch_device()), _tensor(x)
    model = nnx.merge(field.velocity.graphdef, field.velocity.state)
    calls: dict[str, Callable[[], Any]] = {
        peer: synchronized(lambda: velocity(times, images)),
        NATIVE: native_forward(model, t, x, slices=True),
        OURS: vmapped_forward(field, t, x),
    }
    recorder.times(
        f"{title}, one forward pass",
        calls,
        Claim(NATIVE, limit),
        Claim(OURS, limit),
        rounds=recorder.pick(5 * recorder.rounds, 2),
        dtype="bfloat16",
    )
    expected = _array(calls[peer](), x.shape)
    require_same(expected, {name: calls[name]() for name in (NATIVE, OURS)}, TOLERANCE)


def _samples(
    recorder: Recorder,
    title: str,
    field: NetworkField,
    x0: Array,
    velocity: Velocity,
    peer: str,
    limit: float | None,
    steps: int,
) -> None:
    import torch

    start = _tensor(x0)
    times = [torch.full((len(x0),), i / steps, device=start.device) for i in range(steps)]

    def loop() -> torch.Tensor:
        x = start
        for t in times:
            x = x + velocity(t, x) / steps
        return x

    by_hand = f"{LOOP}, {peer}"
    calls: dict[str, Callable[[], Any]] = {by_hand: synchronized(loop)}
    claims = [Claim(SAMPLE, limit)]
    try:
        from benchmarks.speed._torch_peers import by_flow_matching
    except ModuleNotFoundError as missing:
        print(f"left out: {SOLVER}: {missing}")
    else:

        def model(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            # A CUDA graph overwrites its result at the next call.
            return velocity(t.contiguous(), x).clone()

        solve = functools.partial(by_flow_matching, model, start, steps, once=False)
        calls[f"{SOLVER}, {peer}"] = synchronized(solve)
        claims.append(Claim(SAMPLE, limit, against=f"{SOLVER}, {peer}"))
    calls[SAMPLE] = functools.partial(sample, field, x0, num_steps=steps)
    recorder.times(f"{title}, Euler {steps}", calls, *claims, dtype="bfloat16")
    require_same(_array(calls[by_hand](), x0.shape), {SAMPLE: calls[SAMPLE]().x1}, TOLERANCE)
