"""Resumable flow-matching training."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, PRNGKeyArray, PyTree

from kinetic_jax._checks import (
    real_number,
    require,
    require_between,
    require_key,
    short,
    whole_number,
)
from kinetic_jax._files import PathLike, local_path
from kinetic_jax._interrupt import deferred_interrupt
from kinetic_jax._mesh import alone_on, checked_mesh, mesh_of, with_axes_of
from kinetic_jax._progress import check_progress, progress_bar
from kinetic_jax._pytree import result
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.fields._flat import flattened
from kinetic_jax.fields._protocol import unwrapped
from kinetic_jax.training._checkpoint import describe_field
from kinetic_jax.training._coupling import checked_coupling
from kinetic_jax.training._inputs import checked_data
from kinetic_jax.training._resume import resume, stored_settings
from kinetic_jax.training._step import (
    LOSS_BUFFER,
    Problem,
    advance,
    field_of,
    initial_state,
    split_field,
)
from kinetic_jax.training._storage import latest_step, make_folder, write_checkpoint

if TYPE_CHECKING:
    import optax

F = TypeVar("F", bound=VelocityField)
SECONDS_PER_CALL = 0.5  # target duration of a compiled call between progress updates


@result
class TrainingHistory:
    """The course of a training run, including earlier runs that it resumed.

    Attributes:
        loss: mean `cfm_loss` of each step's batch, shape (num_steps,), float32.
    """

    loss: np.ndarray


@result
class FitResult(Generic[F]):
    """The result of `fit`.

    Attributes:
        field: the trained field.
        ema_field: the field with the moving average of its weights, for sampling.
        history: the loss of each step.
        resumed_at: number of steps taken by earlier runs; 0 for a new run.
    """

    field: F
    ema_field: F
    history: TrainingHistory
    resumed_at: int


class _Settings(NamedTuple):
    num_steps: int
    batch_size: int
    cond_dropout: float
    ema: float | None
    checkpoint_every: int
    checkpoints_kept: int


def fit(
    field: F,
    data: ArrayLike | PyTree[ArrayLike],
    *,
    key: PRNGKeyArray,
    num_steps: int,
    optimizer: "optax.GradientTransformation",
    batch_size: int,
    cond: PyTree | None = None,
    cond_dropout: float = 0.0,
    null_cond: PyTree | None = None,
    coupling: str | ArrayLike | PyTree[ArrayLike] = "independent",
    ema: float | None = 0.999,
    checkpoint_dir: PathLike | None = None,
    checkpoint_every: int = 1000,
    checkpoints_kept: int = 2,
    progress: bool | None = None,
) -> FitResult[F]:
    """Trains a field by conditional flow matching (`cfm_loss`, averaged over the batch).

    Rows (drawn with replacement), times and noise of step s depend on (key, s) alone. A run that
    was killed and is repeated with the same arguments and `checkpoint_dir` therefore ends with
    bitwise the same parameters, on the same machine, as an uninterrupted run. Ctrl-C writes a
    checkpoint and stops; a kill loses at most the steps since the last checkpoint.

    A resumed run identifies a field not made by `network_field` by its untrained arrays and by its
    velocity at fixed points under fixed weights (up to rounding).

    A field in half precision computes in half precision; its weights, their average and the
    optimizer's state are kept in float32, and the returned fields have the field's own dtypes.

    Args:
        field: the field to train, without transforms. The parameters of a Flax network
            (`nnx.Param`, the collection "params") are trained, and ALL floating arrays of any other
            field (including α0, β0 and τ of a `kts` field), but those that its class names in
            `Field.untrained`: the schedule of `from_prediction`, the `time_scale` of
            `from_reversed_time`. A network runs in evaluation mode.
        data: shape (rows, *event), in memory, in the field's scale, or a pytree of such arrays;
            an array may be split over the devices of a mesh.
        key: a JAX random key.
        num_steps: total number of steps, including those of earlier runs.
        optimizer: an Optax optimizer; it also receives the loss (`value=`, `grad=` and
            `value_fn=`). Gradients of complex weights are conjugated, as Optax expects. A resumed
            run needs the same optimizer; a different one is detected only if the structure of its
            state differs.
        batch_size: rows per step.
        cond: a pytree with one entry per row on every leaf (class labels, say), or None.
        cond_dropout: share of samples that receive `null_cond` instead of their own condition, for
            classifier-free guidance; in [0, 1].
        null_cond: the condition of ONE sample that means "none"; the field's own by default.
        coupling: which noise x0 goes with which row x1. "independent": any. "minibatch_ot": in each
            batch, noise and rows are paired at least total squared distance (an exact assignment,
            on every device; its time grows as `batch_size`³), which lowers the energy of the flow
            towards W2²/2, the more the larger the batch. Conditions stay with their rows, so noise
            is no longer independent of the condition, but a sampler draws it so: samples under a
            condition are then biased (the references). Train a conditional field "independent"ly
            and straighten it by `kinetic_jax.training.reflow`, or train a field for each class. An
            array in the shape of `data` (for a pytree, a pytree) is the noise of each row, drawn
            with it.
        ema: decay of the moving average of the weights, in [0, 1); step s uses
            min(ema, (1 + s)/(10 + s)). None: no average.
        checkpoint_dir: folder for checkpoints; the run resumes from the newest one.
        checkpoint_every: steps between two checkpoints; the last step writes one as well.
        checkpoints_kept: number of checkpoints to keep, the newest.
        progress: draw a bar with loss and time left; None: on a terminal only.

    Returns:
        The trained field, that with the moving average of its weights, and the loss of each step.

    Raises:
        ValueError: for empty or non-finite data, a memmap, rows of `cond` that differ from those
            of `data`, settings out of range, `num_steps` below those already taken; naming the
            setting that differs from the checkpoints'; naming a damaged checkpoint.
        OSError: naming the checkpoint, if it cannot be written (on a full disk, say).
        FloatingPointError: if the loss or a parameter is not finite. The last checkpoint is kept.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from kinetic_jax import fit
        >>> from kinetic_jax.networks import network_field
        >>> key = jax.random.key(0)
        >>> data = jax.random.normal(key, (64, 2)) * 0.1 + 3.0
        >>> field = network_field("mlp", (2,), key=key, width=32, depth=1)
        >>> settings = {"num_steps": 200, "optimizer": optax.adam(1e-2), "batch_size": 64}
        >>> loss = fit(field, data, key=key, **settings).history.loss
        >>> bool(loss[-20:].mean() < loss[:20].mean())
        True

    References:
        Pooladian et al., Multisample flow matching, arXiv 2304.14772; Tong et al., Improving and
        generalizing flow-based generative models with minibatch optimal transport, arXiv
        2302.00482. The bias: Cheng and Schwing, The curse of conditions, arXiv 2503.10636.
    """
    folder = None if checkpoint_dir is None else local_path("checkpoint_dir", checkpoint_dir)
    require_key("key", key)
    declared, data, spec = flattened("data", as_field(field), data)
    is_optimizer = all(callable(getattr(optimizer, name, None)) for name in ("init", "update"))
    require(is_optimizer, "optimizer", short(optimizer), "be an optax.GradientTransformation")
    null = declared.null_cond if null_cond is None else null_cond
    rows, cond, null = checked_data(declared, data, cond, null)
    pairs = checked_coupling(coupling, rows, spec)
    settings = _Settings(
        whole_number("num_steps", num_steps, 0),
        whole_number("batch_size", batch_size, 1),
        real_number("cond_dropout", cond_dropout),
        None if ema is None else real_number("ema", ema),
        whole_number("checkpoint_every", checkpoint_every, 1),
        whole_number("checkpoints_kept", checkpoints_kept, 1),
    )
    require_between("cond_dropout", settings.cond_dropout, 0.0, 1.0, closed=True)
    is_decay = settings.ema is None or 0 <= settings.ema < 1
    require(is_decay, "ema", ema, "be None or lie in [0, 1)")
    can_drop = cond is not None and null is not None
    expected = "be 0 without cond and a null_cond"
    require(can_drop or settings.cond_dropout == 0, "cond_dropout", cond_dropout, expected)
    check_progress(progress)
    model = unwrapped(declared)
    split_field(model)  # refuses a field without parameters before a folder is created
    if folder is not None:
        make_folder("checkpoint_dir", folder)
    arrays = (model, rows, cond, null, key, pairs)
    mesh = mesh_of(arrays)
    if mesh is None:
        trained = _train(arrays, optimizer, settings, folder, progress)
    else:
        auto = checked_mesh(mesh)
        with alone_on(auto, ()):
            trained = _train(with_axes_of(auto, arrays), optimizer, settings, folder, progress)
        if not jax.sharding.get_abstract_mesh().empty:
            trained = with_axes_of(mesh, trained)
    if spec is None:
        return trained
    last, average = unwrapped(trained.field.field), unwrapped(trained.ema_field.field)
    return dataclasses.replace(trained, field=last, ema_field=average)


def _train(
    arrays: tuple[PyTree, ...],
    optimizer: "optax.GradientTransformation",
    settings: _Settings,
    folder: Path | None,
    progress: bool | None,
) -> FitResult:
    field, rows, cond, null, key, coupling = arrays
    num_steps, batch_size, cond_dropout, ema, checkpoint_every, checkpoints_kept = settings
    parameters, static = split_field(field)
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, parameters)
    share = jnp.asarray(cond_dropout, jnp.float32)
    problem = Problem(
        static, dtypes, rows, cond, null, share, key, optimizer, batch_size, ema, coupling
    )
    state = initial_state(parameters, optimizer)
    made_with = stored_settings(problem, field, parameters, state.optimizer) if folder else {}
    losses = np.zeros(0, np.float32)
    if folder is not None and (latest := latest_step(folder)) is not None:
        state, losses = resume(folder, latest, state, made_with)
    step = resumed_at = int(state.step)
    expected = f"be at least the {step} that were already taken"
    require(num_steps >= step, "num_steps", num_steps, expected)
    chunk = 1
    with (
        deferred_interrupt() as interrupted,
        progress_bar("training", num_steps, done=step, show=progress) as update,
    ):
        while step < num_steps:
            checkpoint = (step // checkpoint_every + 1) * checkpoint_every
            stop = min(step + chunk, num_steps, checkpoint)
            start = time.monotonic()
            state, buffer = advance(problem, state, jnp.asarray(stop))
            recent = np.asarray(buffer)[: stop - step]
            _require_finite(recent, state.field, step, folder)
            losses, step = np.concatenate([losses, recent]), stop
            if time.monotonic() - start < SECONDS_PER_CALL:
                chunk = min(2 * chunk, LOSS_BUFFER)
            update(step, f"loss {recent.mean():.4g}")
            is_stopping = interrupted()
            if folder is not None and (step in (checkpoint, num_steps) or is_stopping):
                about = {"settings": made_with, "field": describe_field(field)}
                trees = state._asdict() | {"history": losses}
                write_checkpoint(folder, step, about, trees, checkpoints_kept)
            if is_stopping:
                advice = "" if folder is None else f"; it goes on from {folder}"
                raise KeyboardInterrupt(f"training stopped after {step} steps{advice}")
    trained = field_of(problem, state.field)
    average = trained if ema is None else field_of(problem, state.ema)
    return FitResult(trained, average, TrainingHistory(losses[:num_steps]), resumed_at)


@jax.jit
def _are_finite(parameters: PyTree[jax.Array]) -> jax.Array:
    finite = jnp.array(True)
    for leaf in jax.tree.leaves(parameters):
        finite &= jnp.all(jnp.isfinite(leaf))
    return finite


def _require_finite(
    losses: np.ndarray, parameters: PyTree[jax.Array], start: int, folder: Path | None
) -> None:
    not_finite = np.flatnonzero(~np.isfinite(losses))
    if not_finite.size:
        culprit = f"the loss of step {start + int(not_finite[0])} is"
    elif not _are_finite(parameters):
        # A finite loss may have an infinite gradient.
        culprit = f"the parameters after {start + len(losses)} steps are"
    else:
        return
    checkpoint = "" if folder is None else f"; the last checkpoint is in {folder}"
    raise FloatingPointError(f"{culprit} not finite{checkpoint}")
