"""The rows of a data set as the exact flow scores them; see `EmpiricalField`.

Scores are formed around a centre c of the rows: with y = x − t c and r_i = x_i − c, x − t x_i is
y − t r_i, and the expanded square of that cancels the less, the smaller the r_i.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kinetic_jax._streaming import Shards, lowest, product_scores, take_rows


class Atoms(eqx.Module):
    """The training rows and what is known of each.

    Attributes:
        rows: flat, shape (rows, size).
        squares: ||x_i − c||².
        center: c, the same for all devices.
        log_weights: logarithms of the rows' weights, or None for equal ones.
        labels: the rows' classes, or None.
        shards: how all rows are split over devices, if these are one device's part.
    """

    rows: Float[Array, "rows size"]
    squares: Float[Array, " rows"]
    center: Float[Array, " size"]
    log_weights: Float[Array, " rows"] | None
    labels: Int[Array, " rows"] | None
    shards: Shards | None = eqx.field(static=True, default=None)

    @property
    def count(self) -> int:
        """The number of rows on all devices."""
        return self.rows.shape[0] if self.shards is None else self.shards.total

    def over(self, dtype: Any, chunk_size: int) -> dict[str, Any]:
        """The options with which the rows are streamed."""
        return {"dtype": dtype, "chunk_size": chunk_size, "shards": self.shards}

    def take(self, number: Int[Array, " some"]) -> tuple[Array, Array | None, Array | None]:
        """Some of the rows, with their log weights and labels, on every device."""

        def taken(array: Array) -> Array:
            return take_rows(array, number, self.shards)

        return jax.tree.map(taken, (self.rows, self.log_weights, self.labels))


@functools.partial(jax.jit, static_argnames="count")
def centered_squares(
    data: Float[Array, "rows *event"], count: int
) -> tuple[Float[Array, " size"], Float[Array, " rows"]]:
    """The mean c of the first `count` rows, and ||x_i − c||²: not finite for rows that are not.

    The other rows are copies of the last, which fill up devices. The centre has no derivatives:
    no result depends on where it is.
    """
    rows = data.reshape(data.shape[0], -1)
    fixed, spare = jax.lax.stop_gradient(rows), rows.shape[0] - count
    center = jnp.mean(fixed, axis=0)
    if spare:
        center = center + (center - fixed[-1]) * (spare / count)
    center = jnp.where(jnp.isfinite(center), center, 0.0)  # so that a bad row spoils no other
    return center, jnp.sum((rows - center[None, :]) ** 2, axis=1)


def weighted(
    scores: Float[Array, " some"],
    log_weights: Float[Array, " some"] | None,
    labels: Int[Array, " some"] | None,
    cond: Int[Array, ""] | None,
) -> Float[Array, " some"]:
    """The scores of rows with their log weights; the lowest of all for rows of another class."""
    if log_weights is not None:
        scores = jnp.where(
            log_weights > lowest(log_weights.dtype),
            scores + log_weights.astype(scores.dtype),
            lowest(scores.dtype),
        )
    if labels is not None and cond is not None:
        scores = jnp.where((cond < 0) | (labels == cond), scores, lowest(scores.dtype))
    return scores


def around(
    center: Float[Array, " size"], t: Float[Array, "*batch"], x: Float[Array, "*batch size"]
) -> Float[Array, "*batch size"]:
    """Y = x − t c, rounded by no more than (1 − t) c is: near the data x − c is exact."""
    center = jax.lax.stop_gradient(center).astype(x.dtype)
    center = center.reshape((1,) * (x.ndim - 1) + center.shape)
    return (x - center) + (1 - t)[..., None] * center


def scores_at(
    t: Float[Array, ""],
    y: Float[Array, " size"],
    rows: Float[Array, "chunk size"],
    squares: Float[Array, " chunk"],
) -> Float[Array, " chunk"]:
    """ℓ_i + ||y||²/(2 (1 − t)²) of centred rows, without weights, by the expanded square."""
    return product_scores(y, rows, squares.astype(y.dtype), t) / (1 - t) ** 2


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
    """X − t x_j: by differences that are exact near the data, wherever they lie."""
    return (x - rows) + (1 - t) * rows
