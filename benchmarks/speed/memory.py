"""Memory of longer grids, which need two more floats for each step and sample."""

import itertools

import jax
import jax.numpy as jnp

from benchmarks.speed._record import Claim, Recorder
from kinetic_jax import noise, sample
from kinetic_jax.networks import NetworkField, network_field

STEPS = 100, 200, 400


def memory(field: NetworkField, batch: int, num_steps: int) -> int:
    """Bytes of results and temporaries of a compiled `sample`."""
    x0 = noise(jax.random.key(0), jnp.arange(batch), field.event_shape)
    call = jax.jit(lambda field, x0: sample(field, x0, num_steps=num_steps))
    analysis = call.lower(field, x0).compile().memory_analysis()
    assert analysis is not None
    return analysis.output_size_in_bytes + analysis.temp_size_in_bytes


def run(recorder: Recorder) -> None:
    """Bytes at 100, 200 and 400 steps, and bytes of each further step of a sample."""
    width, dimensions, batch = recorder.pick((512, 1024, 256), (16, 8, 4))
    field = network_field("mlp", (dimensions,), key=jax.random.key(0), width=width)
    sizes = f"residual MLP, width {width}, {dimensions} dimensions"
    full, half = ({n: memory(field, size, n) for n in STEPS} for size in (batch, batch // 2))
    recorder.figures(
        f"results and temporaries of sample, batch {batch}, {sizes}",
        "bytes",
        {f"{num_steps} steps": size for num_steps, size in full.items()},
    )
    # Minus half the batch: the times are shared by all samples.
    rows = {
        f"from {few} to {many} steps": (full[many] - full[few] - half[many] + half[few])
        / (many - few)
        / (batch - batch // 2)
        for few, many in itertools.pairwise(STEPS)
    }
    limits = (Claim(name, 8, figure=True) for name in rows)
    recorder.figures(f"a further step of a sample, {sizes}", "bytes", rows, *limits)
