"""The programs of `EmpiricalField`: values of the posterior at a point, and at a batch."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from kinetic_jax._checks import (
    as_array,
    float_array,
    numbers,
    require,
    require_between,
    require_known,
)
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import alone_on, in_caller_types, is_inside, untyped_axes
from kinetic_jax._streaming import (
    Best,
    Highest,
    Rows,
    SoftmaxMean,
    SoftmaxSum,
    Together,
    read_again,
    require_finite_rows,
    stream,
    stream_from_host,
)
from kinetic_jax.exact._posterior import (
    REMEASURED,
    Beside,
    Posterior,
    around,
    heaviest,
    measured_again,
    posterior,
    posterior_of,
    scores_at,
    weighted,
)
from kinetic_jax.fields import Field

if TYPE_CHECKING:
    from kinetic_jax.exact._empirical import EmpiricalField
else:  # which imports this file
    EmpiricalField = Field

T = TypeVar("T")

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


class HeaviestAtoms(NamedTuple):
    """The result of `EmpiricalField.posterior`.

    Attributes:
        weights: posterior weights, the greatest first.
        indices: which rows they are of.
    """

    weights: Float[Array, " k"]
    indices: Int[Array, " k"]


for _kind in (EmpiricalValues, HeaviestAtoms):
    jax.export.register_namedtuple_serialization(
        _kind, serialized_name=f"kinetic_jax.{_kind.__name__}"
    )


def log_volume(size: int, left: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """`d log(1 − t) + (d/2) log 2π`, the log of the norm of the kernels."""
    return size * (jnp.log(left) + _HALF_LOG_TWO_PI)


def values_of(
    statistics: Posterior,
    x: Float[Array, "*batch size"],
    left: Float[Array, "*batch"],
    total: Float[Array, "..."],
    shape: tuple[int, ...],
) -> EmpiricalValues:
    """The values at a point or at a batch of them, flat in `x`, before that of shape `shape`.

    `left` is 1 − t, and `total` that of `log_total`.
    """
    velocity = ((statistics.base - x) + statistics.shift) / left[..., None]
    return EmpiricalValues(
        velocity.reshape(shape),
        statistics.log_sum - total - log_volume(x.shape[-1], left),
        statistics.others,
        statistics.number,
        statistics.shift.reshape(shape),
    )


def log_total(
    field: EmpiricalField, cond: Int[Array, ""] | None, dtype: DTypeLike
) -> Float[Array, ""]:
    """Log of the number of rows that count, or of the sum of their weights; by chunks."""
    if field.log_weights is None and (field.labels is None or cond is None):
        return jnp.asarray(np.log(field.rows), dtype)

    def score(part: Array, known: tuple[Array | None, Array | None]) -> Array:
        return weighted(jnp.zeros(part.shape[0], dtype), *known, cond)

    peak, total = stream(
        score,
        SoftmaxSum(),
        jnp.zeros((field.data.shape[0], 0), dtype),
        (field.log_weights, field.labels),
        dtype=dtype,
        chunk_size=field.chunk_size,
        recompute=True,
        shards=field.shards,
    )
    return peak + jnp.log(total)


def on_shards(work: Callable[..., T]) -> Callable[..., T]:
    """`work(field, *args)` on every device that holds a part of the field's rows, if any do.

    Inside `sample` over the same mesh the code already is that of one device.
    """

    @functools.wraps(work)
    def call(field: EmpiricalField, *args: PyTree[Any]) -> T:
        shards = field.shards
        if shards is None or is_inside(shards.axis):
            return work(field, *args)
        arrays, static = eqx.partition((field, args), eqx.is_array)
        leaves, treedef = jax.tree.flatten(arrays)
        own = field.partition_specs()
        specs = own + [PartitionSpec()] * (len(leaves) - len(own))

        def local(leaves: list[Array]) -> T:
            field, args = eqx.combine(jax.tree.unflatten(treedef, leaves), static)
            return work(field, *args)

        run = jax.shard_map(
            local,
            mesh=shards.mesh,
            in_specs=(specs,),
            out_specs=PartitionSpec(),
            check_vma=False,
            axis_names={shards.axis},
        )
        with alone_on(shards.mesh, leaves):
            result = run(leaves)
        return in_caller_types(result, shards.mesh, PartitionSpec())

    return call


# Compiled here, so that calls one at a time (in a notebook, say) find their programs again.
@eqx.filter_jit
@untyped_axes
@on_shards
def values_at(field: EmpiricalField, t: Array, x: Array, cond: Array | None) -> EmpiricalValues:
    """See `EmpiricalField.values`."""
    time, flat, statistics = _posterior(field, t, x, cond)
    return values_of(statistics, flat, 1 - time, log_total(field, cond, x.dtype), x.shape)


@eqx.filter_jit
def values_on_batch(
    field: EmpiricalField, t: Array, x: Array, classes: Array | None
) -> EmpiricalValues:
    """The values at a batch of points, in blocks of 256."""
    return jax.lax.map(lambda point: values_at(field, *point), (t, x, classes), batch_size=256)


@eqx.filter_jit
@untyped_axes
@on_shards
def heaviest_at(
    field: EmpiricalField, t: Array, x: Array, cond: Array | None, k: int
) -> HeaviestAtoms:
    """See `EmpiricalField.posterior`."""
    time, flat, statistics = _posterior(field, t, x, cond)
    atoms = field.atoms()
    # A few more than asked for: rounding may have them in another order. Which rows they are has
    # no derivative; their weights have.
    frozen = jax.lax.stop_gradient((atoms, time, flat))
    first, _ = heaviest(*frozen, cond, count=k + 8, chunk_size=field.chunk_size)
    rows, log_weights = atoms.take(first.number)
    winners = measured_again(time, flat, rows, first.number, first.scores, log_weights)
    weights = jnp.exp(winners.relative + winners.first - statistics.log_sum)
    top, place = jax.lax.top_k(weights, k)
    return HeaviestAtoms(top, winners.number[place])


@eqx.filter_jit
@untyped_axes
@on_shards
def log_total_of(field: EmpiricalField, cond: Array | None, dtype: DTypeLike) -> Array:
    """Log of the number of rows that count, or of the sum of their weights."""
    return log_total(field, cond, dtype)


@eqx.filter_jit
def log_totals_of(field: EmpiricalField, classes: Array | None, dtype: DTypeLike) -> Array:
    """`log_total_of` each class; of the whole data set for None."""
    if classes is None:
        return log_total(field, None, dtype)
    return jax.lax.map(lambda cond: log_total(field, cond, dtype), classes)


def _posterior(
    field: EmpiricalField, t: Array, x: Array, cond: Array | None
) -> tuple[Array, Array, Posterior]:
    flat = x.reshape(-1)
    time, atoms = jnp.minimum(t, 1 - field.stop(x.dtype)), field.atoms()
    return time, flat, posterior(atoms, time, flat, cond, chunk_size=field.chunk_size)


class PosteriorScore(eqx.Module):
    """The scores of the posterior at ONE (t, y, cond), with y = x − t c around the centre c."""

    def __call__(
        self,
        query: tuple[Array, Array, Array | None],
        rows: Float[Array, "chunk size"],
        squares: Float[Array, " chunk"],
        beside: tuple[Array | None, Array | None],
    ) -> Float[Array, " chunk"]:
        """See `scores_at`."""
        return scores_at(*query, rows, Beside(squares, *beside))


def posterior_on_batch(
    data: Rows,
    log_weights: Float[Array, " rows"] | None,
    labels: Int[Array, " rows"] | None,
    t: Float[Array, " batch"],
    x: Float[Array, "batch size"],
    cond: Int[Array, " batch"] | None,
    *,
    center: Float[Array, " size"],
    chunk_size: int,
    progress: bool | None,
    name: str = "data",
    relative: bool = False,
) -> Posterior:
    """The posterior of every point of a batch; each row is read once, the heaviest once more.

    Where `relative`, the points are less t times the centre already; the result is in that frame.

    Raises:
        ValueError: if a row is not finite; it calls the data by `name`.
    """
    count = min(REMEASURED, data.shape[0])
    sums, (scores, index) = stream_from_host(
        PosteriorScore(),
        Together(SoftmaxMean(), Highest(count)),
        (t, x if relative else around(center, t, x), cond),
        data,
        (log_weights, labels),
        chunk_size=chunk_size,
        dtype=x.dtype,
        center=center,
        description="reading the data",
        check=lambda start, squares: require_finite_rows(name, start, squares),
        progress=progress,
    )
    rows, place = read_again(data, index)
    if relative:
        rows, center = rows - center[None, :], jnp.zeros_like(center)
    return _refined(t, x, rows, place, index, scores, sums, log_weights, center)


@eqx.filter_jit
def _refined(
    t: Float[Array, " batch"],
    x: Float[Array, "batch size"],
    rows: Float[Array, "distinct size"],
    place: Int[Array, "batch count"],
    index: Int[Array, "batch count"],
    scores: Float[Array, "batch count"],
    sums: Best,
    log_weights: Float[Array, " rows"] | None,
    center: Float[Array, " size"],
) -> Posterior:
    def one(query: tuple[Array, Array, Array, Array, Array, Best]) -> Posterior:
        t, x, place, number, scores, sums = query
        own = None if log_weights is None else log_weights[number]
        winners = measured_again(t, x, rows[place], number, scores, own)
        return posterior_of(t, x, winners, sums, center)

    return jax.lax.map(one, (t, x, place, index, scores, sums), batch_size=64)


def checked_batch(
    t: ArrayLike, x: ArrayLike, cond: ArrayLike | None, event: tuple[int, ...]
) -> tuple[Array, Array, Array | None]:
    """Times (batch,), points (batch, size) and classes (batch,) of a batch.

    Raises:
        ValueError: if the points are not a batch of events, or times or classes do not fit them.
    """
    require_between("t", numbers("t", t), 0.0, 1.0, closed=True)
    require_known("x", x)
    points = float_array(x, "x")
    points = points.astype(at_least_float32(points.dtype))
    shape = points.shape
    fits = shape[1:] == event and len(shape) > len(event)
    expected = f"have shape (batch, {', '.join(map(str, event))})"
    require(fits, "x", f"shape {shape}", expected)
    require(shape[0] >= 1, "x", f"shape {shape}", "have points")
    times = float_array(t, "t").astype(points.dtype)
    fits = times.shape in ((), shape[:1])
    require(fits, "t", f"shape {times.shape}", f"be a number or have shape {shape[:1]}")
    times, points = jnp.broadcast_to(times, shape[:1]), points.reshape(shape[0], -1)
    if cond is None:
        return times, points, None
    classes = as_array("cond", cond)
    one = classes.shape in ((), (1,), shape[:1])
    require(one, "cond", f"shape {classes.shape}", f"be a class or have shape {shape[:1]}")
    return times, points, jnp.broadcast_to(classes, shape[:1])
