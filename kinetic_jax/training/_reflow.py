"""Reflow: a field trained on the pairs of noise and samples of another one."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffrax
import jax
import numpy as np
from jaxtyping import ArrayLike, PRNGKeyArray, PyTree

from kinetic_jax._checks import (
    conditions_of,
    refuse_memmap,
    require,
    require_key,
    require_known,
    whole_number,
)
from kinetic_jax._files import PathLike, local_path
from kinetic_jax._mesh import gathered
from kinetic_jax._progress import check_progress
from kinetic_jax._state import EventShape, as_event_shape, checked_event_shape
from kinetic_jax.fields import Field, VelocityField, as_field
from kinetic_jax.fields._field import is_transformed
from kinetic_jax.sampling._grid import time_nodes
from kinetic_jax.training._fit import FitResult, fit
from kinetic_jax.training._loss import cfm_loss
from kinetic_jax.training._pairs import SETTINGS, PairPlan, pairs_of
from kinetic_jax.training._storage import latest_step, make_folder

if TYPE_CHECKING:
    import optax

PAIRS = "pairs"  # a folder in `checkpoint_dir`
TRAINING = np.uint32(2**32 - 1)  # the number of the key of the training, after those of all pairs


def reflow(
    field: VelocityField,
    *,
    key: PRNGKeyArray,
    num_pairs: int,
    num_steps: int,
    optimizer: "optax.GradientTransformation",
    batch_size: int,
    student: VelocityField | None = None,
    cond: PyTree | None = None,
    event_shape: EventShape | None = None,
    solver: diffrax.AbstractSolver | None = None,
    sample_steps: int | None = None,
    grid: str | ArrayLike | Sequence[float] = "uniform",
    sample_batch: int = 1000,
    cond_dropout: float = 0.0,
    null_cond: PyTree | None = None,
    ema: float | None = 0.999,
    checkpoint_dir: PathLike | None = None,
    checkpoint_every: int = 1000,
    checkpoints_kept: int = 2,
    progress: bool | None = None,
) -> FitResult[VelocityField]:
    """Straightens a flow: trains a field on the pairs (noise, sample) of a trained one.

    Pair i is `x0 = noise(key, i)` and the x1 where `field` takes it, under row i of `cond`; the
    pairs are the coupling of `fit`. The field with the least loss has the same distribution of
    samples, and a mean energy of at most `½ E||x1 − x0||²` of the pairs (Jensen), which is that of
    `field` without its straightness excess. Noise stays independent of the condition.

    With `checkpoint_dir` finished pairs are kept in its folder `pairs`, and neither Ctrl-C nor a
    kill loses them; a repeated call makes those that are missing, and goes on with the training.
    Pairs depend on (key, i) alone, up to rounding also where `sample_batch` differs.

    Args:
        field: the trained field, with or without transforms.
        key: a JAX random key, of the noise and of the training.
        num_pairs: number of pairs, kept in memory; a field trained long on few of them copies.
        num_steps: steps of the training, including those of earlier runs.
        optimizer: an Optax optimizer.
        batch_size: pairs per step of the training.
        student: the field to train, as in `fit`. Default: `field` itself, with its weights; needed
            if that has transforms, which are not trained.
        cond: a pytree with one entry per pair on every leaf, or None. A leaf of one row is the
            condition of every pair.
        event_shape: shape of one sample (a dict of shapes for dicts); needed if neither field
            declares one.
        solver: as in `sample`, on a fixed grid.
        sample_steps: steps of the solver, 100 by default; `num_steps` of `sample`.
        grid: as in `sample`, from 0 to 1.
        sample_batch: pairs that are sampled at once, and kept in one file.
        cond_dropout: as in `fit`.
        null_cond: as in `fit`; the student's own by default.
        ema: as in `fit`.
        checkpoint_dir: folder for the pairs and the checkpoints, which `load_field` reads.
        checkpoint_every: as in `fit`.
        checkpoints_kept: as in `fit`.
        progress: draw bars; None: on a terminal only.

    Returns:
        The result of `fit`.

    Raises:
        ValueError: as `sample` and `fit` do, before the first pair is made; for a transformed field
            without a student; naming the setting that differs from that of the kept pairs or
            checkpoints; naming a file that is damaged.
        OSError: naming the file that cannot be written.
        FloatingPointError: if a sample, the loss or a parameter is not finite.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from kinetic_jax import GaussianField, sample
        >>> from kinetic_jax.networks import network_field
        >>> from kinetic_jax.training import reflow
        >>> key = jax.random.key(0)
        >>> field = GaussianField(jnp.array([2.0, 0.0]), 0.2)
        >>> student = network_field("mlp", (2,), key=key, width=32, depth=1)
        >>> settings = {"num_steps": 500, "batch_size": 64, "optimizer": optax.adam(1e-2)}
        >>> result = reflow(field, student=student, key=key, num_pairs=512, **settings)
        >>> x0 = jax.random.normal(key, (100, 2))
        >>> before, after = (sample(each, x0).energy for each in (field, result.ema_field))
        >>> bool(after.excess.mean() < before.excess.mean() / 3)
        True

    References:
        Liu et al., Flow straight and fast: learning to generate and transfer data with rectified
        flow, arXiv 2209.03003.
    """
    folder = None if checkpoint_dir is None else local_path("checkpoint_dir", checkpoint_dir)
    require_key("key", key)
    num_steps = whole_number("num_steps", num_steps, 0)
    check_progress(progress)
    teacher = as_field(field)
    expected = "move in flat space: the linear path leaves a manifold"
    require(teacher.manifold is None, "field", type(teacher.manifold).__name__, expected)
    given = "a field with transforms, which are not trained"
    is_given = student is not None or not is_transformed(teacher)
    require(is_given, "student", f"None for {given}", "be given")
    trainee = field if student is None else student
    plan = _plan(
        teacher, as_field(trainee, "student"), key, num_pairs, cond, event_shape, solver,
        sample_steps, grid, sample_batch,
    )  # fmt: skip
    options: dict[str, Any] = {
        "key": jax.random.fold_in(key, TRAINING),
        "optimizer": optimizer,
        "batch_size": batch_size,
        "cond_dropout": cond_dropout,
        "null_cond": null_cond,
        "ema": ema,
        "checkpoint_every": checkpoint_every,
        "checkpoints_kept": checkpoints_kept,
    }
    _check_training(trainee, plan, options)
    if folder is not None:
        _check_folder(folder)
    x0, x1 = pairs_of(plan, None if folder is None else folder / PAIRS, progress)
    return fit(
        trainee,
        x1,
        coupling=x0,
        cond=plan.cond,
        num_steps=num_steps,
        checkpoint_dir=folder,
        progress=progress,
        **options,
    )


def _plan(
    teacher: Field,
    student: Field,
    key: PRNGKeyArray,
    num_pairs: int,
    cond: PyTree,
    event_shape: EventShape | None,
    solver: diffrax.AbstractSolver | None,
    sample_steps: int | None,
    grid: str | ArrayLike | Sequence[float],
    sample_batch: int,
) -> PairPlan:
    """The checked arguments that decide the pairs; they are sampled without values here."""
    number = whole_number("num_pairs", num_pairs, 1, int(TRAINING))
    refuse_memmap("cond", cond)
    require_known("cond", cond)
    cond = jax.tree.map(lambda leaf: gathered("cond", leaf), cond)
    if sample_steps is not None:
        sample_steps = whole_number("sample_steps", sample_steps, 1)
    require_known("grid", grid)
    dtype = jax.dtypes.canonicalize_dtype(float)  # of `noise`
    named_steps = sample_steps if isinstance(grid, str) else None
    nodes = np.asarray(time_nodes(grid, named_steps, 0.0, 1.0, dtype)[0])
    expected = f"be left out or agree with the grid's {len(nodes) - 1} steps"
    require(sample_steps in (None, len(nodes) - 1), "sample_steps", sample_steps, expected)
    plan = PairPlan(
        teacher,
        key,
        number,
        conditions_of(cond, number, "num_pairs"),
        _event_shape(teacher, student, event_shape),
        diffrax.Euler() if solver is None else solver,
        nodes,
        min(whole_number("sample_batch", sample_batch, 1), number),
    )
    jax.eval_shape(lambda: plan.run(*plan.starts(np.arange(1))))
    return plan


def _event_shape(teacher: Field, student: Field, given: EventShape | None) -> EventShape:
    taken, shape = teacher.event_shape, student.event_shape
    if given is not None:
        shape = as_event_shape(checked_event_shape(given))
        fits = student.event_shape in (None, shape) and taken in (None, shape)
        require(fits, "event_shape", shape, f"be {taken or student.event_shape}, as the field's")
    shape = taken if shape is None else shape
    if shape is None:
        raise ValueError("event_shape must be given for fields that declare none, got None")
    expected = f"take samples of the field's shape, {taken}"
    require(taken in (None, shape), "student", f"one for those of {shape}", expected)
    return shape


def _check_training(student: VelocityField, plan: PairPlan, options: dict[str, Any]) -> None:
    """Raises what `fit` would raise after the pairs are made."""
    like, _ = jax.eval_shape(lambda: plan.starts(np.arange(1)))
    x0 = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    cond = jax.tree.map(lambda leaf: np.asarray(leaf)[:1], plan.cond)
    fit(student, x0, coupling=x0, cond=cond, num_steps=0, progress=False, **options)
    jax.eval_shape(lambda: cfm_loss(student, plan.key, x0, cond, x0=x0))


def _check_folder(folder: Path) -> None:
    make_folder("checkpoint_dir", folder)
    has_pairs = (folder / PAIRS / SETTINGS).exists()
    is_free = has_pairs or latest_step(folder) is None
    require(is_free, "checkpoint_dir", f"other checkpoints: {folder}", "hold those of reflow alone")
