"""Guidance along a path: how much the condition decides, from noise to data."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from kinetic_jax._checks import require
from kinetic_jax._pytree import result
from kinetic_jax.copies._two_parts import Candidates, Launch, candidates, guide_of, launch, steps
from kinetic_jax.fields import VelocityField


@result
class AccumulatedGuidance:
    """The result of `accumulated_guidance`.

    Attributes:
        total: Σ h_i ||v_c − v_n||, shape (batch,); NaN for samples that are not finite.
        norms: ||v_c − v_n|| at the beginning of each step, shape (batch, steps).
        ts: those times, shape (steps,).
        x: the points at the end, shape (batch, *event).
        num_evals: calls of the given field for each sample, shape (batch,).
    """

    total: Float[Array, " batch"]
    norms: Float[Array, "batch steps"]
    ts: Float[Array, " steps"]
    x: Float[Array, "batch *event"]
    num_evals: Int[Array, " batch"]


def accumulated_guidance(
    field: VelocityField,
    x0: ArrayLike | PyTree[ArrayLike],
    cond: PyTree[Any],
    *,
    null_cond: PyTree[Any] | None = None,
    until: float = 1.0,
    num_steps: int | None = None,
    grid: str | ArrayLike = "uniform",
) -> AccumulatedGuidance:
    """Differences of velocities under a condition and under none, summed along Euler's path.

    `Σ h_i ||v(t_i, x_i, c) − v(t_i, x_i, none)||`, the statistic of CFG-Rejection in velocities:
    its authors keep samples with a high one, which they take to lie in dense regions. (Scores
    differ by t/(1 − t) times as much; `norms` are there for other weights.) It is known early:
    `until`.

    Args:
        field: a model with conditions, whose path under `cond` is followed; or one that `cfg`
            guides, whose guided path is followed and whose two velocities are compared.
        x0: where the paths begin, shape (batch, *event).
        cond: the conditions, with a leading batch axis on every leaf.
        null_cond: the condition of ONE sample that means "none"; by default the field's own. It is
            left out for a guided field.
        until: the time by which the last step ends.
        num_steps: as in `sample`, of the path to t = 1.
        grid: as in `sample`.

    Returns:
        The sums, their terms, the points where the paths ended, and the number of calls that this
        needs: two a step, or one of a guided field (two of a `cfg` on an interval).

    Raises:
        ValueError: as `sample`; if there is no condition of none, `x0` is a pytree or lies on a
            manifold, or no step ends by `until`.

    Example:
        A model whose velocities under class 1 and under none differ by 5 everywhere:

        >>> import jax.numpy as jnp
        >>> from kinetic_jax.copies import accumulated_guidance
        >>> model = lambda t, x, cond: cond * jnp.array([3.0, 4.0])
        >>> path = accumulated_guidance(
        ...     model, jnp.zeros((1, 2)), jnp.array([1.0]), null_cond=0.0, until=0.5, num_steps=10
        ... )
        >>> path.total, path.num_evals
        (Array([2.5], dtype=float32), Array([10], dtype=int32))

    References:
        Diffusion sampling path tells more: an efficient plug-and-play strategy for sample
        filtering (CFG-Rejection), arXiv 2505.23343.
    """
    states = candidates(field, x0, cond, until, steps(None, num_steps, grid), name="until")
    require(cond is not None, "cond", None, "be given: the condition of each sample")
    guide, extra = guide_of(field, states, cond, null_cond)
    begun = launch(states, guide)
    norms, profile = begun.guidance, begun.run.profile
    assert norms is not None, "there is a guide"
    assert profile is not None, "the grid is fixed"
    total = total_guidance(states, begun)
    evaluations = jnp.full(norms.shape[0], states.split * (1 + extra), jnp.int32)
    return AccumulatedGuidance(total, norms, profile.ts, begun.run.x1, evaluations)


def total_guidance(states: Candidates, begun: Launch) -> Float[Array, " batch"]:
    """`Σ h_i ||v_c − v_n||` over the steps of a launch with a guide."""
    norms, nodes = begun.guidance, states.nodes[: states.split + 1]
    assert norms is not None, "the launch had a guide"
    steps = jnp.asarray(nodes[1:] - nodes[:-1], norms.dtype)
    total = jnp.sum(norms * steps[None], axis=-1)
    return jnp.where(begun.run.status == 0, total, jnp.nan)
