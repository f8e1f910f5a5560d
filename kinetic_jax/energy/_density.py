"""The energy of a data set's exact flow against the density it passes through."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from kinetic_jax._checks import is_concrete, require
from kinetic_jax._dtypes import as_time, at_least_float32
from kinetic_jax._pytree import result
from kinetic_jax.energy._path_energy import squared_norm
from kinetic_jax.fields import EmpiricalField


@result
class EnergyIdentity:
    """Both sides of the energy–density identity at one (t, x) and one row k, and what it leaves.

    `½||v_k||² = −log p_t(x) + ½||x_k||² − x_k·r_k/(1−t) + volume + log π_k − log w_k`, exactly,
    with r_k = x − t x_k, v_k = (x_k − x)/(1 − t) and π_k = 1/N (a row's own weight, if rows have
    weights). Every attribute is a number, in nats where it is part of the identity.

    Attributes:
        index: the row k.
        row_energy: the left side, ½||v_k||², by differences.
        from_density: the right side, the sum of the next six.
        neg_log_density: −log p_t(x).
        row_square: ½||x_k||².
        cross: −x_k·r_k/(1 − t), the one term besides the density that changes with x while k
            dominates.
        volume: −d log(1 − t) − (d/2) log 2π.
        log_prior: log π_k.
        neg_log_weight: −log w_k.
        energy: ½||v*||² of the flow itself.
        gap: ½||v*||² − ½||v_k||².
        dominance: ε_k = Σ_{i≠k} w_i.
        bound: ||v_k|| δ + δ²/2 ≥ |gap|, with δ = ε_k max_i ||x_i − x_k||/(1 − t), rounded up.
    """

    index: Int[Array, "*batch"]
    row_energy: Float[Array, "*batch"]
    from_density: Float[Array, "*batch"]
    neg_log_density: Float[Array, "*batch"]
    row_square: Float[Array, "*batch"]
    cross: Float[Array, "*batch"]
    volume: Float[Array, "*batch"]
    log_prior: Float[Array, "*batch"]
    neg_log_weight: Float[Array, "*batch"]
    energy: Float[Array, "*batch"]
    gap: Float[Array, "*batch"]
    dominance: Float[Array, "*batch"]
    bound: Float[Array, "*batch"]


def energy_identity(
    field: EmpiricalField,
    t: Float[ArrayLike, ""],
    x: Float[Array, "*event"],
    index: Int[ArrayLike, ""] | None = None,
    cond: PyTree[Any] | None = None,
) -> EnergyIdentity:
    """The energy of `field` at ONE sample, set against its log-density; see `EnergyIdentity`.

    Two passes over the data. Map it over a batch with `jax.vmap`.

    Args:
        field: the exact flow of a data set.
        t: the time, below 1 (the field's clock stops at 1 − √ε of the dtype).
        x: the sample.
        index: the row k. Default: the heaviest.
        cond: a class, or None.

    Raises:
        ValueError: if `field` is no EmpiricalField with its data in memory, or `index` lies
            outside [0, rows).

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, energy_identity
        >>> field = EmpiricalField(jnp.array([[2.0, 0.0], [-2.0, 0.0]]))
        >>> found = energy_identity(field, 0.5, jnp.array([1.0, 1.0]))
        >>> print(found.row_energy.round(3), found.from_density.round(3), found.index)
        4.0 4.0 0
        >>> bool(abs(found.gap) <= found.bound)
        True
    """
    require(isinstance(field, EmpiricalField), "field", type(field).__name__, "be EmpiricalField")
    rows = field.data.shape[0]
    if index is not None and is_concrete(index):
        require(0 <= int(np.asarray(index)) < rows, "index", index, f"lie in [0, {rows})")
    x = x.astype(at_least_float32(x.dtype))
    values = field.values(t, x, cond)
    time = jnp.minimum(as_time(t, x).astype(x.dtype), 1 - field.stop(x.dtype))
    left = 1 - time
    k = values.heaviest if index is None else jnp.asarray(index, jnp.int32)
    row = field.data[k].astype(x.dtype)
    first = field.data[values.heaviest].astype(x.dtype)
    apart = first - row
    velocity, change = (row - x) / left, (apart + values.shift) / left
    residual = x - time * row
    volume = -x.size * (jnp.log(left) + np.log(2 * np.pi) / 2)
    log_prior = field.log_weight(k, cond)
    # From the heaviest row's weight 1 − ε, by what tells the two rows apart.
    less = time * jnp.sum(apart * (residual + (x - time * first))) / (2 * left**2)
    less += field.log_weight(values.heaviest, cond) - log_prior
    neg_log_weight = less - jnp.log1p(-values.dominance)
    dominance = jnp.where(k == values.heaviest, values.dominance, -jnp.expm1(-neg_log_weight))
    terms = (
        -values.log_density,
        squared_norm(row) / 2,
        -jnp.sum(row * residual) / left,
        volume,
        log_prior,
        neg_log_weight,
    )
    speed = jnp.sqrt(squared_norm(velocity))
    reach = dominance * field.farthest(row, cond) / left
    up = 1 + (x.size + 16) * jnp.finfo(x.dtype).eps
    return EnergyIdentity(
        k,
        squared_norm(velocity) / 2,
        sum(terms, start=jnp.zeros((), x.dtype)),
        *terms,
        energy=squared_norm(velocity + change) / 2,
        gap=jnp.sum(velocity * change) + squared_norm(change) / 2,
        dominance=dominance,
        bound=up * (speed * reach + reach**2 / 2),
    )
