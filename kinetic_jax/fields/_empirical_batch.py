"""The empirical flow at a batch of points, over data that need not fit in memory."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kinetic_jax._streaming import (
    Highest,
    SoftmaxMean,
    Together,
    read_again,
    require_finite_rows,
    stream_from_host,
)
from kinetic_jax.fields._atoms import around, scores_at, weighted
from kinetic_jax.fields._posterior import REMEASURED, Posterior, measured_again, posterior_of


class PosteriorScore(eqx.Module):
    """The scores of the posterior at ONE (t, y, cond), with y = x − t c around the centre c."""

    def __call__(
        self,
        query: tuple[Array, Array, Array | None],
        rows: Float[Array, "chunk size"],
        squares: Float[Array, " chunk"],
        beside: tuple[Array | None, Array | None],
    ) -> Float[Array, " chunk"]:
        """See `scores_at` and `weighted`."""
        t, y, cond = query
        return weighted(scores_at(t, y, rows, squares), *beside, cond)


def posterior_on_batch(
    data: Any,
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
    t: Any,
    x: Any,
    rows: Any,
    place: Any,
    index: Any,
    scores: Any,
    sums: Any,
    log_weights: Any,
    center: Any,
) -> Posterior:
    def one(query: Any) -> Posterior:
        t, x, place, number, scores, sums = query
        own = None if log_weights is None else log_weights[number]
        winners = measured_again(t, x, rows[place], number, scores, own)
        return posterior_of(t, x, winners, sums, center)

    return jax.lax.map(one, (t, x, place, index, scores, sums), batch_size=64)
