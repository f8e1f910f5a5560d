"""The identity between the energy of a data set's exact flow and its density."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from kinetic_jax._checks import (
    as_array,
    float_array,
    float_scalar,
    is_concrete,
    require,
    require_between,
    whole_number,
)
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import untyped_axes
from kinetic_jax._norms import norm_from_squared, squared_norm
from kinetic_jax._pytree import result
from kinetic_jax._streaming import Highest, lowest, product, stream
from kinetic_jax.exact._empirical import EmpiricalField
from kinetic_jax.exact._empirical_values import log_total_of, log_volume, on_shards
from kinetic_jax.exact._posterior import Beside, log_ratio, weighted


@result
class EnergyIdentity:
    """Both sides of the energy–density identity at one (t, x) and one row k, and its error bounds.

    `½||v_k||² = −log p_t(x) + ½||x_k||² − x_k·r_k/(1−t) + volume + log π_k − log w_k`, exactly,
    with r_k = x − t x_k, v_k = (x_k − x)/(1 − t) and π_k = 1/N (or the weight of the row, if rows
    have weights). All attributes are numbers; the terms of the identity are in nats.

    Attributes:
        index: the row k.
        row_energy: the left side, ½||v_k||², by differences.
        from_density: the right side, the sum of the next six attributes.
        neg_log_density: −log p_t(x).
        row_square: ½||x_k||².
        cross: −x_k·r_k/(1 − t), the only term besides the density that depends on x while k
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
    """The energy of `field` at ONE sample, expressed by its log-density; see `EnergyIdentity`.

    Takes two passes over the data. Map it over a batch with `jax.vmap`.

    Args:
        field: the exact flow of a data set.
        t: the time, in [0, 1]; the field stops its clock at 1 − √ε of the dtype.
        x: the sample.
        index: the row k. Default: the heaviest.
        cond: a class, or None.

    Returns:
        Both sides of the identity, term by term, and the bound of the gap.

    Raises:
        ValueError: if `field` is not an EmpiricalField with its data in memory, t lies outside
            [0, 1], x does not have the shape of a row, or `index` lies outside [0, rows) or in
            another class than `cond`.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.exact import EmpiricalField, energy_identity
        >>> field = EmpiricalField(jnp.array([[2.0, 0.0], [-2.0, 0.0]]))
        >>> identity = energy_identity(field, 0.5, jnp.array([1.0, 1.0]))
        >>> print(identity.row_energy.round(3), identity.from_density.round(3), identity.index)
        4.0 4.0 0
        >>> bool(abs(identity.gap) <= identity.bound)
        True
    """
    require(isinstance(field, EmpiricalField), "field", type(field).__name__, "be EmpiricalField")
    require_between("t", t, 0.0, 1.0, closed=True)
    if cond is not None:
        cond = as_array("cond", cond)
        field.check_cond(cond)
    if index is not None:
        if is_concrete(index):
            index = whole_number("index", index, 0, field.rows - 1, why=", a row's number")
        if cond is not None and is_concrete(index, cond, field.labels) and field.labels is not None:
            label = int(field.labels[index])
            is_of_class = int(cond) in (label, -1)
            require(is_of_class, "index", index, f"be a row of class {cond}, not {label}")
        index = jnp.asarray(index, jnp.int32)
    x = float_array(x, "x")
    x = x.astype(at_least_float32(x.dtype))
    return _identity(field, float_scalar(t, "t").astype(x.dtype), x, index, cond)


# Compiled, so that separate calls reuse one program.
@eqx.filter_jit
@untyped_axes
def _identity(
    field: EmpiricalField, t: Array, x: Array, index: Array | None, cond: Array | None
) -> EnergyIdentity:
    values = field.values(t, x, cond)
    time = jnp.minimum(t, 1 - field.stop(x.dtype))
    left = 1 - time
    k = values.heaviest if index is None else index
    row = field.data[k].astype(x.dtype)
    heaviest = field.data[values.heaviest].astype(x.dtype)
    velocity, change = (row - x) / left, ((heaviest - row) + values.shift) / left
    log_prior = log_prior_of(field, k, x.dtype, cond)
    # log w_k is log(1 − ε), of the heaviest row, minus the log ratio of the two weights.
    ratio = log_ratio(time, x.reshape(-1), heaviest.reshape(-1), row.reshape(-1))
    ratio += log_prior_of(field, values.heaviest, x.dtype, cond) - log_prior
    neg_log_weight = ratio - jnp.log1p(-values.dominance)
    dominance = jnp.where(k == values.heaviest, values.dominance, -jnp.expm1(-neg_log_weight))
    terms = (
        -values.log_density,
        squared_norm(row) / 2,
        -jnp.sum(row * (x - time * row)) / left,
        -log_volume(x.size, left),
        log_prior,
        neg_log_weight,
    )
    speed = norm_from_squared(squared_norm(velocity))
    delta = dominance * farthest(field, row, cond) / left
    # An allowance for rounding errors in gap and bound.
    up = 1 + (x.size + 128) * jnp.finfo(x.dtype).eps
    return EnergyIdentity(
        k,
        squared_norm(velocity) / 2,
        sum(terms, start=jnp.zeros((), x.dtype)),
        *terms,
        energy=squared_norm(velocity + change) / 2,
        gap=jnp.sum(velocity * change) + squared_norm(change) / 2,
        dominance=dominance,
        bound=up * (speed * delta + delta**2 / 2),
    )


def log_prior_of(
    field: EmpiricalField, index: Int[Array, ""], dtype: DTypeLike, cond: Int[Array, ""] | None
) -> Float[Array, ""]:
    """Log of the share of row `index` in the data, −log N; −∞ if the row does not count."""

    def pick(array: Array | None) -> Array | None:
        return None if array is None else array[index][None]

    log_weights, labels = pick(field.log_weights), pick(field.labels)
    own = weighted(jnp.zeros(1, dtype), log_weights, labels, cond)[0]
    counts = own > lowest(dtype)
    return jnp.where(counts, own - log_total_of(field, cond, dtype), -jnp.inf)


@eqx.filter_jit
@untyped_axes
@on_shards
def farthest(
    field: EmpiricalField, x: Float[Array, "*event"], cond: Int[Array, ""] | None
) -> Float[Array, ""]:
    """The greatest distance from `x` to a row that counts, rounded up; one pass over the data."""
    atoms, x = field.atoms(), x.reshape(-1)
    center = jax.lax.stop_gradient(atoms.center).astype(x.dtype)
    moved = x - center

    def score(rows: Array, known: Beside) -> Array:
        squares, log_weights, labels = known
        scores = squares.astype(x.dtype) - 2 * product(moved, rows)
        counts = weighted(jnp.zeros_like(scores), log_weights, labels, cond)
        return jnp.where(counts > lowest(x.dtype), scores, lowest(x.dtype))

    over = atoms.over(x.dtype, field.chunk_size) | {"recompute": True, "center": center}
    scores, _ = stream(score, Highest(1), atoms.rows, atoms.beside, **over)
    square = jnp.sum(moved * moved)
    # Rounding error of differences, a sum of squares and a product of that many terms.
    highest = jax.lax.stop_gradient(jnp.max(atoms.beside.squares))
    if atoms.shards is not None:
        highest = jax.lax.pmax(highest, atoms.shards.axis)
    longest = jnp.sqrt(square) + jnp.sqrt(highest).astype(x.dtype)
    doubt = (x.size + 12) * jnp.finfo(x.dtype).eps * longest**2
    return jnp.sqrt(jnp.maximum(scores[0] + square, 0.0) + doubt)
