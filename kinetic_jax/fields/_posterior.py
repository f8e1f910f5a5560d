"""The posterior over training rows given x at time t, on the linear path; see `EmpiricalField`."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kinetic_jax.streaming import (
    Best,
    Highest,
    Shards,
    SoftmaxMean,
    Together,
    WeightedSum,
    product_scores,
    stream,
    take_rows,
)

# The heaviest rows are measured again by differences; the expanded square only finds them. Where
# rounding decides between rows (t near 1), only near duplicates of the nearest one compete.
REMEASURED = 12


class Atoms(eqx.Module):
    """The training rows and what is known of each.

    Attributes:
        rows: flat, shape (rows, size).
        squares: ||x_i||².
        log_weights: logarithms of the rows' weights, or None for equal ones.
        labels: the rows' classes, or None.
        shards: how all rows are split over devices, if these are one device's part.
    """

    rows: Float[Array, "rows size"]
    squares: Float[Array, " rows"]
    log_weights: Float[Array, " rows"] | None
    labels: Int[Array, " rows"] | None
    shards: Shards | None = eqx.field(static=True, default=None)

    @property
    def count(self) -> int:
        """How many rows there are, on all devices."""
        return self.rows.shape[0] if self.shards is None else self.shards.total

    def over(self, dtype: Any, chunk_size: int) -> dict[str, Any]:
        """How they are streamed."""
        return {"dtype": dtype, "chunk_size": chunk_size, "shards": self.shards}

    def take(self, number: Int[Array, " some"]) -> "Atoms":
        """Some of the rows and what is known of them, on every device."""
        take = lambda array: take_rows(array, number, self.shards)  # noqa: E731
        arrays = self.rows, self.squares, self.log_weights, self.labels
        return Atoms(*jax.tree.map(take, arrays))


class Posterior(NamedTuple):
    """What one pass over the rows tells of the posterior w.

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
    """The heaviest rows, measured by differences.

    Attributes:
        number: their numbers, heaviest score first.
        rows: the rows.
        relative: ℓ_j − ℓ_0.
        scores: their unrefined scores.
    """

    number: Int[Array, " count"]
    rows: Float[Array, "count size"]
    relative: Float[Array, " count"]
    scores: Float[Array, " count"]


def offsets(
    log_weights: Float[Array, " some"] | None,
    labels: Int[Array, " some"] | None,
    cond: Int[Array, ""] | None,
    like: Float[Array, " some"],
) -> Float[Array, " some"]:
    """What is added to the scores of rows: log weights; −∞ for rows of another class."""
    added = jnp.zeros_like(like) if log_weights is None else log_weights.astype(like.dtype)
    if labels is not None and cond is not None:
        added = jnp.where((cond < 0) | (labels == cond), added, -jnp.inf)
    return added


def scores_at(
    t: Float[Array, ""],
    x: Float[Array, " size"],
    rows: Float[Array, "chunk size"],
    squares: Float[Array, " chunk"],
) -> Float[Array, " chunk"]:
    """ℓ_i + ||x||²/(2 (1 − t)²), without weights, by the expanded square."""
    return product_scores(x, rows, squares.astype(x.dtype), t) / (1 - t) ** 2


def log_ratio(
    t: Float[Array, ""],
    x: Float[Array, "*one size"],
    rows: Float[Array, "*some size"],
    others: Float[Array, "*other size"],
) -> Float[Array, "*some"]:
    """ℓ of `rows` less ℓ of `others`, without weights, by differences.

    `t (x_j − x_i)·(r_j + r_i)/(2 (1 − t)²)` with r_j = x − t x_j.
    """
    left = (x - t * rows) + (x - t * others)
    return t * jnp.sum((rows - others) * left, axis=-1) / (2 * (1 - t) ** 2)


def measured_again(
    t: Float[Array, ""],
    x: Float[Array, " size"],
    rows: Float[Array, "count size"],
    index: Int[Array, " count"],
    scores: Float[Array, " count"],
    added: Float[Array, " count"],
) -> Winners:
    """The heaviest rows, with their ℓ_j − ℓ_0."""
    relative = log_ratio(t, x[None, :], rows, rows[:1]) + (added - added[0])
    return Winners(index, rows, jnp.where(jnp.isneginf(scores), -jnp.inf, relative), scores)


def posterior_of(
    t: Float[Array, ""],
    x: Float[Array, " size"],
    winners: Winners,
    sums: Best,
    added: Float[Array, ""],
) -> Posterior:
    """The refined posterior: the winners as measured again, all other rows as they streamed by.

    Args:
        t: the time.
        x: the query.
        winners: the heaviest rows.
        sums: of `SoftmaxMean` over all rows.
        added: the log weight of winner 0.
    """
    first = jnp.argmax(winners.relative)
    base = winners.rows[first]
    # The stream's best row is one of the winners, or else as good as they are (ties).
    streamed = jnp.exp(winners.scores - sums.score)
    is_best = winners.number == sums.number
    streamed = jnp.where(is_best, 0.0, streamed)
    missing = jnp.where(jnp.any(is_best), 0.0, 1.0).astype(x.dtype)
    rest = sums.others - jnp.sum(streamed) + missing
    # What is left of a sum after its greatest terms are taken off it is rounding, if it is small:
    # that of the sum, and that of the scores, which a compiler may round in one way for the sum
    # and in another for the winners.
    square = jnp.sum(base * base)
    size = t * jnp.sqrt(jnp.sum(x * x) * square) + t * t * square / 2
    doubt = 2 * jnp.finfo(x.dtype).eps * size / (1 - t) ** 2
    noise = (4 * winners.scores.size * jnp.finfo(x.dtype).eps + doubt) * sums.others
    counts = (rest > noise) & (doubt < 1)
    rest = jnp.where(counts, rest, 0.0)
    product = jnp.matmul(streamed, winners.rows, precision=jax.lax.Precision.HIGHEST)
    moved = sums.moved - product + missing * sums.row - rest * base
    moved = jnp.where(counts, moved, 0.0)
    top = jnp.maximum(jnp.max(winners.relative), 0.0)
    weights = jnp.exp(winners.relative - top)
    # From the stream's scale to the winners'. They differ by rounding, and where that is large
    # nothing is left to be brought over.
    apart = jnp.clip(sums.score - winners.scores[0], -1.0, 1.0)
    beside = jnp.exp(jnp.where(counts, apart, 0.0) - top)
    rest, moved = rest * beside, moved * beside
    norm = jnp.sum(weights) + rest
    shift = jnp.sum(weights[:, None] * (winners.rows - base[None, :]), axis=0) + moved
    from_first = jnp.sum((x - t * winners.rows[0]) ** 2)
    second = jnp.where(jnp.arange(weights.size) == first, 0.0, weights)
    return Posterior(
        log_sum=added - from_first / (2 * (1 - t) ** 2) + top + jnp.log(norm),
        number=winners.number[first],
        base=base,
        shift=shift / norm,
        score_sum=sums.score + jnp.log1p(sums.others),
        others=(jnp.sum(second) + rest) / norm,
    )


def heaviest(
    atoms: Atoms, t: Array, x: Array, cond: Array | None, *, count: int, chunk_size: int
) -> tuple[Winners, Best, Array]:
    """The `count` heaviest rows, the sums over all, and the log weight of the first."""

    def score(rows: Array, known: tuple[Any, Any, Any]) -> Array:
        squares, log_weights, labels = known
        scores = scores_at(t, x, rows, squares)
        return scores + offsets(log_weights, labels, cond, scores)

    sums, (scores, index) = stream(
        score,
        Together(SoftmaxMean(), Highest(min(count, atoms.count))),
        atoms.rows,
        (atoms.squares, atoms.log_weights, atoms.labels),
        **atoms.over(x.dtype, chunk_size),
    )
    found = atoms.take(index)
    added = offsets(found.log_weights, found.labels, cond, scores)
    return measured_again(t, x, found.rows.astype(x.dtype), index, scores, added), sums, added[0]


@eqx.filter_custom_jvp
def posterior(
    atoms: Atoms, t: Array, x: Array, cond: Array | None, *, chunk_size: int
) -> Posterior:
    """One pass over the rows. Its derivatives are one more, and keep to a chunk as well."""
    winners, sums, added = heaviest(atoms, t, x, cond, count=REMEASURED, chunk_size=chunk_size)
    return posterior_of(t, x, winners, sums, added)


@posterior.def_jvp
def _posterior_jvp(primals: Any, tangents: Any, *, chunk_size: int) -> Any:
    """D Σ w_i x_i = Σ w_i (dx_i + (x_i − mean) dℓ_i), and d log Σ exp ℓ_i = Σ w_i dℓ_i.

    What all dℓ_i have in common drops out of the first and is left out of the sums.
    """
    atoms, t, x, cond = primals
    d_atoms, dt, dx, _ = tangents
    d_rows = None if d_atoms is None else d_atoms.rows
    d_weights = None if d_atoms is None else d_atoms.log_weights
    found = posterior(atoms, t, x, cond, chunk_size=chunk_size)
    mean = found.base + found.shift
    left = 1 - t

    def weights(rows: Array, known: Any) -> Array:
        scores = scores_at(t, x, rows, known.squares)
        added = offsets(known.log_weights, known.labels, cond, scores)
        return jnp.exp(scores + added - found.score_sum)

    def change(rows: Array, known: Any) -> Array:
        """w_i times the part of dℓ_i that differs between rows."""
        known, d_part, d_log_weights = known
        total = jnp.zeros_like(known.squares, x.dtype)
        if dx is not None:
            total += t * (_product(dx, rows) - jnp.sum(mean * dx)) / left**2
        if dt is not None:
            total += dt * (_time_rate(t, x, rows, known.squares) - base_rate)
        if d_part is not None:
            moved = _product(x, d_part) - t * jnp.sum(rows * d_part, axis=1)
            total += t * moved / left**2
        if d_log_weights is not None:
            total += d_log_weights.astype(x.dtype)
        return weights(rows, known) * total

    base_square = jnp.sum(found.base**2)
    base_rate = _time_rate(t, x, found.base[None, :], base_square[None])[0]
    over = atoms.over(x.dtype, chunk_size) | {"recompute": True}
    at_heaviest = lambda array: take_rows(array, found.number, atoms.shards)  # noqa: E731
    beside = (_Beside(atoms.squares, atoms.log_weights, atoms.labels), d_rows, d_weights)
    total, moved = stream(change, WeightedSum(), atoms.rows, beside, **over)
    d_mean = moved - total * mean
    if d_rows is not None:
        known = (atoms.rows, beside[0])
        again = lambda _, known: weights(known[0].astype(x.dtype), known[1])  # noqa: E731
        d_mean += stream(again, WeightedSum(), d_rows, known, **over)[1]
    d_log_sum, d_score_sum = total, total
    if dx is not None:
        # total holds Σ w_i t (x_i − mean)·dx, which is 0 but for rounding.
        d_log_sum += jnp.sum(((mean - x) - left * mean) * dx) / left**2
        d_score_sum += t * jnp.sum(mean * dx) / left**2
    if dt is not None:
        r = x - t * found.base
        true_rate = jnp.sum(r * found.base) / left**2 - jnp.sum(r**2) / left**3
        d_log_sum += dt * true_rate
        d_score_sum += dt * (true_rate + jnp.sum(x**2) / left**3)
    # Σ w_i (dℓ_i − dℓ_k) for the heaviest row k is −d log w_k, and d ε = −d w_k.
    apart = total
    if dx is not None:
        apart += t * jnp.sum(found.shift * dx) / left**2
    if d_rows is not None:
        own = at_heaviest(d_rows)
        apart -= t * (jnp.sum(x * own) - t * jnp.sum(found.base * own)) / left**2
    if d_weights is not None:
        apart -= at_heaviest(d_weights).astype(x.dtype)
    d_others = (1 - found.others) * apart
    d_base = jnp.zeros_like(mean) if d_rows is None else at_heaviest(d_rows).astype(x.dtype)
    d_shift = d_mean - d_base
    return found, Posterior(d_log_sum, None, d_base, d_shift, d_score_sum, d_others)  # type: ignore[arg-type]


def farthest(atoms: Atoms, x: Array, cond: Array | None, *, chunk_size: int) -> Array:
    """The greatest distance from `x` to a row that counts, rounded up."""

    def score(rows: Array, known: tuple[Any, Any, Any]) -> Array:
        squares, log_weights, labels = known
        scores = squares.astype(x.dtype) - 2 * _product(x, rows)
        added = offsets(log_weights, labels, cond, scores)
        return jnp.where(jnp.isneginf(added), -jnp.inf, scores)

    beside = (atoms.squares, atoms.log_weights, atoms.labels)
    over = atoms.over(x.dtype, chunk_size) | {"recompute": True}
    scores, _ = stream(score, Highest(1), atoms.rows, beside, **over)
    square = jnp.sum(x * x)
    # What rounding can have done to a sum of squares and a product of that many terms.
    highest = jax.lax.stop_gradient(jnp.max(atoms.squares))
    if atoms.shards is not None:
        highest = jax.lax.pmax(highest, atoms.shards.axis)
    longest = jnp.sqrt(square) + jnp.sqrt(highest).astype(x.dtype)
    doubt = (x.size + 8) * jnp.finfo(x.dtype).eps * longest**2
    return jnp.sqrt(jnp.maximum(scores[0] + square, 0.0) + doubt)


class _Beside(NamedTuple):
    squares: Array
    log_weights: Array | None
    labels: Array | None


def _product(query: Array, rows: Array) -> Array:
    return jnp.matmul(query, rows.astype(query.dtype).T, precision=jax.lax.Precision.HIGHEST)


def _time_rate(t: Array, x: Array, rows: Array, squares: Array) -> Array:
    """∂ℓ_i/∂t, up to what does not depend on the row: ℓ_i = −||x − t x_i||²/(2 (1 − t)²)."""
    products, squares, left = _product(x, rows), squares.astype(x.dtype), 1 - t
    inner = products - t * squares
    return inner / left**2 + t * (2 * products - t * squares) / left**3
