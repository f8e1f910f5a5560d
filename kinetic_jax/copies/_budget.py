"""Equal evaluations: the number of candidates that a budget pays for."""

import diffrax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from kinetic_jax._checks import require, require_flag, require_known, short, whole_number
from kinetic_jax.copies._select import GUIDANCE, METHODS, RANDOM
from kinetic_jax.copies._two_parts import split_of
from kinetic_jax.sampling._explicit import stages_of
from kinetic_jax.sampling._grid import time_nodes


def affordable(
    evaluations: int,
    *,
    by: str = "early bending",
    t_early: float = 0.4,
    guided: bool = False,
    solver: diffrax.AbstractSolver | None = None,
    num_steps: int | None = None,
    grid: str | ArrayLike = "uniform",
    score_evaluations: int = 0,
) -> int:
    """The greatest `group_size` of `sample_selecting` within a budget for each sample that stays.

    k candidates take k times the calls of their launch and score, and one of them those of the
    rest of its path: the earlier a method decides, the more candidates it affords.

    Args:
        evaluations: calls of the field for each sample that stays.
        by: the method of `sample_selecting`; any but "random", which samples one candidate alone.
            "early bending" stands for every function of the launch.
        t_early: as in `sample_selecting`; 1 for a verifier.
        guided: True for a field in `cfg` (at all times), where "guidance" takes no further call.
        solver: as in `sample`.
        num_steps: as in `sample`.
        grid: as in `sample`.
        score_evaluations: as in `sample_selecting`.

    Returns:
        The number of candidates, 1 or more.

    Raises:
        ValueError: if the budget is less than one candidate takes, no step ends by `t_early`, or a
            setting is unknown or out of range.

    Example:
        Four whole paths, or eight and a half launches and one rest:

        >>> from kinetic_jax.copies import affordable
        >>> affordable(400, t_early=1.0), affordable(400), affordable(400, by="guidance")
        (4, 8, 4)
    """
    is_method = isinstance(by, str) and by in METHODS and by != RANDOM
    others = tuple(method for method in METHODS if method != RANDOM)
    require(is_method, "by", short(by), f"be one of {others}")
    require_flag("guided", guided)
    require_known("grid", grid)
    calls = len(stages_of(diffrax.Euler() if solver is None else solver).c)
    nodes, _, _ = time_nodes(grid, num_steps, 0.0, 1.0, jnp.float32)
    split = split_of(np.asarray(nodes), t_early)
    per_step = calls + int(by == GUIDANCE and not guided)
    first = split * per_step + whole_number("score_evaluations", score_evaluations, 0)
    rest = (len(nodes) - 1 - split) * calls
    budget = whole_number("evaluations", evaluations, first + rest, why=", what one path takes")
    return (budget - rest) // first
