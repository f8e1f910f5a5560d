"""Objectives of `tune`: scores of samples, of which the mean is to be small."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import float_scalar, require, require_between, require_key, whole_number
from kinetic_jax._state import State
from kinetic_jax._streaming import DEFAULT_CHUNK_SIZE, Rows, checked_rows
from kinetic_jax.copies import snap
from kinetic_jax.fields import Field, VelocityField, as_field
from kinetic_jax.metrics import memorization
from kinetic_jax.metrics._features import Embedding, embedded
from kinetic_jax.metrics._memorization import SWEEP, check_rule
from kinetic_jax.sampling import Trajectories


class Drawn(NamedTuple):
    """Samples of one setting, as an objective gets them.

    Attributes:
        run: the result of `sample`: `run.x1` are the samples, `run.energy` their energies.
        completed: the samples after one more evaluation, by `complete`: without the noise that a
            gain left on them, under which copies hide.
        cond: their conditions.
    """

    run: Trajectories
    completed: State
    cond: PyTree[Array] | None = None


Objective: TypeAlias = Callable[[Drawn], ArrayLike]


def copies_of(
    train: Rows | PyTree[Rows],
    *,
    threshold: float = 1 / 3,
    embed: Embedding | None = None,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
) -> Objective:
    """The objective "copies of training rows", counted among the completed samples.

    The score of a sample is 1 for a copy, 0 for another and NaN where it failed, so that the mean
    is F_mem of the completed samples.

    Args:
        train: the training data, as in `memorization`.
        threshold: as in `memorization`.
        embed: as in `memorization`; the training data are embedded once, here.
        chunk_size: as in `memorization`.

    Returns:
        A function of `Drawn`.

    Raises:
        ValueError: as `memorization`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, noise, sample
        >>> from kinetic_jax.tuning import Drawn, copies_of
        >>> rows = jnp.array([[0.0, 0.0], [3.0, 0.0]])
        >>> run = sample(EmpiricalField(rows), noise(jax.random.key(0), jnp.arange(3), (2,)))
        >>> print(copies_of(rows)(Drawn(run, run.x1)))
        [1. 1. 1.]
    """
    check_rule(threshold, 0.95, SWEEP, 0.0, chunk_size)
    quiet: dict[str, Any] = {"chunk_size": chunk_size, "progress": False}
    reference = embedded("train", train, embed, **quiet)
    total, *_ = checked_rows("train", reference)
    require(total >= 2, "train", f"{total} rows", "have at least two")

    def flags(drawn: Drawn) -> Float[np.ndarray, " batch"]:
        queries = embedded("completed", drawn.completed, embed, **quiet)
        result = memorization(queries, reference, threshold=threshold, **quiet)
        return np.where(result.valid, result.memorized, np.nan)

    return flags


def snap_of(
    field: VelocityField,
    earlier: VelocityField,
    *,
    key: PRNGKeyArray,
    t: Float[ArrayLike, ""] = 0.65,
    draws: int = 8,
) -> Objective:
    """The objective `kinetic_jax.copies.snap` of the completed samples, which needs no data.

    Differentiable, so that `gain_by_gradients` takes it too.

    Args:
        field: as in `snap`, without the gain that is tuned.
        earlier: as in `snap`.
        key: as in `snap`.
        t: as in `snap`.
        draws: as in `snap`.

    Returns:
        A function of `Drawn`.

    Raises:
        ValueError: if `field` or `earlier` is not a field, `key` is not a random key, `t` lies
            outside (0, 1), or `draws` is below 1; as `snap` when the objective is called.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, GaussianField, noise, sample
        >>> from kinetic_jax.tuning import Drawn, snap_of
        >>> points = jnp.array([[2.0, 0.0], [-2.0, 0.0]])
        >>> model, earlier = EmpiricalField(points), GaussianField(jnp.zeros(2), 2.0)
        >>> run = sample(model, noise(jax.random.key(0), jnp.arange(3), (2,)))
        >>> objective = snap_of(model, earlier, key=jax.random.key(1))
        >>> bool((objective(Drawn(run, run.x1)) > 1).all())
        True
    """
    require_key("key", key)
    time = float_scalar(t, "t")
    require_between("t", time, 0.0, 1.0)
    number = whole_number("draws", draws, 1)
    return SnapOf(as_field(field), as_field(earlier, "earlier"), key, time, number)


class SnapOf(eqx.Module):
    """The objective that `snap_of` returns."""

    field: Field
    earlier: Field
    key: PRNGKeyArray
    t: Float[Array, ""]
    draws: int = eqx.field(static=True)

    def __call__(self, drawn: Drawn) -> Float[Array, " batch"]:
        """The score of each completed sample."""
        x1, models = drawn.completed, (self.field, self.earlier)
        return snap(*models, x1, drawn.cond, key=self.key, t=self.t, draws=self.draws)
