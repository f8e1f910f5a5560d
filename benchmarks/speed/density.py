"""The cost of a log density along the path, against the same run without one."""

import functools
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array

from benchmarks.speed._loops import awake, require_same
from benchmarks.speed._record import Claim, Recorder
from kinetic_jax import VelocityField, noise, sample
from kinetic_jax.networks import network_field

PLAIN, ONE_PROBE, FOUR_PROBES = "sample", "Hutchinson, 1 probe", "Hutchinson, 4 probes"
EXACT = "exact divergence"


def run(recorder: Recorder) -> None:
    """Hutchinson's estimate for an MLP and a U-Net, the exact divergence for the MLP."""
    width, size, batch = recorder.pick((256, 64, 64), (16, 8, 4))
    side, channels, images, num_steps = recorder.pick((16, 16, 8, 20), (8, 8, 2, 2))
    key = jax.random.key(0)
    mlp = awake(network_field("mlp", (size,), key=key, width=width), key)
    for solver in (diffrax.Euler(), diffrax.Heun()):
        title = (
            f"residual MLP, width {width}, {size} dimensions, batch {batch}, "
            f"{type(solver).__name__}, {num_steps} steps"
        )
        x0 = noise(key, jnp.arange(batch), (size,))
        # The unit vectors are those of every sample: the first layer sees them once a batch.
        _measure(recorder, title, mlp, x0, solver, num_steps, Claim(EXACT, float(size)))
    unet = network_field("unet", (side, side, 1), key=key, base_channels=channels)
    title = f"U-Net, {channels} channels, {side} × {side} gray, batch {images}, Euler, 3 steps"
    x0 = noise(key, jnp.arange(images), unet.event_shape)
    _measure(recorder, title, awake(unet, key), x0, diffrax.Euler(), 3)


def _measure(
    recorder: Recorder,
    title: str,
    field: VelocityField,
    x0: Array,
    solver: diffrax.AbstractSolver,
    num_steps: int,
    *exact: Claim,
) -> None:
    """Times of runs with and without a log density; the exact one with a claim about it."""
    plain = functools.partial(sample, field, x0, solver=solver, num_steps=num_steps)
    estimate = functools.partial(plain, log_density="hutchinson", key=jax.random.key(1))
    calls: dict[str, Callable[[], Any]] = {
        PLAIN: plain,
        ONE_PROBE: estimate,
        FOUR_PROBES: functools.partial(estimate, probes=4),
    }
    if exact:
        calls[EXACT] = functools.partial(plain, log_density="exact")
    limits = Claim(ONE_PROBE, 3.0), Claim(FOUR_PROBES, 12.0)
    recorder.times(title, calls, *limits, *exact, rounds=recorder.fewer(2))
    require_same(plain().x1, {name: call().x1 for name, call in calls.items()}, 1e-4)
