"""Selection of one of several candidates, by what the launch of its path or a verifier says."""

from typing import Any, NamedTuple

import diffrax
import jax
import numpy as np
from jaxtyping import ArrayLike, Float, Integer, PRNGKeyArray, PyTree

from kinetic_jax._checks import require, require_key, require_known, short, whole_number
from kinetic_jax._pytree import short_repr
from kinetic_jax.copies._early import LaunchScore, evaluations_of, known_scores, per_kept
from kinetic_jax.copies._guided_path import total_guidance
from kinetic_jax.copies._paths import early_bending
from kinetic_jax.copies._reject import checked_scores
from kinetic_jax.copies._scoring import own_stream
from kinetic_jax.copies._two_parts import (
    Candidates,
    candidates,
    completed,
    guide_of,
    launch,
    steps,
    uninterrupted,
)
from kinetic_jax.fields import VelocityField
from kinetic_jax.sampling import Trajectories

BENDING, ENERGY, GUIDANCE, RANDOM = "early bending", "launch energy", "guidance", "random"
METHODS = (BENDING, ENERGY, GUIDANCE, RANDOM)
KEEP = ("highest", "lowest")


class Selection(NamedTuple):
    """The result of `select`.

    Attributes:
        kept: the number of the candidate that stays of each slot, shape (slots,).
        rejected: numbers of the others, ascending.
        group_size: k, the candidates of each slot.
        unknown: how many slots have no candidate with a known score; they keep their first.
    """

    kept: Integer[np.ndarray, " slots"]
    rejected: Integer[np.ndarray, " rejected"]
    group_size: int
    unknown: int


class SelectedRun(NamedTuple):
    """The result of `sample_selecting`.

    Attributes:
        run: the sample of each slot, as one uninterrupted `sample` returns it.
        selection: the candidates that these are.
        score: of every candidate, NaN where it is unknown, shape (n,).
        evaluations: calls of the field in all, those for other candidates and scores included.
    """

    run: Trajectories
    selection: Selection
    score: Float[np.ndarray, " n"]
    evaluations: int

    def __repr__(self) -> str:
        return short_repr(self)

    @property
    def evaluations_per_kept(self) -> float:
        """The cost of a sample that stays."""
        return per_kept(self.evaluations, self.selection.kept.size)


def select(score: Float[ArrayLike, " n"], *, group_size: int, keep: str = "highest") -> Selection:
    """The best of k: of candidates i k, ..., i k + k − 1 the one that stays in slot i.

    An unknown score (NaN) loses to any known one; of equals the first stays.

    Args:
        score: of each candidate, shape (n,), with n a multiple of `group_size`.
        group_size: k.
        keep: "highest" or "lowest".

    Returns:
        The numbers of the candidates that stay, and of the others.

    Raises:
        ValueError: if the scores are no vector whose length is a multiple of `group_size`, or
            `keep` is neither.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.copies import select
        >>> select(np.array([0.3, 0.1, 0.2, 0.7]), group_size=2).kept
        array([0, 3])
    """
    scores = checked_scores("score", score)
    size = whole_number("group_size", group_size, 1)
    _check_keep(keep)
    _check_groups("score", scores.size, size)
    groups = scores.reshape(-1, size)
    is_known = ~np.isnan(groups)
    ranked = np.where(is_known, groups if keep == "highest" else -groups, -np.inf)
    best = ranked.max(axis=1)
    # Of a known −∞ and an unknown score the known one stays.
    first = np.argmax((ranked == best[:, None]) * (1 + is_known), axis=1)
    kept = np.arange(len(groups)) * size + first
    rejected = np.delete(np.arange(scores.size), kept)
    return Selection(kept, rejected, size, int(np.sum(~is_known.any(axis=1))))


def _check_keep(keep: object) -> None:
    require(isinstance(keep, str) and keep in KEEP, "keep", short(keep), f"be one of {KEEP}")


def _check_groups(name: str, number: int, size: int) -> None:
    got = f"{number} candidates"
    require(number % size == 0, name, got, f"have a multiple of group_size, {size}")


def sample_selecting(
    field: VelocityField,
    x0: ArrayLike | PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    by: str | LaunchScore,
    group_size: int,
    keep: str = "highest",
    t_early: float = 0.4,
    null_cond: PyTree[Any] | None = None,
    key: PRNGKeyArray | None = None,
    solver: diffrax.AbstractSolver | None = None,
    num_steps: int | None = None,
    grid: str | ArrayLike = "uniform",
    tau_split: ArrayLike | None = None,
    score_evaluations: int = 0,
) -> SelectedRun:
    """Samples k candidates for each slot up to `t_early`, and the best of them to the end.

    With "early bending" `keep` is a dial between fidelity to the class, and diversity. Methods
    compare at equal `evaluations_per_kept`; `affordable` says how many candidates that is for each.

    Args:
        field: as in `sample`; for "guidance" a model with conditions, plain or in `cfg`.
        x0: the noise of the candidates, slot by slot, shape (slots k, *event), or a pytree of such
            arrays.
        cond: their conditions, which those of a slot should share: `jnp.repeat(labels, k)`.
        by: "early bending"; "launch energy", the energy up to `t_early`; "guidance", the
            differences that CFG-Rejection accumulates, see `accumulated_guidance`; "random", a
            control, which samples no other candidate. Or a function from what `sample` would return
            at `t_early` to a score of each candidate, shape (n,): with `t_early=1.0` a verifier,
            which sees the samples, `run.x1`.
        group_size: k.
        keep: "highest" or "lowest".
        t_early: the launch ends at the last node by this time; 1 selects at the end.
        null_cond: for "guidance", as in `accumulated_guidance`.
        key: a JAX random key, for "random" and nothing else.
        solver: as in `sample`.
        num_steps: as in `sample`.
        grid: as in `sample`.
        tau_split: as in `sample`.
        score_evaluations: the calls of the field, or equals of them, that a function `by` takes for
            each candidate, to be counted.

    Returns:
        The samples that stay, which they are, and what they cost. "guidance" needs a velocity
        under no condition in each step of the launch, a second call for a plain field. A field in
        `cfg` has it already, so nothing is added, though XLA may compute it a second time.

    Raises:
        ValueError: as `sample`, `select` and `accumulated_guidance`; for an unknown `by`, a `key`
            or `null_cond` that the method does not use, or "random" without a key.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, noise
        >>> from kinetic_jax.copies import sample_selecting
        >>> model = EmpiricalField(jnp.array([[2.0, 0.0], [-2.0, 0.0]]))
        >>> x0 = noise(jax.random.key(0), jnp.arange(8), (2,))
        >>> result = sample_selecting(
        ...     model, x0, by="early bending", keep="lowest", group_size=4, num_steps=10
        ... )
        >>> result.run.x1.shape, result.evaluations_per_kept  # 4 times 4 steps, and 6
        ((2, 2), 22.0)

    References:
        Ma et al., Inference-time scaling for diffusion models beyond scaling denoising steps,
        arXiv 2501.09732 (random search with a verifier); CFG-Rejection, arXiv 2505.23343.
    """
    _check_method(by, key, null_cond)
    _check_keep(keep)
    extra = whole_number("score_evaluations", score_evaluations, 0)
    states = candidates(field, x0, cond, t_early, steps(solver, num_steps, grid, tau_split))
    number = states.x0.shape[0]
    _check_groups("x0", number, whole_number("group_size", group_size, 1))
    if by == RANDOM:
        scores = _draws(key, number)
        chosen = select(scores, group_size=group_size, keep=keep)
        only = states.rows(chosen.kept)
        cost = (only.split + only.rest) * only.calls * chosen.kept.size
        return SelectedRun(uninterrupted(only), chosen, scores, cost)
    guide, per_step = None, 0
    if by == GUIDANCE:
        guide, per_step = guide_of(field, states, cond, null_cond)
    begun = launch(states, guide)
    if by == GUIDANCE:
        value: object = total_guidance(states, begun)
    else:
        value = _score(by, states, begun.run)
    scores = known_scores("by" if callable(by) else "score", value, begun.run)
    chosen = select(scores, group_size=group_size, keep=keep)
    run = completed(states, begun, chosen.kept)
    cost = evaluations_of(states, chosen.kept.size, extra, per_step)
    return SelectedRun(run, chosen, scores, cost)


def _score(by: str | LaunchScore, states: Candidates, run: Trajectories) -> object:
    if callable(by):
        return by(run)
    if by == ENERGY:
        return run.energy.total
    assert run.profile is not None, "the grid is fixed"
    return early_bending(run.profile, end=float(states.nodes[states.split]))


def _draws(key: PRNGKeyArray | None, number: int) -> Float[np.ndarray, " n"]:
    """A random score of each candidate, a function of the key and its number."""
    assert key is not None, "was checked"
    of_number = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    keys = of_number(own_stream(key), np.arange(number, dtype=np.uint32))
    return np.asarray(jax.vmap(jax.random.uniform)(keys), np.float64)


def _check_method(by: object, key: object, null_cond: object) -> None:
    is_known = callable(by) or (isinstance(by, str) and by in METHODS)
    require(is_known, "by", short(by), f"be one of {METHODS}, or a function of the launch")
    if by == RANDOM:
        require_key("key", key)
        require_known("key", key)
    else:
        require(key is None, "key", short(key), f"be left out, but for {RANDOM!r}")
    expected = f"be left out, but for {GUIDANCE!r}"
    require(by == GUIDANCE or null_cond is None, "null_cond", short(null_cond), expected)
