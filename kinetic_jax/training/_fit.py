"""`fit`: resumable flow-matching training."""

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import require, require_key
from kinetic_jax._digest import digest
from kinetic_jax._files import PathLike, local_path
from kinetic_jax._interrupt import deferred_interrupt
from kinetic_jax._mesh import alone_on, checked_mesh, mesh_of, with_axes_of
from kinetic_jax._progress import check_progress, progress_bar
from kinetic_jax.fields import VelocityField, checked_field
from kinetic_jax.sampling import checked_probes, same_within_rounding
from kinetic_jax.training._checkpoint import describe_field
from kinetic_jax.training._identity import identity_of
from kinetic_jax.training._inputs import Settings, checked_data, checked_settings
from kinetic_jax.training._step import (
    LOSS_BUFFER,
    Problem,
    TrainingState,
    advance,
    field_of,
    initial_state,
    split_field,
)
from kinetic_jax.training._storage import (
    latest_step,
    make_folder,
    read_about,
    read_tree,
    write_checkpoint,
)

if TYPE_CHECKING:
    import optax

SECONDS_PER_CALL = 0.5  # target duration of a compiled call between progress updates


class FitResult(NamedTuple):
    """The result of `fit`.

    Attributes:
        field: the trained field.
        ema_field: the field with the moving average of its weights, for sampling.
        history: mean loss of each step's batch, shape (steps,).
        resumed_at: number of steps taken by earlier runs; 0 for a new run.
    """

    field: Any
    ema_field: Any
    history: np.ndarray
    resumed_at: int


def fit(
    field: VelocityField,
    data: Float[ArrayLike, "rows *event"],
    *,
    key: PRNGKeyArray,
    steps: int,
    optimizer: "optax.GradientTransformation",
    batch_size: int,
    cond: PyTree[Any] | None = None,
    cond_dropout: float = 0.0,
    null_cond: PyTree[Any] | None = None,
    ema: float | None = 0.999,
    checkpoint_dir: PathLike | None = None,
    checkpoint_every: int = 1000,
    checkpoints_kept: int = 2,
    progress: bool | None = None,
) -> FitResult:
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
            field (including α0, β0 and τ of a `kts` field). A network runs in evaluation mode.
        data: shape (rows, *event), in memory, in the field's scale; may be split over the devices
            of a mesh.
        key: a JAX random key.
        steps: total number of steps, including those of earlier runs.
        optimizer: an Optax optimizer; it also receives the loss (`value=`, `grad=` and
            `value_fn=`). Gradients of complex weights are conjugated, as Optax expects. A resumed
            run needs the same optimizer; a different one is detected only if the structure of its
            state differs.
        batch_size: rows per step.
        cond: a pytree with one entry per row on every leaf (class labels, say), or None.
        cond_dropout: share of samples that receive `null_cond` instead of their own condition, for
            classifier-free guidance; in [0, 1].
        null_cond: the condition of ONE sample that means "none"; the field's own by default.
        ema: decay of the moving average of the weights, in [0, 1); step s uses
            min(ema, (1 + s)/(10 + s)). None: no average.
        checkpoint_dir: folder for checkpoints; the run resumes from the newest one.
        checkpoint_every: steps between two checkpoints; the last step writes one as well.
        checkpoints_kept: number of checkpoints to keep, the newest.
        progress: draw a bar with loss and time left; None: on a terminal only.

    Raises:
        ValueError: for empty or non-finite data, a memmap, rows of `cond` that differ from those
            of `data`, settings out of range, `steps` below those already taken; naming the setting
            that differs from the checkpoints'; naming a damaged checkpoint.
        OSError: naming the checkpoint, if it cannot be written (on a full disk, say).
        FloatingPointError: if the loss or a parameter is not finite. The last checkpoint is kept.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from kinetic_jax import fit
        >>> from kinetic_jax.networks import network_field
        >>> key = jax.random.key(0)
        >>> data = jax.random.normal(key, (64, 2)) * 0.1 + 3.0
        >>> field = network_field("mlp", (2,), key=key, width=32, depth=1)
        >>> result = fit(field, data, key=key, steps=200, optimizer=optax.adam(1e-2), batch_size=64)
        >>> bool(result.history[-20:].mean() < result.history[:20].mean())
        True
    """
    folder = None if checkpoint_dir is None else local_path("checkpoint_dir", checkpoint_dir)
    field = checked_field(field)
    require_key("key", key)
    is_optimizer = all(callable(getattr(optimizer, name, None)) for name in ("init", "update"))
    require(is_optimizer, "optimizer", repr(optimizer), "be an optax.GradientTransformation")
    null = getattr(field, "null_cond", None) if null_cond is None else null_cond
    rows, cond, null = checked_data(field, data, cond, null)
    settings = checked_settings(
        steps, batch_size, checkpoint_every, checkpoints_kept, cond_dropout, ema
    )
    require(
        settings.cond_dropout == 0 or (cond is not None and null is not None),
        "cond_dropout",
        cond_dropout,
        "be 0 without cond and a null_cond",
    )
    check_progress(progress)
    split_field(field)  # refuses a field without parameters before a folder is created
    if folder is not None:
        make_folder("checkpoint_dir", folder)
    arrays = (field, rows, cond, null, key)
    mesh = mesh_of(arrays)
    if mesh is None:
        return _train(arrays, optimizer, settings, folder, progress)
    auto = checked_mesh(mesh)
    with alone_on(auto, ()):
        result = _train(with_axes_of(auto, arrays), optimizer, settings, folder, progress)
    inside = not jax.sharding.get_abstract_mesh().empty
    return with_axes_of(mesh, result) if inside else result


def _train(
    arrays: tuple[Any, ...],
    optimizer: "optax.GradientTransformation",
    settings: Settings,
    folder: Path | None,
    progress: bool | None,
) -> FitResult:
    field, rows, cond, null, key = arrays
    steps, batch_size, checkpoint_every, checkpoints_kept, cond_dropout, ema = settings
    parameters, static = split_field(field)
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, parameters)
    dropout = jnp.asarray(cond_dropout, jnp.float32)
    problem = Problem(static, dtypes, rows, cond, null, dropout, key, optimizer, batch_size, ema)
    state = initial_state(parameters, optimizer)
    made_with = _settings(problem, field, parameters, state.optimizer) if folder else {}
    history = np.zeros(0, np.float32)
    if folder is not None and (latest := latest_step(folder)) is not None:
        state, history = _resume(folder, latest, state, made_with)
    resumed_at = saved = int(state.step)
    require(steps >= saved, "steps", steps, f"be at least the {saved} that were already taken")

    def save(at: int) -> None:
        nonlocal saved
        if folder is None or at == saved:
            return
        about = {"settings": made_with, "field": describe_field(field)}
        trees = state._asdict() | {"history": history}
        write_checkpoint(folder, at, about, trees, checkpoints_kept)
        saved = at

    chunk, now = 1, int(state.step)
    with (
        deferred_interrupt() as interrupted,
        progress_bar("training", steps, done=now, show=progress) as update,
    ):
        while now < steps:
            mark = (now // checkpoint_every + 1) * checkpoint_every
            stop = min(now + chunk, steps, mark)
            began = time.monotonic()
            state, losses = advance(problem, state, jnp.asarray(stop))
            recent = np.asarray(losses)[: stop - now]
            _require_finite_loss(recent, now, folder)
            _require_finite_parameters(state.field, stop, folder)
            history, now = np.concatenate([history, recent]), stop
            if time.monotonic() - began < SECONDS_PER_CALL:
                chunk = min(2 * chunk, LOSS_BUFFER)
            update(now, f"loss {recent.mean():.4g}")
            if now in (mark, steps) or interrupted():
                save(now)
            if interrupted():
                kept = "" if folder is None else f"; it goes on from {folder}"
                raise KeyboardInterrupt(f"training stopped after {now} steps{kept}")
    trained = field_of(problem, state.field)
    average = trained if ema is None else field_of(problem, state.ema)
    return FitResult(trained, average, history[:steps], resumed_at)


def _settings(
    problem: Problem, field: VelocityField, parameters: PyTree[Any], optimizer_state: PyTree[Any]
) -> dict[str, Any]:
    """The settings that a resumed run must share, as JSON values."""
    key = problem.key
    state_leaves = jax.tree.leaves_with_path(optimizer_state)
    settings = {
        "data": digest([problem.data]),
        "cond": digest(jax.tree.leaves(problem.cond)),
        "null_cond": digest(jax.tree.leaves(problem.null_cond)),
        "key": digest([key]),
        "generator": str(jax.random.key_impl(key)),
        "batch_size": problem.batch_size,
        "cond_dropout": float(problem.cond_dropout),
        "ema": problem.ema,
        "field": describe_field(field),
        # The names of its arrays; the printed structure contains addresses.
        "optimizer": hashlib.sha256(
            "".join(jax.tree_util.keystr(path) for path, _ in state_leaves).encode()
        ).hexdigest(),
    }
    if settings["field"] is None:  # a field without a description
        settings |= identity_of(problem, parameters)
    return json.loads(json.dumps(settings))


def _resume(
    folder: Path, step: int, like: TrainingState, settings: dict[str, Any]
) -> tuple[TrainingState, np.ndarray]:
    made_with = read_about(folder, step).settings
    if made_with is None:
        raise ValueError(
            f"checkpoint_dir must hold checkpoints of fit, got a saved field: {folder}"
        )
    differing = [name for name in settings if not _is_same(name, made_with, settings)]
    if differing:
        name = differing[0]
        before, now = made_with.get(name), settings[name]
        name = "field" if name in ("arrays", "probes") else name
        # Arrays and optimizers are stored as digests, which would not help a reader.
        readable = differing[0] in ("batch_size", "cond_dropout", "ema", "field")
        values = f", {before!r}, got {now!r}" if readable else ", got another"
        raise ValueError(
            f"{name} must be what the checkpoints in {folder} were made with{values}: resume with "
            "the same settings or choose another folder"
        )
    trees = {name: read_tree(folder, step, name, tree) for name, tree in like._asdict().items()}
    history = read_tree(folder, step, "history", jax.ShapeDtypeStruct((step,), jnp.float32))
    return TrainingState(**trees), np.asarray(history)


def _is_same(name: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    if name in ("arrays", "probes") and before.get(name) is None:
        return True  # written by a version that stored none
    if name == "probes":
        return same_within_rounding(checked_probes(before[name]), now[name])
    return before.get(name) == now[name]


def _require_finite_loss(losses: np.ndarray, start: int, folder: Path | None) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        raise FloatingPointError(
            f"the loss of step {start + int(bad[0])} is not finite{_kept(folder)}"
        )


def _require_finite_parameters(parameters: PyTree[Any], now: int, folder: Path | None) -> None:
    # A finite loss may have an infinite gradient.
    if not all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(parameters)):
        raise FloatingPointError(f"the parameters after {now} steps are not finite{_kept(folder)}")


def _kept(folder: Path | None) -> str:
    return f"; the last checkpoint is in {folder}" if folder is not None else ""
