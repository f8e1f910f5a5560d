"""The work of one of N simulated devices.

`python -m benchmarks.speed._scaling N BATCH SIZE WIDTH STEPS` prints it.
"""

import json
import re
import sys

import jax
import jax.numpy as jnp

from kinetic_jax import noise, sample
from kinetic_jax.networks import network_field

COLLECTIVE = re.compile(
    r"\b(?:all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+)(?:-start)?\("
)


def main(devices: int, batch: int, size: int, width: int, num_steps: int) -> None:
    """Compiles `sample` over a mesh and prints the operations and collectives of one device."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    mesh = jax.make_mesh((devices,), ("batch",))
    key = jax.random.key(0)
    field = network_field("mlp", (size,), key=key, width=width)
    x0 = noise(key, jnp.arange(batch), (size,))
    call = jax.jit(lambda field, x0: sample(field, x0, mesh=mesh, num_steps=num_steps))
    compiled = call.lower(field, x0).compile()
    program, costs = compiled.as_text(), compiled.cost_analysis()
    assert program is not None
    assert costs is not None
    # All devices run this program.
    collectives = len(COLLECTIVE.findall(program))
    print(json.dumps({"operations": costs["flops"], "collectives": collectives}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
