"""Energy on against off and against a bare scan, on networks that fill the device.

Estimates for an H200, at a half of its rates:
the MLP, 0.1 GFlop an evaluation of a sample, 50 of them for 256: 1.3 TFlop a call, 5 to 10 ms;
the transformer, 46 GFlop (DiT-B/2's 23 G multiply-adds): 0.59 PFlop a call, 1.2 to 1.5 s, so that
three contenders in five rounds take about 25 s a solver.
"""

import jax
import jax.numpy as jnp

from benchmarks.speed._dit import transformer
from benchmarks.speed._loops import BareMLP, bare_mlp
from benchmarks.speed._record import Recorder
from benchmarks.speed.overhead import (
    BY_HAND,
    WITH_ENERGY,
    WITHOUT,
    adaptive_steps,
    first_calls,
    fixed_grid,
)
from kinetic_jax import noise

STEPS = {"Euler": 50, "Heun": 25}
# Shares of the largest value by which programs may differ that round differently in each step.
TOLERANCES = {"float32": 1e-5, "bfloat16": 5e-2}
SHORT_CALLS = 5  # times as many rounds for calls of milliseconds
FEW = BY_HAND, WITH_ENERGY, WITHOUT


def tolerance(dtype: str) -> float:
    """The tolerance of a dtype on this device; others compute float32 in parts of its digits."""
    cpu = jax.default_backend() == "cpu"
    return TOLERANCES[dtype] if cpu or dtype != "float32" else 1e-2


def _mlp(recorder: Recorder, dtype: str) -> tuple[str, BareMLP, jax.Array]:
    width, batch = recorder.pick((4096, 256), (16, 4))
    key = jax.random.key(0)
    title = f"bare MLP, width {width}, {width} dimensions, batch {batch}"
    x0 = noise(key, jnp.arange(batch), (width,))
    return title, bare_mlp(key, width, width, jnp.dtype(dtype)), x0


def mlp(recorder: Recorder) -> None:
    """The MLP in bfloat16 and float32, energies in float32."""
    for dtype in recorder.pick(("float32", "bfloat16"), ("bfloat16",)):
        title, field, x0 = _mlp(recorder, dtype)
        for solver, steps in recorder.pick(STEPS, {"Euler": 4}).items():
            fixed_grid(
                recorder,
                f"{title}, {solver}",
                field,
                x0,
                solver,
                num_steps=steps,
                rounds=recorder.pick(SHORT_CALLS * recorder.rounds, 2),
                dtype=dtype,
                tolerance=tolerance(dtype),
            )


def adaptive(recorder: Recorder) -> None:
    """Tsit5 on the MLP against a solve by Diffrax alone, and their first calls."""
    title, field, x0 = _mlp(recorder, "float32")
    adaptive_steps(
        recorder,
        f"{title}, Tsit5 at 1e-4",
        field,
        x0,
        rounds=recorder.pick(SHORT_CALLS * recorder.rounds, 2),
        tolerance=5e-2,
        compiling=not recorder.quick,
    )


def mlp_first_calls(recorder: Recorder) -> None:
    """Tracing and compiling for the MLP by Euler."""
    title, field, x0 = _mlp(recorder, "bfloat16")
    first_calls(recorder, f"{title}, Euler", field, x0, "Euler", dtype="bfloat16")


def dit(recorder: Recorder, solver: str) -> None:
    """The transformer by one solver, bfloat16 with float32 energies; first calls beside."""
    side, depth, width, heads, batch = recorder.pick((32, 12, 768, 12, 256), (8, 2, 16, 2, 4))
    key = jax.random.key(0)
    field = transformer(key, side=side, depth=depth, width=width, heads=heads)
    x0 = noise(jax.random.key(1), jnp.arange(batch), (side, side, 4))
    title = f"transformer, depth {depth}, width {width}, {(side // 2) ** 2} tokens, batch {batch}"
    fixed_grid(
        recorder,
        f"{title}, {solver}",
        field,
        x0,
        solver,
        num_steps=recorder.pick(STEPS[solver], 4),
        names=FEW,
        dtype="bfloat16",
        tolerance=tolerance("bfloat16"),
    )
