"""A grid of KTS settings by one `sweep`, against one `sample` for each setting."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from benchmarks.speed._loops import awake, require_same
from benchmarks.speed._record import Claim, Recorder
from kinetic_jax import VelocityField, kts, noise, sample
from kinetic_jax.networks import network_field
from kinetic_jax.sampling import sweep

ONE_BY_ONE, OURS = "a call of sample for each setting", "sweep"
TAU, NUM_STEPS = 0.6, 100


class Counted(eqx.Module):
    """A field that reports each evaluation, once for a batch at one time."""

    report: Callable[[Array], None] = eqx.field(static=True)

    def __call__(self, t: Array, x: Array, cond: PyTree = None) -> Array:
        """The velocity of one sample."""
        del cond
        jax.debug.callback(self.report, t)
        return -x


def one_by_one(field: VelocityField, x0: Array, alphas: np.ndarray, betas: np.ndarray) -> Array:
    """The samples of every setting, (alphas, betas, batch, size), by a call for each."""
    return jnp.stack(
        [
            jnp.stack([sample(kts(a, b, TAU)(field), x0, num_steps=NUM_STEPS).x1 for b in betas])
            for a in alphas
        ]
    )


def together(field: VelocityField, x0: Array, alphas: np.ndarray, betas: np.ndarray) -> Array:
    """The same samples in one program."""
    runs = sweep(field, x0, alpha0=alphas, beta0=betas, tau_split=TAU, num_steps=NUM_STEPS)
    return runs.x1[:, :, 0]


def evaluations(way: Callable[..., Array], alphas: np.ndarray, betas: np.ndarray) -> int:
    """Number of evaluations of the field while `way` runs all settings."""
    times: list[Array] = []
    jax.block_until_ready(way(Counted(times.append), jnp.ones((2, 3)), alphas, betas))
    jax.effects_barrier()
    return len(times)


def run(recorder: Recorder) -> None:
    """Times and evaluations of both ways, whose samples must agree."""
    sizes = recorder.pick((512, 4, 784, 64, 8), (16, 1, 8, 4, 2))
    both_ways(recorder, *sizes, rounds=recorder.fewer(7))


def both_ways(
    recorder: Recorder,
    width: int,
    depth: int,
    size: int,
    batch: int,
    side: int,
    *,
    rounds: int,
    at_most: float | None = None,
    tolerance: float = 1e-4,
) -> None:
    """The comparison for a residual MLP and a square grid of settings."""
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
    recorder.times(title, calls, Claim(OURS, at_most), rounds=rounds)
    counts = {name: float(evaluations(way, alphas, betas)) for name, way in ways.items()}
    evaluated = f"evaluations of the network on a batch, {title}"
    recorder.figures(evaluated, "evaluations", counts, Claim(OURS, 0.5))
    require_same(calls[ONE_BY_ONE](), {OURS: calls[OURS]()}, tolerance)
