"""The identity of a field, independent of its weights, for resumed runs of `fit`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import PyTree

from kinetic_jax._digest import digest
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax.sampling import held_arrays, probed
from kinetic_jax.training._step import Problem, field_of

POINTS = 4


def identity_of(problem: Problem, parameters: PyTree[Any]) -> dict[str, Any]:
    """Identifies the function a field computes, independent of its weights.

    Args:
        problem: the run with the field.
        parameters: arrays with the shapes and dtypes of the weights.

    Returns:
        "arrays", a digest of the untrained arrays (in closures, say), and "probes", the velocity at
        fixed points under fixed weights (see `probed`).
    """
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda leaf: _random_weights(rng, leaf.shape, leaf.dtype), parameters)
    shape, dtype = problem.data.shape[1:], problem.data.dtype
    x0 = jnp.asarray(rng.normal(size=(POINTS, *shape)), at_least_float32(dtype))
    field = field_of(problem, weights)
    if dtype != x0.dtype:  # training calls the field in the dtype of the data
        own = field

        def field(t: Any, x: Any, c: Any) -> Any:
            return own(t, x.astype(dtype), c)

    return {
        "arrays": digest(held_arrays(problem.static)),
        "probes": probed(field, x0, _probe_cond(problem.cond), (0.0, 1.0)),
    }


def _random_weights(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: DTypeLike
) -> jax.Array:
    """Weights that keep activations of order 1: scaled matrices, other weights near 1/2."""
    if len(shape) < 2:
        return jnp.asarray(rng.uniform(0.25, 0.75, shape), dtype)
    inputs = max(int(np.prod(shape[:-1])), 1)
    return jnp.asarray(rng.normal(size=shape) / np.sqrt(inputs), dtype)


def _probe_cond(cond: PyTree[Any]) -> PyTree[Any]:
    """The conditions of the first rows, repeated to `POINTS` rows."""
    return jax.tree.map(
        lambda rows: jnp.asarray(np.resize(rows[:POINTS], (POINTS, *rows.shape[1:]))), cond
    )
