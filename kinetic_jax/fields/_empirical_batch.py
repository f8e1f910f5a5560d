"""The empirical flow at a batch of points, over data that need not fit in memory."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kinetic_jax._checks import require, require_between
from kinetic_jax.fields._posterior import (
    REMEASURED,
    Posterior,
    measured_again,
    offsets,
    posterior_of,
    scores_at,
)
from kinetic_jax.streaming import (
    Highest,
    SoftmaxMean,
    Together,
    read_again,
    require_finite_rows,
    stream_from_host,
)


class PosteriorScore(eqx.Module):
    """The scores of the posterior at ONE (t, x, cond)."""

    def __call__(
        self,
        query: tuple[Array, Array, Array | None],
        rows: Float[Array, "chunk size"],
        squares: Float[Array, " chunk"],
        beside: tuple[Array | None, Array | None],
    ) -> Float[Array, " chunk"]:
        """See `scores_at` and `offsets`."""
        t, x, cond = query
        scores = scores_at(t, x, rows, squares)
        return scores + offsets(*beside, cond, scores)


def posterior_on_batch(
    data: Any,
    log_weights: Float[Array, " rows"] | None,
    labels: Int[Array, " rows"] | None,
    t: Float[Array, " batch"],
    x: Float[Array, "batch size"],
    cond: Int[Array, " batch"] | None,
    *,
    chunk_size: int,
    progress: bool | None,
) -> Posterior:
    """The posterior of every point of a batch; each row is read once, the heaviest once more."""
    count = min(REMEASURED, data.shape[0])
    beside = (log_weights, labels)
    sums, (scores, index) = stream_from_host(
        PosteriorScore(),
        Together(SoftmaxMean(), Highest(count)),
        (t, x, cond),
        data,
        beside,
        chunk_size=chunk_size,
        dtype=x.dtype,
        description="reading the data",
        check=lambda start, squares: require_finite_rows("data", start, squares),
        progress=progress,
    )
    winners, place = read_again(data, index)
    return _refined(t, x, cond, winners.astype(x.dtype), place, index, scores, sums, beside)


@eqx.filter_jit
def _refined(
    t: Any,
    x: Any,
    cond: Any,
    winners: Any,
    found: Any,
    index: Any,
    scores: Any,
    sums: Any,
    beside: Any,
) -> Posterior:
    def one(query: Any) -> Posterior:
        t, x, cond, place, number, scores, sums = query
        pick = lambda array: None if array is None else array[number]  # noqa: E731
        added = offsets(pick(beside[0]), pick(beside[1]), cond, scores)
        again = measured_again(t, x, winners[place], number, scores, added)
        return posterior_of(t, x, again, sums, added[0])

    return jax.lax.map(one, (t, x, cond, found, index, scores, sums), batch_size=64)


def checked_batch(
    t: Any, x: Any, cond: Any, event: tuple[int, ...], dtype: Any
) -> tuple[Array, Array, Array | None]:
    """Times (batch,), points (batch, size) and classes (batch,) of a batch.

    Raises:
        ValueError: if the points are no batch of events, or times or classes are not one a point.
    """
    points = jnp.asarray(x, dtype)
    shape = points.shape
    require(shape[1:] == event and len(shape) > len(event), "x", f"shape {shape}",
            f"have shape (batch, {', '.join(map(str, event))})")  # fmt: skip
    require(shape[0] >= 1, "x", f"shape {shape}", "have points")
    require_between("t", t, 0.0, 1.0, closed=True)
    times = jnp.asarray(t, dtype)
    fits = times.shape in ((), shape[:1])
    require(fits, "t", f"shape {times.shape}", f"be a number or have shape {shape[:1]}")
    if cond is not None:
        one = np.shape(cond) in ((), shape[:1])
        require(one, "cond", f"shape {np.shape(cond)}", f"be a class or have shape {shape[:1]}")
    classes = None if cond is None else jnp.broadcast_to(jnp.asarray(cond), shape[:1])
    return jnp.broadcast_to(times, shape[:1]), points.reshape(shape[0], -1), classes
