"""What measuring the energy costs: `sample` against a hand-written scan without it.

The baseline is the loop a user would write: the same solver over the same grid in one jitted
`lax.scan` that returns x1 alone. Two fields: the library's residual MLP, and a bare three-layer
MLP with half its arithmetic per byte moved, on which the energy weighs most.
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

from benchmarks._show import show
from benchmarks._timing import Timing, compare
from kinetic_jax import network_field, noise, sample

WIDTH, DIMENSIONS, BATCH = 512, 1024, 256
LIMIT = "limit: 1.03 for sample with energy, against the hand-written scan"


class BareMLP(eqx.Module):
    """Three layers, the time as one more input."""

    weights: list[Array]

    def __call__(self, t: Array, x: Array, cond: Any = None) -> Array:
        """The velocity of one sample."""
        del cond
        h = jnp.concatenate([x, t[None]])
        for weight in self.weights[:-1]:
            h = jax.nn.silu(h @ weight)
        return h @ self.weights[-1]


def bare_mlp(key: Array) -> BareMLP:
    """Random weights of the usual scale."""
    sizes = (DIMENSIONS + 1, WIDTH, WIDTH, DIMENSIONS)
    keys = jax.random.split(key, 3)
    shapes = zip(keys, sizes[:-1], sizes[1:], strict=True)
    return BareMLP([jax.random.normal(k, (a, b)) * a**-0.5 for k, a, b in shapes])


def scan_euler(field: Any, x0: Array, nodes: Array) -> Array:
    """A hand-written Euler loop without energy."""

    def step(x: Array, ends: tuple[Array, Array]) -> tuple[Array, None]:
        t0, t1 = ends
        velocity = jax.vmap(lambda x: field(t0, x))(x)
        return x + (t1 - t0) * velocity, None

    return jax.lax.scan(step, x0, (nodes[:-1], nodes[1:]))[0]


def scan_heun(field: Any, x0: Array, nodes: Array) -> Array:
    """A hand-written Heun loop without energy."""

    def step(x: Array, ends: tuple[Array, Array]) -> tuple[Array, None]:
        t0, t1 = ends
        first = jax.vmap(lambda x: field(t0, x))(x)
        second = jax.vmap(lambda x: field(t1, x))(x + (t1 - t0) * first)
        return x + (t1 - t0) / 2 * (first + second), None

    return jax.lax.scan(step, x0, (nodes[:-1], nodes[1:]))[0]


def run(rounds: int) -> None:
    """Prints, for each field and solver, the scan, `sample`, and `sample` for x1 alone."""
    key = jax.random.key(0)
    x0 = noise(key, jnp.arange(BATCH), (DIMENSIONS,))
    residual = network_field("mlp", (DIMENSIONS,), key=key, width=WIDTH)
    fields: dict[str, Any] = {"residual MLP": residual, "bare MLP": bare_mlp(key)}
    cases: list[tuple[str, Callable[..., Array], Any, int]] = [
        ("Euler 100", scan_euler, diffrax.Euler(), 100),
        ("Heun 50", scan_heun, diffrax.Heun(), 50),
    ]
    for name, field in fields.items():
        for solver_name, scan, solver, num_steps in cases:
            title = f"{name}, width {WIDTH}, {DIMENSIONS} dimensions, batch {BATCH}, {solver_name}"
            show(title, _compare(field, x0, scan, solver, num_steps, rounds), limit=LIMIT)


def _compare(
    field: Any, x0: Array, scan: Callable[..., Array], solver: Any, num_steps: int, rounds: int
) -> dict[str, Timing]:
    nodes = jnp.asarray(np.arange(num_steps + 1) / num_steps, jnp.float32)
    by_hand = eqx.filter_jit(scan)
    x1_alone = eqx.filter_jit(
        lambda field, x0: sample(field, x0, solver=solver, num_steps=num_steps).x1
    )
    with_energy = functools.partial(sample, field, x0, solver=solver, num_steps=num_steps)
    timings = compare(
        {
            "hand-written scan, no energy": functools.partial(by_hand, field, x0, nodes),
            "sample, energy and profile": with_energy,
            "sample, x1 alone": functools.partial(x1_alone, field, x0),
        },
        rounds=rounds,
    )
    end, expected = with_energy().x1, by_hand(field, x0, nodes)
    worst = float(jnp.max(jnp.abs(end - expected)) / jnp.max(jnp.abs(expected)))
    assert worst < 1e-5, f"sample and the scan must agree, they differ by {worst:.2g}"
    return timings
