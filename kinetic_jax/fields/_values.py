"""Values of the posterior at a point: velocity, log-density, dominance, the heaviest row."""

from typing import Any, NamedTuple

import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kinetic_jax._streaming import Shards, SoftmaxSum, stream
from kinetic_jax.fields._atoms import weighted
from kinetic_jax.fields._posterior import Posterior

_HALF_LOG_TWO_PI = float(np.log(2 * np.pi) / 2)


class EmpiricalValues(NamedTuple):
    """The result of `EmpiricalField.values` at one point, and of `on_batch` at a batch of them.

    Attributes:
        velocity: v*, of the shape of x.
        log_density: log p_t(x), in nats.
        dominance: ε, the sum of all weights but the greatest.
        heaviest: the number of the row of the greatest weight.
        shift: Σ_i w_i x_i less that row, of the shape of x, with digits of its own: tiny where
            one row decides.
    """

    velocity: Float[Array, "*shape"]
    log_density: Float[Array, "*batch"]
    dominance: Float[Array, "*batch"]
    heaviest: Int[Array, "*batch"]
    shift: Float[Array, "*shape"]


jax.export.register_namedtuple_serialization(
    EmpiricalValues, serialized_name="kinetic_jax.EmpiricalValues"
)


def log_volume(size: int, left: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """D log(1 − t) + (d/2) log 2π, the log of the kernels' norm."""
    return size * (jnp.log(left) + _HALF_LOG_TWO_PI)


def values_of(
    found: Posterior,
    x: Float[Array, "*batch size"],
    left: Float[Array, "*batch"],
    log_total: Float[Array, "..."],
    shape: tuple[int, ...],
) -> EmpiricalValues:
    """The values at a point, or at a batch of them.

    Args:
        found: the posterior there.
        x: the points, flat.
        left: 1 − t.
        log_total: log of the number of rows that count, or of the sum of their weights.
        shape: of the points as they were given.
    """
    velocity = ((found.base - x) + found.shift) / left[..., None]
    return EmpiricalValues(
        velocity.reshape(shape),
        found.log_sum - log_total - log_volume(x.shape[-1], left),
        found.others,
        found.number,
        found.shift.reshape(shape),
    )


def log_total(
    rows: int,
    log_weights: Float[Array, " rows"] | None,
    labels: Int[Array, " rows"] | None,
    cond: Int[Array, ""] | None,
    dtype: Any,
    chunk_size: int,
    shards: Shards | None = None,
) -> Float[Array, ""]:
    """Log of the number of rows that count, or of the sum of their weights; by chunks."""
    if log_weights is None and (labels is None or cond is None):
        return jnp.asarray(np.log(rows), dtype)
    known = (log_weights, labels)

    def score(part: Array, known: tuple[Any, Any]) -> Array:
        return weighted(jnp.zeros(part.shape[0], dtype), *known, cond)

    peak, total = stream(
        score,
        SoftmaxSum(),
        jnp.zeros((_length(known), 0), dtype),
        known,
        dtype=dtype,
        chunk_size=chunk_size,
        recompute=True,
        shards=shards,
    )
    return peak + jnp.log(total)


def _length(known: tuple[Array | None, Array | None]) -> int:
    return next(array.shape[0] for array in known if array is not None)
