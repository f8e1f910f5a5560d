"""The identity of a field, independent of its weights, for resumed runs of `fit`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, PyTree

from kinetic_jax._digest import digest
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax.fields import VelocityField
from kinetic_jax.sampling import held_arrays, probed
from kinetic_jax.training._step import Problem, field_of

POINTS = 4


def identity_of(problem: Problem, parameters: PyTree[Array]) -> dict[str, object]:
    """Identifies the function that a field computes, whatever the values of `parameters`.

    Returns:
        "arrays", a digest of the untrained arrays (in closures, say), and "probes", the velocity at
        fixed points under fixed weights (see `probed`).
    """
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda leaf: _random_weights(rng, leaf.shape, leaf.dtype), parameters)
    shape, dtype = problem.data.shape[1:], problem.data.dtype
    x0 = jnp.asarray(rng.normal(size=(POINTS, *shape)), at_least_float32(dtype))
    field: VelocityField = field_of(problem, weights)

    def in_dtype_of_data(t: Array, x: Array, c: PyTree) -> Array:
        return field(t, x.astype(dtype), c)

    probed_field = field if dtype == x0.dtype else in_dtype_of_data
    cond = jax.tree.map(  # of the first rows, repeated if they are fewer than `POINTS`
        lambda rows: jnp.asarray(np.resize(rows[:POINTS], (POINTS, *rows.shape[1:]))), problem.cond
    )
    return {
        "arrays": digest(held_arrays(problem.static)),
        "probes": probed(probed_field, x0, cond, (0.0, 1.0)),
    }


def _random_weights(rng: np.random.Generator, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Weights that keep activations of order 1: scaled matrices, other weights near 1/2."""
    if len(shape) < 2:
        return jnp.asarray(rng.uniform(0.25, 0.75, shape), dtype)
    inputs = max(int(np.prod(shape[:-1])), 1)
    return jnp.asarray(rng.normal(size=shape) / np.sqrt(inputs), dtype)
