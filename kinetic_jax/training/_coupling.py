"""Couplings: which noise goes with which row of the data in a step of training."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from kinetic_jax._checks import require, require_finite
from kinetic_jax._state import StateSpec
from kinetic_jax.training._inputs import given_noise
from kinetic_jax.training._optax import optax_promotion

INDEPENDENT, MINIBATCH_OT = "independent", "minibatch_ot"
Coupling = str | Float[Array, "rows *event"]  # a name, or the noise of each row


def checked_coupling(
    coupling: str | ArrayLike | PyTree[ArrayLike],
    rows: Float[Array, "rows *event"],
    spec: StateSpec | None,
) -> Coupling:
    """A coupling's name, or the noise of each row for fixed pairs.

    Raises:
        ValueError: if it is neither a known name nor noise in the shape of the data.
    """
    if isinstance(coupling, str):
        is_known = coupling in (INDEPENDENT, MINIBATCH_OT)
        expected = f"be {INDEPENDENT!r}, {MINIBATCH_OT!r} or the noise of each row of data"
        require(is_known, "coupling", repr(coupling), expected)
        return coupling
    x0 = given_noise("coupling", coupling, "data", rows, spec)
    require_finite("coupling", x0)
    return x0


def optimal_pairing(
    x0: Float[Array, "batch *event"], x1: Float[Array, "batch *event"]
) -> Int[Array, " batch"]:
    """For each row of `x1` the row of `x0` that it is paired with, at least total squared distance.

    The sum of ||x0_π(j) − x1_j||² over a batch is a constant minus 2 Σ x0_π(j)·x1_j, so that the
    inner products are the costs. A mean that the rows of x1 share costs every pairing the same;
    without it less is rounded away.

    On arrays that are split over a mesh every device gathers the costs and solves all of it.
    """
    import optax

    dtype = jax.dtypes.canonicalize_dtype(float)  # in which Optax keeps its potentials
    noise = x0.reshape(x0.shape[0], -1).astype(dtype)
    rows = x1.reshape(x1.shape[0], -1).astype(dtype)
    rows = rows - jnp.mean(rows, axis=0, keepdims=True)
    # TPUs would multiply in bfloat16, and pair by rounded costs.
    costs = -jnp.matmul(noise, rows.T, precision=jax.lax.Precision.HIGHEST)
    # Optax's search would not end on costs that overflow; the loss of such data is not finite.
    costs = jnp.where(jnp.abs(costs) < 1e30, costs, jnp.zeros_like(costs))
    with optax_promotion():
        of_noise, of_rows = optax.assignment.hungarian_algorithm(costs)
    return jnp.zeros_like(of_noise).at[of_rows].set(of_noise)
