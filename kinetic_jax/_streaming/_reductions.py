"""Online reductions of scored rows: start, update, finish.

All work on ONE query; callers map them over many. A row numbered −1 does not count: its score is
the lowest finite number, because infinities stop a program under `jax_debug_infs`. Sums over such
rows vanish as soon as a row that counts raises the peak.
"""

import abc
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PyTree

Pair: TypeAlias = tuple[Array, Array]
Carries: TypeAlias = Sequence[PyTree[Array]]


class Reduction(eqx.Module):
    """An associative summary of scored rows that holds at most a chunk of them."""

    @abc.abstractmethod
    def start(self, size: int, dtype: DTypeLike) -> PyTree[Array]:
        """The carry before the first row; rows have `size` numbers of `dtype`."""

    @abc.abstractmethod
    def update(
        self,
        carry: PyTree[Array],
        scores: Float[Array, " chunk"],
        rows: Float[Array, "chunk size"],
        index: Int[Array, " chunk"],
    ) -> PyTree[Array]:
        """The carry after a chunk of rows, with their scores and their numbers in the data."""

    def finish(self, carry: PyTree[Array]) -> PyTree[Array]:
        """The result."""
        return carry

    @abc.abstractmethod
    def across(self, result: PyTree[Array], axis: str) -> PyTree[Array]:
        """The result over all devices along `axis` of a mesh, from each device's own."""


class Together(Reduction):
    """Several reductions in one pass; the result is a tuple of theirs."""

    reductions: tuple[Reduction, ...]

    def __init__(self, *reductions: Reduction):
        self.reductions = reductions

    def start(self, size: int, dtype: DTypeLike) -> Carries:
        return tuple(reduction.start(size, dtype) for reduction in self.reductions)

    def update(self, carry: Carries, scores: Array, rows: Array, index: Array) -> Carries:
        pairs = zip(self.reductions, carry, strict=True)
        return tuple(reduction.update(own, scores, rows, index) for reduction, own in pairs)

    def finish(self, carry: Carries) -> Carries:
        pairs = zip(self.reductions, carry, strict=True)
        return tuple(reduction.finish(own) for reduction, own in pairs)

    def across(self, result: Carries, axis: str) -> Carries:
        pairs = zip(self.reductions, result, strict=True)
        return tuple(reduction.across(own, axis) for reduction, own in pairs)


def product(
    query: Float[Array, " size"], rows: Float[Array, "chunk size"]
) -> Float[Array, " chunk"]:
    """`query·r` of each row, at the highest precision, which is not a TPU's default.

    As query @ rows.T: mapped over queries it has the shape (queries, chunk) directly.
    """
    return jnp.matmul(query, rows.astype(query.dtype).T, precision=jax.lax.Precision.HIGHEST)


def product_scores(
    query: Float[Array, " size"],
    rows: Float[Array, "chunk size"],
    squares: Float[Array, " chunk"],
    scale: Float[Array, ""],
) -> Float[Array, " chunk"]:
    """`scale q·r − ½ scale² ||r||²`, which equals ½||q||² − ½ ||q − scale r||².

    Nearer rows score higher. For near copies the two terms cancel, so their distances must be
    recomputed by differences.
    """
    return scale * product(query, rows) - (scale * scale / 2) * squares


def lowest(dtype: DTypeLike) -> float:
    """The score of a row that does not count."""
    return float(jnp.finfo(dtype).min)


def _mask_uncounted(scores: Array, index: Array) -> Array:
    return jnp.where(index >= 0, scores, lowest(scores.dtype))


def _argmax(scores: Array) -> Array:
    """`argmax` within the group of the greatest maximum.

    XLA's CPU backend computes `jnp.argmax` of all scores one number at a time.
    """
    size = 32
    padding = -scores.shape[0] % size
    fill = lowest(scores.dtype)
    padded = jnp.pad(scores, (0, padding), constant_values=fill) if padding else scores
    grouped = padded.reshape(-1, size)
    group = jnp.argmax(jnp.max(grouped, axis=1))
    place = group * size + jnp.argmax(grouped[group])
    return jnp.minimum(place, scores.shape[0] - 1)


class SoftmaxSum(Reduction):
    """Σ exp(score) as (peak, Σ exp(score − peak)); its logarithm is peak + log of the sum."""

    def start(self, size: int, dtype: DTypeLike) -> Pair:
        del size
        return jnp.array(lowest(dtype), dtype), jnp.zeros((), dtype)

    def update(self, carry: Pair, scores: Array, rows: Array, index: Array) -> Pair:
        del rows
        scores = _mask_uncounted(scores, index)
        peak = jnp.maximum(carry[0], jnp.max(scores))
        return peak, carry[1] * jnp.exp(carry[0] - peak) + jnp.sum(jnp.exp(scores - peak))

    def across(self, result: Pair, axis: str) -> Pair:
        # All derivatives of peak + log of the sum are in the sum, so the peak may be constant.
        peak = jax.lax.pmax(jax.lax.stop_gradient(result[0]), axis)
        return peak, jax.lax.psum(result[1] * jnp.exp(result[0] - peak), axis)


class Best(NamedTuple):
    """The row of the highest score, and sums over the other rows relative to its weight.

    Attributes:
        score: its score.
        row: the row.
        number: its number; −1 if no row counts.
        others: Σ exp(score_i − score) over the others.
        moved: Σ exp(score_i − score) row_i over the others.
    """

    score: Float[Array, ""]
    row: Float[Array, " size"]
    number: Int[Array, ""]
    others: Float[Array, ""]
    moved: Float[Array, " size"]


class SoftmaxMean(Reduction):
    """Softmax-weighted sums without the best row: the mean is (row + moved)/(1 + others).

    Where one row dominates, adding its weight of 1 would round away the weights of the others.
    """

    def start(self, size: int, dtype: DTypeLike) -> Best:
        score, number = jnp.array(lowest(dtype), dtype), jnp.array(-1, jnp.int32)
        zero, zeros = jnp.zeros((), dtype), jnp.zeros(size, dtype)
        return Best(score, zeros, number, zero, zeros)

    def update(self, carry: Best, scores: Array, rows: Array, index: Array) -> Best:
        scores = _mask_uncounted(scores, index)
        first = _argmax(scores)
        top = scores[first]
        better = top > carry.score
        best = jnp.maximum(top, carry.score)
        weights = jnp.exp(scores - best)
        weights = jnp.where(jnp.arange(scores.size) == first, jnp.zeros_like(weights), weights)
        moved = jnp.matmul(weights, rows, precision=jax.lax.Precision.HIGHEST)
        # The lower of the chunk's best and the previous best joins the sums.
        joining = jnp.exp(jnp.minimum(top, carry.score) - best)
        row = rows[first]
        factor = jnp.exp(carry.score - best)
        return Best(
            best,
            jnp.where(better, row, carry.row),
            jnp.where(better, index[first], carry.number),
            carry.others * factor + jnp.sum(weights) + joining,
            carry.moved * factor + moved + joining * jnp.where(better, carry.row, row),
        )

    def finish(self, carry: Best) -> Best:
        counts = carry.number >= 0
        others, moved = (jnp.where(counts, total, 0.0) for total in (carry.others, carry.moved))
        return carry._replace(others=others, moved=moved)

    def across(self, result: Best, axis: str) -> Best:
        # On ties the first device keeps its best row out of the sums; the other rows join them.
        device, last = jax.lax.axis_index(axis), jax.lax.axis_size(axis) - 1
        score = jax.lax.stop_gradient(result.score)
        highest = score == jax.lax.pmax(score, axis)
        is_first = device == jax.lax.pmin(jnp.where(highest, device, last), axis)

        def masked(leaf: Array) -> Array:
            return jnp.where(is_first, leaf, jnp.zeros_like(leaf))

        best = jax.lax.psum(masked(result.score), axis)  # differentiable, unlike `pmax`
        factor = jnp.exp(result.score - best)
        joining = jnp.where(is_first, jnp.zeros_like(factor), factor)
        row, number, others, moved = jax.lax.psum(
            (
                masked(result.row),
                masked(result.number),
                result.others * factor + joining,
                result.moved * factor + joining * result.row,
            ),
            axis,
        )
        return Best(best, row, number, others, moved)


class Highest(Reduction):
    """The `count` rows of the highest scores, best first: their scores and numbers.

    Missing rows have the lowest finite number as their score.
    """

    count: int = eqx.field(static=True)

    # A general top-k reads every score several times. The `count` best rows lie in the groups
    # with the `count` best maxima, so only those groups are sorted.
    @property
    def _group(self) -> int:
        return 32 if self.count <= 64 else 8

    def start(self, size: int, dtype: DTypeLike) -> tuple[Array, Array, Array]:
        del size
        tops = jnp.full(self.count, lowest(dtype), dtype)
        scores = jnp.full((self.count, self._group), lowest(dtype), dtype)
        return tops, scores, jnp.zeros((self.count, self._group), jnp.int32)

    def update(
        self, carry: tuple[Array, Array, Array], scores: Array, rows: Array, index: Array
    ) -> tuple[Array, Array, Array]:
        del rows
        scores = _mask_uncounted(scores, index)
        padding = -scores.shape[0] % self._group
        if padding:
            scores = jnp.pad(scores, (0, padding), constant_values=lowest(scores.dtype))
            index = jnp.pad(index, (0, padding))
        grouped, numbers = scores.reshape(-1, self._group), index.reshape(-1, self._group)
        maxima = jnp.max(grouped, axis=1)
        tops, place = jax.lax.top_k(maxima, min(self.count, maxima.shape[0]))
        tops = jnp.concatenate([carry[0], tops])
        grouped = jnp.concatenate([carry[1], grouped[place]])
        numbers = jnp.concatenate([carry[2], numbers[place]])
        tops, place = jax.lax.top_k(tops, self.count)
        return tops, grouped[place], numbers[place]

    def finish(
        self, carry: tuple[Array, Array, Array]
    ) -> tuple[Float[Array, " count"], Int[Array, " count"]]:
        scores, place = jax.lax.top_k(carry[1].reshape(-1), self.count)
        return scores, carry[2].reshape(-1)[place]

    def across(self, result: Pair, axis: str) -> Pair:
        scores, numbers = jax.lax.all_gather(result, axis, tiled=True)
        scores, place = jax.lax.top_k(scores, self.count)
        return scores, numbers[place]


class Tally(Reduction):
    """The number of scores that are at least 0."""

    def start(self, size: int, dtype: DTypeLike) -> Array:
        del size, dtype
        return jnp.zeros((), jnp.int32)

    def update(self, carry: Array, scores: Array, rows: Array, index: Array) -> Array:
        del rows
        return carry + jnp.sum(_mask_uncounted(scores, index) >= 0, dtype=jnp.int32)

    def across(self, result: Array, axis: str) -> Array:
        return jax.lax.psum(result, axis)


class WeightedSum(Reduction):
    """Σ weight and Σ weight · row, where the scores are the weights; linear in them."""

    def start(self, size: int, dtype: DTypeLike) -> Pair:
        return jnp.zeros((), dtype), jnp.zeros(size, dtype)

    def update(self, carry: Pair, scores: Array, rows: Array, index: Array) -> Pair:
        weights = jnp.where(index >= 0, scores, jnp.zeros_like(scores))
        moved = jnp.matmul(weights, rows, precision=jax.lax.Precision.HIGHEST)
        return carry[0] + jnp.sum(weights), carry[1] + moved

    def across(self, result: Pair, axis: str) -> Pair:
        return jax.lax.psum(result, axis)
