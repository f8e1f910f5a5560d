"""What measuring the energy costs: `sample` against the loops a user would write without it.

Two fields: the library's residual MLP, and a bare three-layer MLP with half its arithmetic per
byte moved, on which the energy weighs most.
"""

import functools
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks._loops import adaptive, awake, bare_mlp, scan_euler, scan_heun
from benchmarks._record import Claim, Recorder
from kinetic_jax import network_field, noise, sample
from kinetic_jax.networks import AUTHORS_UNET

BY_HAND, WITH_ENERGY, WITHOUT = "hand-written scan, no energy", "sample", "sample, x1 alone"
PLAIN = "plain diffeqsolve under vmap, no energy"
SOLVERS: dict[str, tuple[Callable[..., Array], Any, int]] = {
    "Euler": (scan_euler, diffrax.Euler(), 100),
    "Heun": (scan_heun, diffrax.Heun(), 50),
}
CONTROLLER = diffrax.PIDController(rtol=1e-4, atol=1e-4)
# Compiling does not depend on the number of steps; few, so that running weighs nothing.
STEPS_OF_A_FIRST_CALL = 2


def run(recorder: Recorder) -> None:
    """For each field and solver: a loop by hand, `sample`, and `sample` for x1 alone."""
    width, dimensions, batch = recorder.pick((512, 1024, 256), (16, 8, 4))
    key = jax.random.key(0)
    x0 = noise(key, jnp.arange(batch), (dimensions,))
    fields: dict[str, Any] = {
        "residual MLP": awake(network_field("mlp", (dimensions,), key=key, width=width), key),
        "bare MLP": bare_mlp(key, dimensions, width),
    }
    sizes = f"width {width}, {dimensions} dimensions, batch {batch}"
    for name, field in fields.items():
        for solver in SOLVERS:
            _fixed(recorder, f"{name}, {sizes}, {solver}", field, x0, solver)
        _adaptive(recorder, f"{name}, {sizes}, Tsit5 at 1e-4", field, x0)
    if recorder.quick:
        return
    unet = network_field("unet", (32, 32, 1), key=key, **AUTHORS_UNET)
    images = noise(key, jnp.arange(batch), unet.event_shape)[:4]  # few, so that compiling is all
    _first_calls(
        recorder, "the KTS authors' U-Net, 32 × 32 gray, batch 4, Euler", unet, images, "Euler"
    )


def contenders(
    field: Any, x0: Array, scan: Callable[..., Array], solver: Any, num_steps: int
) -> dict[str, Callable[[], Any]]:
    """The three ways to sample on a fixed grid."""
    nodes = jnp.asarray(np.arange(num_steps + 1) / num_steps, jnp.float32)
    options = {"solver": solver, "num_steps": num_steps}
    x1_alone = eqx.filter_jit(lambda field, x0: sample(field, x0, **options).x1)
    return {
        BY_HAND: functools.partial(eqx.filter_jit(scan), field, x0, nodes),
        WITH_ENERGY: functools.partial(sample, field, x0, **options),
        WITHOUT: functools.partial(x1_alone, field, x0),
    }


def _fixed(recorder: Recorder, title: str, field: Any, x0: Array, solver: str) -> None:
    scan, method, num_steps = SOLVERS[solver]
    calls = contenders(field, x0, scan, method, num_steps)
    recorder.times(
        f"{title}, {num_steps} steps",
        calls,
        Claim(WITH_ENERGY, 1.03),
        Claim(WITH_ENERGY, 1.03, against=WITHOUT),
    )
    _require_same(calls[BY_HAND](), calls[WITH_ENERGY]().x1, 1e-5)
    _first_calls(recorder, title, field, x0, solver)


def _first_calls(recorder: Recorder, title: str, field: Any, x0: Array, solver: str) -> None:
    scan, method, _ = SOLVERS[solver]
    few = contenders(field, x0, scan, method, STEPS_OF_A_FIRST_CALL)
    few.pop(WITHOUT)
    recorder.first_calls(f"tracing and compiling: {title}", few, Claim(WITH_ENERGY, 1.25))


def _adaptive(recorder: Recorder, title: str, field: Any, x0: Array) -> None:
    x1_alone = eqx.filter_jit(lambda field, x0: sample(field, x0, controller=CONTROLLER).x1)
    calls: dict[str, Callable[[], Any]] = {
        PLAIN: functools.partial(eqx.filter_jit(adaptive), field, x0, CONTROLLER),
        WITH_ENERGY: functools.partial(sample, field, x0, controller=CONTROLLER),
        WITHOUT: functools.partial(x1_alone, field, x0),
    }
    limits = Claim(WITH_ENERGY, 1.05), Claim(WITH_ENERGY, 1.03, against=WITHOUT)
    recorder.times(title, calls, *limits)
    # Rounding may decide whether a step is taken, at the tolerance of the steps.
    _require_same(calls[PLAIN](), calls[WITH_ENERGY]().x1, 1e-3)
    calls.pop(WITHOUT)
    recorder.first_calls(f"tracing and compiling: {title}", calls, Claim(WITH_ENERGY))


def _require_same(expected: Array, end: Array, tolerance: float) -> None:
    """A faster contender that computes something else has won nothing."""
    worst = float(jnp.max(jnp.abs(end - expected)) / jnp.max(jnp.abs(expected)))
    assert worst < tolerance, f"sample and the loop by hand must agree, they differ by {worst:.2g}"
