"""Rejection while sampling: candidates that look risky early do not cost a whole path."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import diffrax
import numpy as np
from jaxtyping import ArrayLike, Float, PyTree

from kinetic_jax._checks import require, short, whole_number
from kinetic_jax._pytree import short_repr
from kinetic_jax.copies._reject import Labels, Rejection, checked_amount, checked_scores, reject
from kinetic_jax.copies._two_parts import Candidates, candidates, completed, launch, steps
from kinetic_jax.fields import VelocityField
from kinetic_jax.sampling import Trajectories

# A score of each candidate, from its path so far.
LaunchScore: TypeAlias = Callable[[Trajectories], Float[ArrayLike, " n"]]
LaunchLabels: TypeAlias = Callable[[Trajectories], Labels]


class RejectedRun(NamedTuple):
    """The result of `sample_rejecting`.

    Attributes:
        run: the candidates that stay, in their order, as one uninterrupted `sample` returns them.
        rejection: which those are, by stratum.
        risk: of every candidate, NaN where it is unknown, shape (n,).
        evaluations: calls of the field in all, those for rejected candidates and scores included.
    """

    run: Trajectories
    rejection: Rejection
    risk: Float[np.ndarray, " n"]
    evaluations: int

    def __repr__(self) -> str:
        return short_repr(self)

    @property
    def evaluations_per_kept(self) -> float:
        """The cost of a sample that stays."""
        return per_kept(self.evaluations, self.rejection.kept.size)


def per_kept(evaluations: int, kept: int) -> float:
    """Evaluations for each sample that stays, infinite if none does."""
    return evaluations / kept if kept else float("inf")


def sample_rejecting(
    field: VelocityField,
    x0: ArrayLike | PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    risk: LaunchScore,
    t_early: float = 0.4,
    share: float | None = None,
    limit: float | None = None,
    strata: Labels | LaunchLabels | None = None,
    confidence: float = 0.95,
    solver: diffrax.AbstractSolver | None = None,
    num_steps: int | None = None,
    grid: str | ArrayLike = "uniform",
    tau_split: ArrayLike | None = None,
    score_evaluations: int = 0,
) -> RejectedRun:
    """Samples all candidates up to `t_early`, and only those that `reject` keeps to the end.

    The state of the loop is carried over, so a sample that stays has the path, the energies and
    the profile of one uninterrupted `sample` on the same grid, up to rounding.

    Args:
        field: as in `sample`.
        x0: the noise of all candidates, shape (n, *event), or a pytree of such arrays.
        cond: their conditions.
        risk: from what `sample` would return at `t_early` to the risk of each candidate, shape
            (n,), higher for a likelier copy: such as `early_bending(run.profile, end=0.4)`, or a
            detector's score of `profile_features(run.profile, 8, end=0.4)`. Failed candidates have
            an unknown risk, whatever it says of them.
        t_early: the launch ends at the last node by this time; 1 rejects at the end.
        share: as in `reject`.
        limit: as in `reject`.
        strata: as in `reject`, such as the labels in `cond`; or a function like `risk` that returns
            them.
        confidence: as in `reject`.
        solver: as in `sample`.
        num_steps: as in `sample`.
        grid: as in `sample`.
        tau_split: as in `sample`.
        score_evaluations: the calls of the field that `risk` and `strata` take for each candidate,
            to be counted.

    Returns:
        The samples that stay, which they are, and what they cost.

    Raises:
        ValueError: as `sample` and `reject`; if no step ends by `t_early`, or `risk` does not
            return a number for each candidate.

    Example:
        The half of the paths that bends less from the start:

        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, noise
        >>> from kinetic_jax.copies import early_bending, sample_rejecting
        >>> model = EmpiricalField(jnp.array([[2.0, 0.0], [-2.0, 0.0]]))
        >>> x0 = noise(jax.random.key(0), jnp.arange(8), (2,))
        >>> risk = lambda run: early_bending(run.profile, end=0.4)
        >>> result = sample_rejecting(model, x0, risk=risk, share=0.5, num_steps=10)
        >>> result.run.x1.shape, result.evaluations  # 8 times 4 steps, and 4 times 6
        ((4, 2), 56)
        >>> result.evaluations_per_kept
        14.0
    """
    extra = whole_number("score_evaluations", score_evaluations, 0)
    require(callable(risk), "risk", short(risk), "be a function of the launch")
    checked_amount(share, limit, confidence)  # before anything is sampled
    states = candidates(field, x0, cond, t_early, steps(solver, num_steps, grid, tau_split))
    begun = launch(states)
    risks = known_scores("risk", risk(begun.run), begun.run)
    labels = strata(begun.run) if callable(strata) else strata
    choice = reject(risks, share=share, limit=limit, strata=labels, confidence=confidence)
    run = completed(states, begun, choice.kept)
    return RejectedRun(run, choice, risks, evaluations_of(states, choice.kept.size, extra))


def known_scores(name: str, value: object, run: Trajectories) -> Float[np.ndarray, " n"]:
    """Scores of candidates, NaN for those that failed.

    Raises:
        ValueError: if they are not one number for each candidate.
    """
    scores, failed = checked_scores(name, value), np.asarray(run.status) != 0
    expected = f"return one number for each of {failed.size} candidates"
    require(scores.shape == failed.shape, name, f"shape {scores.shape}", expected)
    return np.where(failed, np.nan, scores)


def evaluations_of(states: Candidates, kept: int, extra: int, extra_per_step: int = 0) -> int:
    """Calls of the field in both parts.

    Args:
        states: the candidates.
        kept: how many stay.
        extra: further calls for each candidate.
        extra_per_step: further calls for each candidate in each step of the first part.
    """
    first = states.split * (states.calls + extra_per_step) + extra
    return int(states.x0.shape[0] * first + kept * states.rest * states.calls)
