"""A grid of KTS settings in one program against one `sample` for each of them."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.speed._loops import awake
from benchmarks.speed._record import Claim, Recorder
from kinetic_jax import kts, noise, sample
from kinetic_jax.networks import network_field
from kinetic_jax.sampling import sweep

ONE_BY_ONE, OURS = "a call of sample for each setting", "sweep"
TAU, NUM_STEPS = 0.6, 100


class Counted(eqx.Module):
    """A field that tells each evaluation, once for a whole batch at one time."""

    tell: Callable[[Any], None] = eqx.field(static=True)

    def __call__(self, t: Array, x: Array, cond: Any = None) -> Array:
        """The velocity of one sample."""
        del cond
        jax.debug.callback(self.tell, t)
        return -x


def one_by_one(field: Any, x0: Array, alphas: np.ndarray, betas: np.ndarray) -> Array:
    """The samples of every setting (alphas, betas, batch, size), a call each."""
    return jnp.stack(
        [
            jnp.stack([sample(kts(a, b, TAU)(field), x0, num_steps=NUM_STEPS).x1 for b in betas])
            for a in alphas
        ]
    )


def together(field: Any, x0: Array, alphas: np.ndarray, betas: np.ndarray) -> Array:
    """The same in one program."""
    found = sweep(field, x0, alpha0=alphas, beta0=betas, tau_split=TAU, num_steps=NUM_STEPS)
    return found.x1[:, :, 0]


def evaluations(way: Callable[..., Array], alphas: np.ndarray, betas: np.ndarray) -> int:
    """Evaluations of the field by a way to run all settings, counted as it runs."""
    times: list[Any] = []
    jax.block_until_ready(way(Counted(times.append), jnp.ones((2, 3)), alphas, betas))
    jax.effects_barrier()
    return len(times)


def run(recorder: Recorder) -> None:
    """Times of both, how often they evaluate the network, and that their samples agree."""
    width, depth, size, batch, side = recorder.pick((512, 4, 784, 64, 8), (16, 1, 8, 4, 2))
    key = jax.random.key(0)
    field = awake(network_field("mlp", (size,), key=key, width=width, depth=depth), key)
    x0 = noise(key, jnp.arange(batch), (size,))
    alphas, betas = np.linspace(0.0, 0.1, side), np.linspace(0.0, 0.03, side)
    title = (
        f"{side} × {side} settings of KTS at τ = {TAU}, Euler {NUM_STEPS}, batch {batch}, "
        f"residual MLP, width {width}, {size} dimensions"
    )
    ways = {ONE_BY_ONE: one_by_one, OURS: together}
    calls = {name: functools.partial(way, field, x0, alphas, betas) for name, way in ways.items()}
    recorder.times(title, calls, Claim(OURS), rounds=recorder.fewer(7))
    counts = {name: float(evaluations(way, alphas, betas)) for name, way in ways.items()}
    evaluated = f"evaluations of the network on a batch, {title}"
    recorder.figures(evaluated, "evaluations", counts, Claim(OURS, 0.5))
    ends, found = calls[ONE_BY_ONE](), calls[OURS]()
    worst = float(jnp.max(jnp.abs(found - ends)) / jnp.max(jnp.abs(ends)))
    assert worst < 1e-4, f"sweep must agree with sample, it differs by {worst:.2g}"
