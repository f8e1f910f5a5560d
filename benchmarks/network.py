"""What a batch-first network pays for being a field of one sample: vmapped against native."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from benchmarks._show import show
from benchmarks._timing import compare
from kinetic_jax import network_field, noise
from kinetic_jax.networks import AUTHORS_UNET, NetworkField

LIMIT = "limit: 1.05 for the field under vmap, against the network's own batched call"


@functools.partial(jax.jit, static_argnums=1)
def _native(state: Any, graphdef: Any, t: Array, x: Array) -> Array:
    return nnx.merge(graphdef, state)(t, x)


@jax.jit
def _vmapped(field: NetworkField, t: Array, x: Array) -> Array:
    return jax.vmap(field, in_axes=(None if t.ndim == 0 else 0, 0))(t, x)


def run(rounds: int) -> None:
    """Prints the MLP at batch 256 and the authors' U-Net at batch 64."""
    key, t = jax.random.key(0), jnp.asarray(0.3)
    cases = {
        "residual MLP, width 512, 1024 dimensions, batch 256": (
            network_field("mlp", (1024,), key=key, width=512),
            256,
        ),
        "the KTS authors' U-Net, base 32, 32 × 32 gray, batch 64": (
            network_field("unet", (32, 32, 1), key=key, **AUTHORS_UNET),
            64,
        ),
    }
    for title, (field, batch) in cases.items():
        x = noise(key, jnp.arange(batch), field.event_shape)
        graphdef, state = field.velocity.graphdef, field.velocity.state
        times = jnp.broadcast_to(t, batch)
        contenders = {
            "native batched call": functools.partial(_native, state, graphdef, times, x),
            "field under vmap, a time per sample": functools.partial(_vmapped, field, times, x),
            "field under vmap, one time (a fixed grid)": functools.partial(_vmapped, field, t, x),
        }
        show(title, compare(contenders, rounds=rounds), limit=LIMIT)
