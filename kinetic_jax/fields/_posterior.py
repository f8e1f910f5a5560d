"""The posterior over training rows given x at time t, on the linear path; see `EmpiricalField`.

Queries are y = x − t c and rows are less c throughout, around a centre c: see `_atoms`.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kinetic_jax._streaming import (
    Best,
    Highest,
    SoftmaxMean,
    Together,
    WeightedSum,
    lowest,
    stream,
    take_rows,
)
from kinetic_jax.fields._atoms import Atoms, around, away, log_ratio, scores_at, weighted

# The heaviest rows are measured again by differences; the expanded square only finds them. Where
# rounding decides between rows (t near 1), only near duplicates of the nearest one compete.
REMEASURED = 12


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
    """The heaviest rows, measured by differences.

    Attributes:
        number: their numbers, heaviest score first.
        rows: the rows.
        relative: ℓ_j − ℓ_0.
        scores: their unrefined scores.
        first: ℓ_0.
    """

    number: Int[Array, " count"]
    rows: Float[Array, "count size"]
    relative: Float[Array, " count"]
    scores: Float[Array, " count"]
    first: Float[Array, ""]


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
    """The refined posterior: the winners as measured again, all other rows as they streamed by.

    Args:
        t: the time.
        x: the query.
        winners: the heaviest rows.
        sums: of `SoftmaxMean` over all rows less `center`.
        center: the centre of the rows.
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
    product = jnp.matmul(streamed, near, precision=jax.lax.Precision.HIGHEST)
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
    y = around(atoms.center, t, x)

    def score(rows: Array, known: tuple[Any, Any, Any]) -> Array:
        squares, log_weights, labels = known
        return weighted(scores_at(t, y, rows, squares), log_weights, labels, cond)

    sums, (scores, index) = stream(
        score,
        Together(SoftmaxMean(), Highest(min(count, atoms.count))),
        atoms.rows,
        (atoms.squares, atoms.log_weights, atoms.labels),
        center=atoms.center,
        **atoms.over(x.dtype, chunk_size),
    )
    rows, log_weights, _ = atoms.take(index)
    return measured_again(t, x, rows, index, scores, log_weights), sums


@eqx.filter_custom_jvp
def posterior(
    atoms: Atoms, t: Array, x: Array, cond: Array | None, *, chunk_size: int
) -> Posterior:
    """One pass over the rows. Its derivatives are one more, and keep to a chunk as well."""
    winners, sums = heaviest(atoms, t, x, cond, count=REMEASURED, chunk_size=chunk_size)
    return posterior_of(t, x, winners, sums, atoms.center)


@posterior.def_jvp
def _posterior_jvp(primals: Any, tangents: Any, *, chunk_size: int) -> Any:
    """D Σ w_i x_i = Σ w_i (dx_i + (x_i − mean) dℓ_i), and d log Σ exp ℓ_i = Σ w_i dℓ_i.

    What all dℓ_i have in common drops out of the first and is left out of the sums. All of it
    around the centre c of the rows, a constant: y = x − t c takes the place of x.
    """
    atoms, t, x, cond = primals
    d_atoms, dt, dy, _ = tangents
    d_rows = None if d_atoms is None else d_atoms.rows
    d_weights = None if d_atoms is None else d_atoms.log_weights
    found = posterior(atoms, t, x, cond, chunk_size=chunk_size)
    center = jax.lax.stop_gradient(atoms.center).astype(x.dtype)
    y, base, left = around(center, t, x), found.base - center, 1 - t
    mean = base + found.shift
    if dt is not None:
        dy = -dt * center if dy is None else dy - dt * center

    def weights(rows: Array, known: Any) -> Array:
        scores = scores_at(t, y, rows, known.squares)
        scores = weighted(scores, known.log_weights, known.labels, cond)
        return jnp.exp(scores - found.score_sum)

    def change(rows: Array, known: Any) -> Array:
        """w_i times the part of dℓ_i that differs between rows."""
        known, d_part, d_log_weights = known
        total = jnp.zeros_like(known.squares, y.dtype)
        if dy is not None:
            total += t * (_product(dy, rows) - jnp.sum(mean * dy)) / left**2
        if dt is not None:
            total += dt * (_time_rate(t, y, rows, known.squares) - base_rate)
        if d_part is not None:
            moved = _product(y, d_part) - t * jnp.sum(rows * d_part, axis=1)
            total += t * moved / left**2
        if d_log_weights is not None:
            total += d_log_weights.astype(y.dtype)
        return weights(rows, known) * total

    base_rate = _time_rate(t, y, base[None, :], jnp.sum(base**2)[None])[0]
    over = atoms.over(y.dtype, chunk_size) | {"recompute": True}

    def at_heaviest(array: Array) -> Array:
        return take_rows(array, found.number, atoms.shards)

    beside = (_Beside(atoms.squares, atoms.log_weights, atoms.labels), d_rows, d_weights)
    total, moved = stream(change, WeightedSum(), atoms.rows, beside, center=center, **over)
    d_mean = moved - total * mean
    if d_rows is not None:
        known = (atoms.rows, beside[0])

        def again(_: Array, known: Any) -> Array:
            return weights(known[0].astype(y.dtype) - center[None, :], known[1])

        d_mean += stream(again, WeightedSum(), d_rows, known, **over)[1]
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
        apart += t * jnp.sum(found.shift * dy) / left**2
    if d_rows is not None:
        own = at_heaviest(d_rows)
        apart -= t * (jnp.sum(y * own) - t * jnp.sum(base * own)) / left**2
    if d_weights is not None:
        apart -= at_heaviest(d_weights).astype(y.dtype)
    d_others = (1 - found.others) * apart
    d_base = jnp.zeros_like(mean) if d_rows is None else at_heaviest(d_rows).astype(y.dtype)
    d_shift = d_mean - d_base
    return found, Posterior(d_log_sum, None, d_base, d_shift, d_score_sum, d_others)  # type: ignore[arg-type]


def farthest(atoms: Atoms, x: Array, cond: Array | None, *, chunk_size: int) -> Array:
    """The greatest distance from `x` to a row that counts, rounded up."""
    center = jax.lax.stop_gradient(atoms.center).astype(x.dtype)
    moved = x - center

    def score(rows: Array, known: tuple[Any, Any, Any]) -> Array:
        squares, log_weights, labels = known
        scores = squares.astype(x.dtype) - 2 * _product(moved, rows)
        counts = weighted(jnp.zeros_like(scores), log_weights, labels, cond)
        return jnp.where(counts > lowest(x.dtype), scores, lowest(x.dtype))

    beside = (atoms.squares, atoms.log_weights, atoms.labels)
    over = atoms.over(x.dtype, chunk_size) | {"recompute": True, "center": center}
    scores, _ = stream(score, Highest(1), atoms.rows, beside, **over)
    square = jnp.sum(moved * moved)
    # What rounding can have done to differences, a sum of squares and a product of that many terms.
    highest = jax.lax.stop_gradient(jnp.max(atoms.squares))
    if atoms.shards is not None:
        highest = jax.lax.pmax(highest, atoms.shards.axis)
    longest = jnp.sqrt(square) + jnp.sqrt(highest).astype(x.dtype)
    doubt = (x.size + 12) * jnp.finfo(x.dtype).eps * longest**2
    return jnp.sqrt(jnp.maximum(scores[0] + square, 0.0) + doubt)


class _Beside(NamedTuple):
    squares: Array
    log_weights: Array | None
    labels: Array | None


def _product(query: Array, rows: Array) -> Array:
    return jnp.matmul(query, rows.astype(query.dtype).T, precision=jax.lax.Precision.HIGHEST)


def _time_rate(t: Array, y: Array, rows: Array, squares: Array) -> Array:
    """∂ℓ_i/∂t, up to what does not depend on the row: ℓ_i = −||y − t r_i||²/(2 (1 − t)²)."""
    products, squares, left = _product(y, rows), squares.astype(y.dtype), 1 - t
    inner = products - t * squares
    return inner / left**2 + t * (2 * products - t * squares) / left**3
