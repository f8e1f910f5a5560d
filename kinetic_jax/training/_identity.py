"""By what `fit` knows a field again whose weights have changed since."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from kinetic_jax._digest import digest
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax.sampling import held_arrays, probed
from kinetic_jax.training._step import Problem, field_of

POINTS = 4


def identity_of(problem: Problem, parameters: PyTree[Any]) -> dict[str, Any]:
    """What a field computes, whatever its weights are: for a run that is resumed.

    Args:
        problem: the run, of which the field is a part.
        parameters: arrays of the shapes and dtypes of the weights.

    Returns:
        "arrays", a digest of those that are not trained (in closures, say), and "probes": the
        velocity at fixed points under fixed weights, as `probed` has it.
    """
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda leaf: _drawn(rng, leaf.shape, leaf.dtype), parameters)
    shape, dtype = problem.data.shape[1:], problem.data.dtype
    x0 = jnp.asarray(rng.normal(size=(POINTS, *shape)), at_least_float32(dtype))
    field = field_of(problem, weights)
    if dtype != x0.dtype:  # as it is trained
        own = field

        def field(t: Any, x: Any, c: Any) -> Any:
            return own(t, x.astype(dtype), c)

    return {
        "arrays": digest(held_arrays(problem.static)),
        "probes": probed(field, x0, _some(problem.cond), (0.0, 1.0)),
    }


def _drawn(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Weights that keep values of order 1: matrices by their inputs, others near 1/2."""
    if len(shape) < 2:
        return jnp.asarray(rng.uniform(0.25, 0.75, shape), dtype)
    inputs = max(int(np.prod(shape[:-1])), 1)
    return jnp.asarray(rng.normal(size=shape) / np.sqrt(inputs), dtype)


def _some(cond: PyTree[Any]) -> PyTree[Any]:
    """The conditions of the first rows, as often as it takes."""
    return jax.tree.map(
        lambda rows: jnp.asarray(np.resize(rows[:POINTS], (POINTS, *rows.shape[1:]))), cond
    )
