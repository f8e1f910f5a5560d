"""What scores are reduced to, row by row, in the online form: start, update, finish.

All work on ONE query; callers map them over many. A row numbered −1 is left out: its score is the
lowest finite number, for infinities would stop a program under `jax_debug_infs`. Sums over such
rows alone are wiped out by the first row that counts, as those under any lower peak are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@runtime_checkable
class Reduction(Protocol):
    """An associative summary of scored rows that never holds more than a chunk of them."""

    def start(self, size: int, dtype: Any) -> Any:
        """The carry before the first row; rows have `size` numbers of `dtype`."""

    def update(
        self,
        carry: Any,
        scores: Float[Array, " chunk"],
        rows: Float[Array, "chunk size"],
        index: Int[Array, " chunk"],
    ) -> Any:
        """The carry after a chunk of rows, with their scores and their numbers in the data."""

    def finish(self, carry: Any) -> Any:
        """The result."""

    def across(self, found: Any, axis: str) -> Any:
        """The result over all devices along `axis` of a mesh, from that over each one's rows."""


class Together(eqx.Module):
    """Several reductions in one pass; the result is a tuple of theirs."""

    reductions: tuple[Any, ...]

    def __init__(self, *reductions: Reduction):
        self.reductions = reductions

    def start(self, size: int, dtype: Any) -> Sequence[Any]:
        """See `Reduction`."""
        return tuple(reduction.start(size, dtype) for reduction in self.reductions)

    def update(
        self, carry: Sequence[Any], scores: Array, rows: Array, index: Array
    ) -> Sequence[Any]:
        """See `Reduction`."""
        pairs = zip(self.reductions, carry, strict=True)
        return tuple(reduction.update(part, scores, rows, index) for reduction, part in pairs)

    def finish(self, carry: Sequence[Any]) -> Sequence[Any]:
        """See `Reduction`."""
        pairs = zip(self.reductions, carry, strict=True)
        return tuple(reduction.finish(part) for reduction, part in pairs)

    def across(self, found: Sequence[Any], axis: str) -> Sequence[Any]:
        """See `Reduction`."""
        pairs = zip(self.reductions, found, strict=True)
        return tuple(reduction.across(part, axis) for reduction, part in pairs)


def lowest(dtype: Any) -> float:
    """The score of a row that does not count."""
    return float(jnp.finfo(dtype).min)


def _counted(scores: Array, index: Array) -> Array:
    return jnp.where(index >= 0, scores, lowest(scores.dtype))


def _first_of_highest(scores: Array) -> Array:
    """`argmax`, by groups."""
    size = 32
    spare = -scores.shape[0] % size
    fill = lowest(scores.dtype)
    padded = jnp.pad(scores, (0, spare), constant_values=fill) if spare else scores
    grouped = padded.reshape(-1, size)
    group = jnp.argmax(jnp.max(grouped, axis=1))
    place = group * size + jnp.argmax(grouped[group])
    return jnp.minimum(place, scores.shape[0] - 1)


class SoftmaxSum(eqx.Module):
    """Σ exp(score) as (peak, Σ exp(score − peak)): its logarithm is peak + log of the sum."""

    def start(self, size: int, dtype: Any) -> tuple[Array, Array]:
        """See `Reduction`."""
        del size
        return jnp.array(lowest(dtype), dtype), jnp.zeros((), dtype)

    def update(
        self, carry: tuple[Array, Array], scores: Array, rows: Array, index: Array
    ) -> tuple[Array, Array]:
        """See `Reduction`."""
        del rows
        scores = _counted(scores, index)
        peak = jnp.maximum(carry[0], jnp.max(scores))
        return peak, carry[1] * jnp.exp(carry[0] - peak) + jnp.sum(jnp.exp(scores - peak))

    def finish(self, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        """See `Reduction`."""
        return carry

    def across(self, found: tuple[Array, Array], axis: str) -> tuple[Array, Array]:
        """See `Reduction`."""
        # A constant for derivatives: peak + log of the sum has them all in the sum.
        peak = jax.lax.pmax(jax.lax.stop_gradient(found[0]), axis)
        return peak, jax.lax.psum(found[1] * jnp.exp(found[0] - peak), axis)


class Best(NamedTuple):
    """The row of the highest score, and the sums over all others under its weight of 1.

    Attributes:
        score: its score.
        row: the row.
        number: its number; −1 before a row counts.
        others: Σ exp(score_i − score) over the others.
        moved: Σ exp(score_i − score) row_i over the others.
    """

    score: Float[Array, ""]
    row: Float[Array, " size"]
    number: Int[Array, ""]
    others: Float[Array, ""]
    moved: Float[Array, " size"]


class SoftmaxMean(eqx.Module):
    """The softmax-weighted sums with the best row apart: (row + moved)/(1 + others) is the mean.

    Apart, because where one row decides the others' weights would be lost in a sum with its 1.
    """

    def start(self, size: int, dtype: Any) -> Best:
        """See `Reduction`."""
        nothing, none = jnp.zeros((), dtype), jnp.zeros(size, dtype)
        return Best(jnp.array(lowest(dtype), dtype), none, jnp.array(-1, jnp.int32), nothing, none)

    def update(self, carry: Best, scores: Array, rows: Array, index: Array) -> Best:
        """See `Reduction`."""
        scores = _counted(scores, index)
        # Not argmax, which XLA's CPU backend does one number at a time: the place of the maximum
        # within its group, the groups' maxima being few.
        first = _first_of_highest(scores)
        top = scores[first]
        better = top > carry.score
        best = jnp.maximum(top, carry.score)
        weights = jnp.exp(scores - best)
        weights = jnp.where(jnp.arange(scores.size) == first, jnp.zeros_like(weights), weights)
        moved = jnp.matmul(weights, rows, precision=jax.lax.Precision.HIGHEST)
        # The best of the chunk and the best before: one stays apart, the other joins the sums.
        lost = jnp.exp(jnp.minimum(top, carry.score) - best)
        row = rows[first]
        factor = jnp.exp(carry.score - best)
        return Best(
            best,
            jnp.where(better, row, carry.row),
            jnp.where(better, index[first], carry.number),
            carry.others * factor + jnp.sum(weights) + lost,
            carry.moved * factor + moved + lost * jnp.where(better, carry.row, row),
        )

    def finish(self, carry: Best) -> Best:
        """See `Reduction`."""
        counts = carry.number >= 0
        others, moved = (jnp.where(counts, part, 0.0) for part in (carry.others, carry.moved))
        return carry._replace(others=others, moved=moved)

    def across(self, found: Best, axis: str) -> Best:
        """See `Reduction`."""
        # Of equals the first device's row stays apart; the others' join the sums.
        device, last = jax.lax.axis_index(axis), jax.lax.axis_size(axis) - 1
        score = jax.lax.stop_gradient(found.score)
        highest = score == jax.lax.pmax(score, axis)
        mine = device == jax.lax.pmin(jnp.where(highest, device, last), axis)
        own = lambda leaf: jnp.where(mine, leaf, jnp.zeros_like(leaf))  # noqa: E731
        best = jax.lax.psum(own(found.score), axis)  # with its derivatives, as `pmax` has none
        factor = jnp.exp(found.score - best)
        joins = jnp.where(mine, jnp.zeros_like(factor), factor)
        row, number, others, moved = jax.lax.psum(
            (
                own(found.row),
                own(found.number),
                found.others * factor + joins,
                found.moved * factor + joins * found.row,
            ),
            axis,
        )
        return Best(best, row, number, others, moved)


class Highest(eqx.Module):
    """The `count` rows of the highest scores, best first: their scores and numbers.

    Fewer rows than that leave the lowest finite number at the end.
    """

    count: int = eqx.field(static=True)

    # A general top-k looks at every score several times. The `count` best rows lie in the groups
    # of the `count` best maxima: only those few groups are sorted, the rest is one maximum.
    @property
    def _group(self) -> int:
        return 32 if self.count <= 64 else 8

    def start(self, size: int, dtype: Any) -> tuple[Array, Array, Array]:
        """See `Reduction`."""
        del size
        tops = jnp.full(self.count, lowest(dtype), dtype)
        scores = jnp.full((self.count, self._group), lowest(dtype), dtype)
        return tops, scores, jnp.zeros((self.count, self._group), jnp.int32)

    def update(
        self, carry: tuple[Array, Array, Array], scores: Array, rows: Array, index: Array
    ) -> tuple[Array, Array, Array]:
        """See `Reduction`."""
        del rows
        scores = _counted(scores, index)
        spare = -scores.shape[0] % self._group
        if spare:
            scores = jnp.pad(scores, (0, spare), constant_values=lowest(scores.dtype))
            index = jnp.pad(index, (0, spare))
        grouped, numbers = scores.reshape(-1, self._group), index.reshape(-1, self._group)
        maxima = jnp.max(grouped, axis=1)
        tops, place = jax.lax.top_k(maxima, min(self.count, maxima.shape[0]))
        tops = jnp.concatenate([carry[0], tops])
        best = jnp.concatenate([carry[1], grouped[place]])
        where = jnp.concatenate([carry[2], numbers[place]])
        tops, place = jax.lax.top_k(tops, self.count)
        return tops, best[place], where[place]

    def finish(
        self, carry: tuple[Array, Array, Array]
    ) -> tuple[Float[Array, " count"], Int[Array, " count"]]:
        """See `Reduction`."""
        scores, place = jax.lax.top_k(carry[1].reshape(-1), self.count)
        return scores, carry[2].reshape(-1)[place]

    def across(self, found: tuple[Array, Array], axis: str) -> tuple[Array, Array]:
        """See `Reduction`."""
        scores, numbers = jax.lax.all_gather(found, axis, tiled=True)
        scores, place = jax.lax.top_k(scores, self.count)
        return scores, numbers[place]


class Tally(eqx.Module):
    """How many scores are at least 0."""

    def start(self, size: int, dtype: Any) -> Array:
        """See `Reduction`."""
        del size, dtype
        return jnp.zeros((), jnp.int32)

    def update(self, carry: Array, scores: Array, rows: Array, index: Array) -> Array:
        """See `Reduction`."""
        del rows
        return carry + jnp.sum(_counted(scores, index) >= 0, dtype=jnp.int32)

    def finish(self, carry: Array) -> Array:
        """See `Reduction`."""
        return carry

    def across(self, found: Array, axis: str) -> Array:
        """See `Reduction`."""
        return jax.lax.psum(found, axis)


class WeightedSum(eqx.Module):
    """Σ weight and Σ weight · row, the scores being the weights themselves; linear in them."""

    def start(self, size: int, dtype: Any) -> tuple[Array, Array]:
        """See `Reduction`."""
        return jnp.zeros((), dtype), jnp.zeros(size, dtype)

    def update(
        self, carry: tuple[Array, Array], scores: Array, rows: Array, index: Array
    ) -> tuple[Array, Array]:
        """See `Reduction`."""
        weights = jnp.where(index >= 0, scores, jnp.zeros_like(scores))
        moved = jnp.matmul(weights, rows, precision=jax.lax.Precision.HIGHEST)
        return carry[0] + jnp.sum(weights), carry[1] + moved

    def finish(self, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        """See `Reduction`."""
        return carry

    def across(self, found: tuple[Array, Array], axis: str) -> tuple[Array, Array]:
        """See `Reduction`."""
        return jax.lax.psum(found, axis)
