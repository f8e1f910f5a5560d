"""What a longer grid costs in memory: the profile's two floats a step and sample, and no more."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from benchmarks._record import Claim, Recorder
from kinetic_jax import network_field, noise, sample

STEPS = 100, 200, 400


def held(field: Any, x0: Array, num_steps: int) -> int:
    """Bytes of results and temporaries of a compiled `sample`."""
    call = jax.jit(lambda field, x0: sample(field, x0, num_steps=num_steps))
    analysis: Any = call.lower(field, x0).compile().memory_analysis()
    return analysis.output_size_in_bytes + analysis.temp_size_in_bytes


def run(recorder: Recorder) -> None:
    """Bytes at 100, 200 and 400 steps, and what each further step and sample takes."""
    width, dimensions, batch = recorder.pick((512, 1024, 256), (16, 8, 4))
    key = jax.random.key(0)
    field = network_field("mlp", (dimensions,), key=key, width=width)
    x0 = noise(key, jnp.arange(batch), (dimensions,))
    sizes = f"residual MLP, width {width}, {dimensions} dimensions, batch {batch}"
    found = {num_steps: held(field, x0, num_steps) for num_steps in STEPS}
    recorder.figures(
        f"results and temporaries of sample, {sizes}",
        "bytes",
        {f"{num_steps} steps": size for num_steps, size in found.items()},
    )
    rows = {
        f"from {few} to {many} steps": (found[many] - found[few]) / (many - few) / batch
        for few, many in itertools.pairwise(STEPS)
    }
    recorder.figures(
        f"each further step and sample, {sizes}",
        "bytes",
        rows,
        *(Claim(name, 8, figure=True) for name in rows),
    )
