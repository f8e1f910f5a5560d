"""The loops a user would write without this library: what its own are measured against."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array


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


def bare_mlp(key: Array, dimensions: int, width: int) -> BareMLP:
    """Random weights of the usual scale."""
    sizes = (dimensions + 1, width, width, dimensions)
    keys = jax.random.split(key, 3)
    shapes = zip(keys, sizes[:-1], sizes[1:], strict=True)
    return BareMLP([jax.random.normal(k, (a, b)) * a**-0.5 for k, a, b in shapes])


def awake(field: Any, key: Array) -> Any:
    """The field with noise on every weight: a fresh one returns zero, and would hide an error."""
    arrays, static = eqx.partition(field, eqx.is_array)
    leaves, treedef = jax.tree.flatten(arrays)
    keys = jax.random.split(key, len(leaves))
    moved = [
        leaf + 0.02 * jax.random.normal(k, leaf.shape, leaf.dtype)
        for leaf, k in zip(leaves, keys, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(treedef, moved), static)


def scan_euler(field: Any, x0: Array, nodes: Array) -> Array:
    """An Euler loop without energy."""

    def step(x: Array, ends: tuple[Array, Array]) -> tuple[Array, None]:
        t0, t1 = ends
        velocity = jax.vmap(lambda x: field(t0, x))(x)
        return x + (t1 - t0) * velocity, None

    return jax.lax.scan(step, x0, (nodes[:-1], nodes[1:]))[0]


def scan_euler_energy(field: Any, x0: Array, nodes: Array) -> tuple[Array, Array]:
    """An Euler loop with the energy alone."""

    def step(carry: tuple[Array, Array], ends: tuple[Array, Array]) -> Any:
        (x, energy), (t0, t1) = carry, ends
        velocity = jax.vmap(lambda x: field(t0, x))(x)
        energy = energy + (t1 - t0) / 2 * jnp.sum(velocity**2, axis=tuple(range(1, x.ndim)))
        return (x + (t1 - t0) * velocity, energy), None

    start = x0, jnp.zeros(x0.shape[0])
    return jax.lax.scan(step, start, (nodes[:-1], nodes[1:]))[0]


def scan_heun(field: Any, x0: Array, nodes: Array) -> Array:
    """A Heun loop without energy."""

    def step(x: Array, ends: tuple[Array, Array]) -> tuple[Array, None]:
        t0, t1 = ends
        first = jax.vmap(lambda x: field(t0, x))(x)
        second = jax.vmap(lambda x: field(t1, x))(x + (t1 - t0) * first)
        return x + (t1 - t0) / 2 * (first + second), None

    return jax.lax.scan(step, x0, (nodes[:-1], nodes[1:]))[0]


def scan_heun_energy(field: Any, x0: Array, nodes: Array) -> tuple[Array, Array]:
    """A Heun loop with the energy alone, weighed like the velocity."""

    def step(carry: tuple[Array, Array], ends: tuple[Array, Array]) -> Any:
        (x, energy), (t0, t1) = carry, ends
        first = jax.vmap(lambda x: field(t0, x))(x)
        second = jax.vmap(lambda x: field(t1, x))(x + (t1 - t0) * first)
        energy = energy + (t1 - t0) / 4 * jnp.sum(
            first**2 + second**2, axis=tuple(range(1, x.ndim))
        )
        return (x + (t1 - t0) / 2 * (first + second), energy), None

    start = x0, jnp.zeros(x0.shape[0])
    return jax.lax.scan(step, start, (nodes[:-1], nodes[1:]))[0]


def adaptive(field: Any, x0: Array, controller: diffrax.AbstractStepSizeController) -> Array:
    """A Diffrax solve of each sample without energy."""
    term = diffrax.ODETerm(lambda t, x, args: field(t, x))

    def one(x: Array) -> Array:
        solution = diffrax.diffeqsolve(
            term, diffrax.Tsit5(), t0=0.0, t1=1.0, dt0=None, y0=x, stepsize_controller=controller
        )
        assert solution.ys is not None
        return solution.ys[-1]

    return jax.vmap(one)(x0)


def trajectory_by_trajectory(
    velocity: Any, x0: Any, num_steps: int
) -> tuple[list[Any], list[float]]:
    """Euler with the energy, one sample at a time: as one writes it first.

    Args:
        velocity: from a number t and a batch to a batch, of NumPy arrays or PyTorch tensors.
        x0: such a batch.
        num_steps: steps from 0 to 1.

    Returns:
        The samples, and their energies.
    """
    samples, energies = [], []
    for start in x0:
        x, energy = start[None], 0.0
        for i in range(num_steps):
            v = velocity(i / num_steps, x)
            energy += 0.5 * float((v**2).sum()) / num_steps
            x = x + v / num_steps
        samples.append(x[0])
        energies.append(energy)
    return samples, energies


def batch_at_once(velocity: Any, x0: Any, num_steps: int) -> tuple[Any, Any]:
    """The same for the whole batch: the least that measuring can cost in such a loop."""
    x, energy = x0, 0.0
    for i in range(num_steps):
        v = velocity(i / num_steps, x)
        energy = energy + 0.5 * (v**2).sum(1) / num_steps
        x = x + v / num_steps
    return x, energy
