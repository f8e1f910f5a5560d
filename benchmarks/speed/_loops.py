"""Loops as users would write them without this library, against which it is measured."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, PyTree

from kinetic_jax import VelocityField

T = TypeVar("T")


class BareMLP(eqx.Module):
    """Three layers, with the time as an additional input, computed in the dtype of the weights."""

    weights: list[Array]

    def __call__(self, t: Array, x: Array, cond: PyTree = None) -> Array:
        """The velocity of one sample."""
        del cond
        h = jnp.concatenate([x, t[None]]).astype(self.weights[0].dtype)
        for weight in self.weights[:-1]:
            h = jax.nn.silu(h @ weight)
        return (h @ self.weights[-1]).astype(x.dtype)


def bare_mlp(key: Array, dimensions: int, width: int, dtype: DTypeLike = jnp.float32) -> BareMLP:
    """Random weights of the usual scale."""
    sizes = (dimensions + 1, width, width, dimensions)
    keys = jax.random.split(key, 3)
    shapes = zip(keys, sizes[:-1], sizes[1:], strict=True)
    return BareMLP([(jax.random.normal(k, (a, b)) * a**-0.5).astype(dtype) for k, a, b in shapes])


def awake(field: T, key: Array) -> T:
    """The field with noise on every weight, because a new one returns zero and hides errors."""
    arrays, static = eqx.partition(field, eqx.is_array)
    leaves, treedef = jax.tree.flatten(arrays)
    keys = jax.random.split(key, len(leaves))
    noisy = [
        leaf + 0.02 * jax.random.normal(k, leaf.shape, leaf.dtype)
        for leaf, k in zip(leaves, keys, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(treedef, noisy), static)


def scan_euler(field: VelocityField, x0: Array, nodes: Array) -> Array:
    """An Euler loop without energy."""

    def step(x: Array, ends: tuple[Array, Array]) -> tuple[Array, None]:
        t0, t1 = ends
        velocity = jax.vmap(lambda x: field(t0, x))(x)
        return x + (t1 - t0) * velocity, None

    return jax.lax.scan(step, x0, (nodes[:-1], nodes[1:]))[0]


def scan_euler_energy(field: VelocityField, x0: Array, nodes: Array) -> tuple[Array, Array]:
    """An Euler loop with the total energy."""

    def step(
        carry: tuple[Array, Array], ends: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], None]:
        (x, energy), (t0, t1) = carry, ends
        velocity = jax.vmap(lambda x: field(t0, x))(x)
        energy = energy + (t1 - t0) / 2 * jnp.sum(velocity**2, axis=tuple(range(1, x.ndim)))
        return (x + (t1 - t0) * velocity, energy), None

    start = x0, jnp.zeros(x0.shape[0])
    return jax.lax.scan(step, start, (nodes[:-1], nodes[1:]))[0]


def scan_heun(field: VelocityField, x0: Array, nodes: Array) -> Array:
    """A Heun loop without energy."""

    def step(x: Array, ends: tuple[Array, Array]) -> tuple[Array, None]:
        t0, t1 = ends
        first = jax.vmap(lambda x: field(t0, x))(x)
        second = jax.vmap(lambda x: field(t1, x))(x + (t1 - t0) * first)
        return x + (t1 - t0) / 2 * (first + second), None

    return jax.lax.scan(step, x0, (nodes[:-1], nodes[1:]))[0]


def scan_heun_energy(field: VelocityField, x0: Array, nodes: Array) -> tuple[Array, Array]:
    """A Heun loop with the total energy, by the weights of the velocity."""

    def step(
        carry: tuple[Array, Array], ends: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], None]:
        (x, energy), (t0, t1) = carry, ends
        first = jax.vmap(lambda x: field(t0, x))(x)
        second = jax.vmap(lambda x: field(t1, x))(x + (t1 - t0) * first)
        energy = energy + (t1 - t0) / 4 * jnp.sum(
            first**2 + second**2, axis=tuple(range(1, x.ndim))
        )
        return (x + (t1 - t0) / 2 * (first + second), energy), None

    start = x0, jnp.zeros(x0.shape[0])
    return jax.lax.scan(step, start, (nodes[:-1], nodes[1:]))[0]


def scan_euler_all(field: VelocityField, x0: Array, nodes: Array) -> dict[str, Array]:
    """An Euler loop with all that `sample` returns."""

    def velocities(x: Array, t0: Array, t1: Array) -> tuple[Array, Array, Array]:
        velocity = jax.vmap(lambda x: field(t0, x))(x)
        power = _summed(velocity**2)
        return velocity, power, jnp.sqrt(power)

    return _with_all_results(velocities, x0, nodes, calls=1)


def scan_heun_all(field: VelocityField, x0: Array, nodes: Array) -> dict[str, Array]:
    """A Heun loop with all that `sample` returns."""

    def velocities(x: Array, t0: Array, t1: Array) -> tuple[Array, Array, Array]:
        first = jax.vmap(lambda x: field(t0, x))(x)
        second = jax.vmap(lambda x: field(t1, x))(x + (t1 - t0) * first)
        powers = _summed(first**2), _summed(second**2)
        speed = (jnp.sqrt(powers[0]) + jnp.sqrt(powers[1])) / 2
        return (first + second) / 2, (powers[0] + powers[1]) / 2, speed

    return _with_all_results(velocities, x0, nodes, calls=2)


def _summed(squares: Array) -> Array:
    return jnp.sum(squares, axis=tuple(range(1, squares.ndim)))


def _with_all_results(
    velocities: Callable[[Array, Array, Array], tuple[Array, Array, Array]],
    x0: Array,
    nodes: Array,
    *,
    calls: int,
) -> dict[str, Array]:
    """A loop by `velocities`: (x, t0, t1) to a step's mean velocity, mean ||u||² and mean ||u||."""
    batch = x0.shape[0]

    def step(
        carry: tuple[Array, ...], ends: tuple[Array, Array]
    ) -> tuple[tuple[Array, ...], tuple[Array, Array]]:
        (x, before, launch, landing, length), (t0, t1) = carry, ends
        mean, power, speed = velocities(x, t0, t1)
        energy, is_landing = (t1 - t0) * power / 2, t0 >= 0.6 - 1e-6
        launch = launch + jnp.where(is_landing, 0.0, energy)
        landing = landing + jnp.where(is_landing, energy, 0.0)
        bend2 = jnp.where(t0 == nodes[0], 0.0, _summed((mean - before) ** 2))
        moved = x + (t1 - t0) * mean
        carry = moved, mean, launch, landing, length + (t1 - t0) * speed
        return carry, (_summed(mean**2), bend2)

    zero = jnp.zeros(batch)
    start: tuple[Array, ...] = (x0, x0, zero, zero, zero)
    ends, profile = jax.lax.scan(step, start, (nodes[:-1], nodes[1:]))
    x1, _, launch, landing, length = ends
    total, displacement = launch + landing, _summed((x1 - x0) ** 2) / 2
    speed2, bend2 = (rows.T for rows in profile)
    finite = jnp.isfinite(total) & jnp.isfinite(displacement) & jnp.isfinite(bend2).all(axis=1)
    return {
        "x1": x1,
        "total": total,
        "launch": launch,
        "landing": landing,
        "displacement": displacement,
        "excess": total - displacement,
        "length": length,
        "ts": nodes[:-1],
        "speed2": speed2,
        "bend2": bend2,
        "num_evals": jnp.full(batch, calls * (len(nodes) - 1)),
        "status": jnp.where(finite, 0, 1),
        "residual": jnp.zeros(batch),
    }


def adaptive(
    field: VelocityField, x0: Array, controller: diffrax.AbstractStepSizeController
) -> Array:
    """A Diffrax solve of each sample without energy."""
    term = diffrax.ODETerm(lambda t, x, args: field(jnp.asarray(t), x))

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
    """Samples and energies by Euler, one sample at a time.

    Args:
        velocity: velocity(t, batch) of NumPy arrays or PyTorch tensors.
        x0: a batch of the same kind.
        num_steps: steps from 0 to 1.
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
    """Samples and energies by Euler, a batch at a time: the minimal cost of measuring."""
    x, energy = x0, 0.0
    for i in range(num_steps):
        v = velocity(i / num_steps, x)
        energy = energy + 0.5 * (v**2).sum(1) / num_steps
        x = x + v / num_steps
    return x, energy


def require_same(
    expected: ArrayLike, results: Mapping[str, ArrayLike], tolerance: float = 1e-3
) -> None:
    """Refuses contenders that differ from `expected` by more than a share of its largest value."""
    for name, values in results.items():
        difference = np.max(np.abs(np.asarray(values) - np.asarray(expected)))
        share = difference / np.max(np.abs(expected))
        assert share < tolerance, f"{name} must agree with the others, it differs by {share:.2g}"
