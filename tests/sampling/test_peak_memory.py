"""A longer grid costs the profile's two floats a step and sample, and the grid itself."""

import diffrax
import jax
import numpy as np
import pytest

from kinetic_jax import GaussianField, sample
from kinetic_jax.networks import network_field


def _held(field, batch, num_steps, solver):
    """Bytes of results and temporaries of the compiled program: known without running it."""
    x0 = np.zeros((batch, 8), np.float32)
    call = jax.jit(lambda field, x0: sample(field, x0, solver=solver, num_steps=num_steps))
    analysis = call.lower(field, x0).compile().memory_analysis()
    return analysis.output_size_in_bytes + analysis.temp_size_in_bytes


# Each field under one of the solvers: what a step keeps does not depend on both at once.
@pytest.mark.parametrize(
    ("kind", "solver"),
    [("exact", diffrax.Euler()), ("mlp", diffrax.Heun())],
    ids=["exact-euler", "mlp-heun"],
)
def test_memory_grows_by_the_profile_alone(kind, solver):
    field = GaussianField(np.ones(8, np.float32), 0.5)
    if kind == "mlp":
        field = network_field("mlp", (8,), key=jax.random.key(0), width=16, depth=1)
    short, long, few, many = 100, 400, 4, 64
    held = {(b, n): _held(field, b, n, solver) for b in (few, many) for n in (short, long)}
    by_batch = {b: (held[b, long] - held[b, short]) / (long - short) for b in (few, many)}
    # Two floats a step for each sample; whatever the batch, some copies of the times.
    assert by_batch[many] - by_batch[few] == 8 * (many - few)
    assert by_batch[few] - 8 * few <= 16
