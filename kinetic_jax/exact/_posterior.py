"""The posterior over training rows given x at time t, on the linear path; see `EmpiricalField`.

Scores are formed around a centre c of the rows: with y = x − t c and r_i = x_i − c, x − t x_i is
y − t r_i, and the expanded square of that cancels the less, the smaller the r_i.
"""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kinetic_jax._streaming import (
    Best,
    Highest,
    Shards,
    SoftmaxMean,
    Together,
    WeightedSum,
    lowest,
    product,
    product_scores,
    stream,
    take_rows,
)

# The heaviest rows are recomputed by differences; the expanded square only finds them. Where
# rounding decides between rows (t near 1), only near duplicates of the nearest one compete.
REMEASURED = 12


class Beside(NamedTuple):
    """The knowledge of each row, or of each of some."""

    squares: Float[Array, " some"]  # ||x_i − c||²
    log_weights: Float[Array, " some"] | None  # None for equal weights
    labels: Int[Array, " some"] | None  # classes


class Atoms(eqx.Module):
    """The training rows and what is known of each.

    Attributes:
        rows: flat, shape (rows, size).
        center: c, the same for all devices.
        beside: streamed with the rows.
        shards: how all rows are split over devices, if these are one device's part.
    """

    rows: Float[Array, "rows size"]
    center: Float[Array, " size"]
    beside: Beside
    shards: Shards | None = eqx.field(static=True, default=None)

    @property
    def count(self) -> int:
        """The number of rows on all devices."""
        return self.rows.shape[0] if self.shards is None else self.shards.total

    def over(self, dtype: DTypeLike, chunk_size: int) -> dict[str, Any]:
        """The options with which the rows are streamed."""
        return {"dtype": dtype, "chunk_size": chunk_size, "shards": self.shards}

    def take(self, number: Int[Array, " some"]) -> tuple[Array, Array | None]:
        """Some of the rows, with their log weights, on every device."""
        take = functools.partial(take_rows, number=number, shards=self.shards)
        return jax.tree.map(take, (self.rows, self.beside.log_weights))


def weighted(
    scores: Float[Array, " some"],
    log_weights: Float[Array, " some"] | None,
    labels: Int[Array, " some"] | None,
    cond: Int[Array, ""] | None,
) -> Float[Array, " some"]:
    """The scores of rows with their log weights; the lowest of all for rows of another class."""
    if log_weights is not None:
        counts = log_weights > lowest(log_weights.dtype)
        scores = jnp.where(counts, scores + log_weights.astype(scores.dtype), lowest(scores.dtype))
    if labels is not None and cond is not None:
        scores = jnp.where((cond < 0) | (labels == cond), scores, lowest(scores.dtype))
    return scores


def around(
    center: Float[Array, " size"], t: Float[Array, "*batch"], x: Float[Array, "*batch size"]
) -> Float[Array, "*batch size"]:
    """`y = x − t c`, rounded by no more than (1 − t) c is: near the data x − c is exact."""
    center = jax.lax.stop_gradient(center).astype(x.dtype)
    center = center.reshape((1,) * (x.ndim - 1) + center.shape)
    return (x - center) + (1 - t)[..., None] * center


def scores_at(
    t: Float[Array, ""],
    y: Float[Array, " size"],
    cond: Int[Array, ""] | None,
    rows: Float[Array, "chunk size"],
    beside: Beside,
) -> Float[Array, " chunk"]:
    """ℓ_i + ||y||²/(2 (1 − t)²) of centred rows, by the expanded square; see `weighted`."""
    squares, log_weights, labels = beside
    scores = product_scores(y, rows, squares.astype(y.dtype), t) / (1 - t) ** 2
    return weighted(scores, log_weights, labels, cond)


def log_ratio(
    t: Float[Array, ""],
    x: Float[Array, "*one size"],
    rows: Float[Array, "*some size"],
    others: Float[Array, "*other size"],
) -> Float[Array, "*some"]:
    """ℓ of `rows` less ℓ of `others`, without weights, by differences.

    `t (x_j − x_i)·(d_j + d_i)/(2 (1 − t)²)` with d_j = x − t x_j.
    """
    left = away(t, x, rows) + away(t, x, others)
    return t * jnp.sum((rows - others) * left, axis=-1) / (2 * (1 - t) ** 2)


def away(
    t: Float[Array, ""], x: Float[Array, "*one size"], rows: Float[Array, "*some size"]
) -> Float[Array, "*some size"]:
    """`x − t x_j`, by differences that are exact near the data, wherever they lie."""
    return (x - rows) + (1 - t) * rows


class Posterior(NamedTuple):
    """Statistics of the posterior w from one pass over the rows.

    Attributes:
        log_sum: log Σ exp(ℓ_i), with ℓ_i = log weight − ||x − t x_i||²/(2 (1 − t)²).
        number: which row is the heaviest.
        base: that row.
        shift: Σ w_i x_i − base; apart from base it keeps the digits that near duplicates need.
        score_sum: log_sum as the unrefined scores have it, for derivatives.
        others: Σ of all weights but the greatest.
    """

    log_sum: Float[Array, ""]
    number: Int[Array, ""]
    base: Float[Array, " size"]
    shift: Float[Array, " size"]
    score_sum: Float[Array, ""]
    others: Float[Array, ""]


class Winners(NamedTuple):
    """The heaviest rows, measured by differences."""

    number: Int[Array, " count"]  # heaviest score first
    rows: Float[Array, "count size"]
    relative: Float[Array, " count"]  # ℓ_j − ℓ_0
    scores: Float[Array, " count"]  # unrefined
    first: Float[Array, ""]  # ℓ_0


def measured_again(
    t: Float[Array, ""],
    x: Float[Array, " size"],
    rows: Float[Array, "count size"],
    index: Int[Array, " count"],
    scores: Float[Array, " count"],
    log_weights: Float[Array, " count"] | None,
) -> Winners:
    """The heaviest rows, with their ℓ_j − ℓ_0."""
    rows = rows.astype(x.dtype)
    relative = log_ratio(t, x[None, :], rows, rows[:1])
    first = -jnp.sum(away(t, x, rows[0]) ** 2) / (2 * (1 - t) ** 2)
    if log_weights is not None:
        relative += (log_weights - log_weights[0]).astype(x.dtype)
        first += log_weights[0].astype(x.dtype)
    counts = scores > lowest(scores.dtype)
    return Winners(index, rows, jnp.where(counts, relative, lowest(x.dtype)), scores, first)


def posterior_of(
    t: Float[Array, ""],
    x: Float[Array, " size"],
    winners: Winners,
    sums: Best,
    center: Float[Array, " size"],
) -> Posterior:
    """The refined posterior: recomputed scores of the heaviest rows, streamed sums of the others.

    `sums` are those of `SoftmaxMean` over all rows less `center`.
    """
    first, y = jnp.argmax(winners.relative), around(center, t, x)
    near = winners.rows - center.astype(x.dtype)[None, :]
    base = near[first]
    # The stream's best row is one of the winners, or else as good as they are (ties).
    streamed = jnp.exp(winners.scores - sums.score)
    is_best = winners.number == sums.number
    streamed = jnp.where(is_best, 0.0, streamed)
    missing = jnp.where(jnp.any(is_best), 0.0, 1.0).astype(y.dtype)
    rest = sums.others - jnp.sum(streamed) + missing
    # The remainder of a sum after subtracting its largest terms is rounding error, if it is small:
    # that of the sum, and that of the scores, which a compiler may round in one way for the sum
    # and in another for the winners.
    square = jnp.sum(base * base)
    size = t * jnp.sqrt(jnp.sum(y * y) * square) + t * t * square / 2
    doubt = 2 * jnp.finfo(y.dtype).eps * size / (1 - t) ** 2
    noise = (4 * winners.scores.size * jnp.finfo(y.dtype).eps + doubt) * sums.others
    counts = (rest > noise) & (doubt < 1)
    rest = jnp.where(counts, rest, 0.0)
    removed = jnp.matmul(streamed, near, precision=jax.lax.Precision.HIGHEST)
    moved = sums.moved - removed + missing * sums.row - rest * base
    moved = jnp.where(counts, moved, 0.0)
    top = jnp.maximum(jnp.max(winners.relative), 0.0)
    weights = jnp.exp(winners.relative - top)
    # From the stream's scale to the winners'. They differ by rounding, and where that is large
    # nothing is left to be brought over.
    apart = jnp.clip(sums.score - winners.scores[0], -1.0, 1.0)
    beside = jnp.exp(jnp.where(counts, apart, 0.0) - top)
    rest, moved = rest * beside, moved * beside
    norm = jnp.sum(weights) + rest
    heaviest = winners.rows[first]
    shift = jnp.sum(weights[:, None] * (winners.rows - heaviest[None, :]), axis=0) + moved
    second = jnp.where(jnp.arange(weights.size) == first, 0.0, weights)
    return Posterior(
        log_sum=winners.first + top + jnp.log(norm),
        number=winners.number[first],
        base=heaviest,
        shift=shift / norm,
        score_sum=sums.score + jnp.log1p(sums.others),
        others=(jnp.sum(second) + rest) / norm,
    )


def heaviest(
    atoms: Atoms, t: Array, x: Array, cond: Array | None, *, count: int, chunk_size: int
) -> tuple[Winners, Best]:
    """The `count` heaviest rows, and the sums over all, less their centre."""
    sums, (scores, index) = stream(
        functools.partial(scores_at, t, around(atoms.center, t, x), cond),
        Together(SoftmaxMean(), Highest(min(count, atoms.count))),
        atoms.rows,
        atoms.beside,
        center=atoms.center,
        **atoms.over(x.dtype, chunk_size),
    )
    rows, log_weights = atoms.take(index)
    return measured_again(t, x, rows, index, scores, log_weights), sums


@eqx.filter_custom_jvp
def posterior(
    atoms: Atoms, t: Array, x: Array, cond: Array | None, *, chunk_size: int
) -> Posterior:
    """One pass over the rows. Its derivatives are one more, and keep to a chunk as well."""
    winners, sums = heaviest(atoms, t, x, cond, count=REMEASURED, chunk_size=chunk_size)
    return posterior_of(t, x, winners, sums, atoms.center)


@posterior.def_jvp
def _posterior_jvp(
    primals: tuple[Atoms, Array, Array, Array | None],
    tangents: tuple[Atoms | None, Array | None, Array | None, None],
    *,
    chunk_size: int,
) -> tuple[Posterior, Posterior]:
    """`d Σ w_i x_i = Σ w_i (dx_i + (x_i − mean) dℓ_i)`, and `d log Σ exp ℓ_i = Σ w_i dℓ_i`.

    What all dℓ_i have in common drops out of the first and is left out of the sums. All of it
    around the centre c of the rows, a constant: y = x − t c takes the place of x.
    """
    atoms, t, x, cond = primals
    d_atoms, dt, dy, _ = tangents
    d_rows = None if d_atoms is None else d_atoms.rows
    d_weights = None if d_atoms is None else d_atoms.beside.log_weights
    statistics = posterior(atoms, t, x, cond, chunk_size=chunk_size)
    center = jax.lax.stop_gradient(atoms.center).astype(x.dtype)
    y, base, left = around(center, t, x), statistics.base - center, 1 - t
    mean = base + statistics.shift
    if dt is not None:
        dy = -dt * center if dy is None else dy - dt * center

    def weights(rows: Array, known: Beside) -> Array:
        return jnp.exp(scores_at(t, y, cond, rows, known) - statistics.score_sum)

    def change(rows: Array, beside: tuple[Beside, Array | None, Array | None]) -> Array:
        """w_i times the part of dℓ_i that differs between rows."""
        known, d_part, d_log_weights = beside
        total = jnp.zeros_like(known.squares, y.dtype)
        if dy is not None:
            total += t * (product(dy, rows) - jnp.sum(mean * dy)) / left**2
        if dt is not None:
            total += dt * (_time_rate(t, y, rows, known.squares) - base_rate)
        if d_part is not None:
            moved = product(y, d_part) - t * jnp.sum(rows * d_part, axis=1)
            total += t * moved / left**2
        if d_log_weights is not None:
            total += d_log_weights.astype(y.dtype)
        return weights(rows, known) * total

    base_rate = _time_rate(t, y, base[None, :], jnp.sum(base**2)[None])[0]
    over = atoms.over(y.dtype, chunk_size) | {"recompute": True}
    at_heaviest = functools.partial(take_rows, number=statistics.number, shards=atoms.shards)
    beside = (atoms.beside, d_rows, d_weights)
    total, moved = stream(change, WeightedSum(), atoms.rows, beside, center=center, **over)
    d_mean = moved - total * mean
    if d_rows is not None:

        def again(_: Array, known: tuple[Array, Beside]) -> Array:
            return weights(known[0].astype(y.dtype) - center[None, :], known[1])

        d_mean += stream(again, WeightedSum(), d_rows, (atoms.rows, atoms.beside), **over)[1]
    d_log_sum, d_score_sum = total, total
    if dy is not None:
        # total holds Σ w_i t (x_i − mean)·dx, which is 0 but for rounding.
        d_log_sum += jnp.sum(((mean - y) - left * mean) * dy) / left**2
        d_score_sum += t * jnp.sum(mean * dy) / left**2
    if dt is not None:
        r = y - t * base
        true_rate = jnp.sum(r * base) / left**2 - jnp.sum(r**2) / left**3
        d_log_sum += dt * true_rate
        d_score_sum += dt * (true_rate + jnp.sum(y**2) / left**3)
    # Σ w_i (dℓ_i − dℓ_k) for the heaviest row k is −d log w_k, and d ε = −d w_k.
    apart = total
    if dy is not None:
        apart += t * jnp.sum(statistics.shift * dy) / left**2
    if d_rows is not None:
        own = at_heaviest(d_rows)
        apart -= t * (jnp.sum(y * own) - t * jnp.sum(base * own)) / left**2
    if d_weights is not None:
        apart -= at_heaviest(d_weights).astype(y.dtype)
    d_others = (1 - statistics.others) * apart
    d_base = jnp.zeros_like(mean) if d_rows is None else at_heaviest(d_rows).astype(y.dtype)
    changes = d_log_sum, None, d_base, d_mean - d_base, d_score_sum, d_others
    return statistics, Posterior(*changes)  # type: ignore[arg-type]


def _time_rate(t: Array, y: Array, rows: Array, squares: Array) -> Array:
    """∂ℓ_i/∂t, up to what does not depend on the row: ℓ_i = −||y − t r_i||²/(2 (1 − t)²)."""
    products, squares, left = product(y, rows), squares.astype(y.dtype), 1 - t
    inner = products - t * squares
    return inner / left**2 + t * (2 * products - t * squares) / left**3
