"""Resumed runs: they must share the settings and the field of the run that they continue."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, PyTree

from kinetic_jax._digest import digest
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax.fields import VelocityField
from kinetic_jax.fields._flat import FlatField
from kinetic_jax.sampling._probes import checked_probes, held_arrays, probed, same_within_rounding
from kinetic_jax.training._checkpoint import describe_field
from kinetic_jax.training._coupling import INDEPENDENT, MINIBATCH_OT, Coupling
from kinetic_jax.training._step import Problem, TrainingState, field_of
from kinetic_jax.training._storage import read_about, read_tree

POINTS = 4
OF_OLDER_VERSIONS = {"coupling": INDEPENDENT}  # settings that their checkpoints lack


def stored_settings(
    problem: Problem, field: VelocityField, parameters: PyTree, optimizer_state: PyTree
) -> dict[str, Any]:
    """The settings that a resumed run must share, as JSON values."""
    key, state_leaves = problem.key, jax.tree.leaves_with_path(optimizer_state)
    # The names of its arrays: its structure would be printed with addresses.
    optimizer = "".join(jax.tree_util.keystr(path) for path, _ in state_leaves)
    settings = {
        "data": digest([problem.data]),
        "cond": digest(jax.tree.leaves(problem.cond)),
        "null_cond": digest(jax.tree.leaves(problem.null_cond)),
        "key": digest([key]),
        "generator": str(jax.random.key_impl(key)),
        "batch_size": problem.batch_size,
        "cond_dropout": float(problem.cond_dropout),
        "coupling": _described(problem.coupling),
        "ema": problem.ema,
        "field": describe_field(field),
        "optimizer": hashlib.sha256(optimizer.encode()).hexdigest(),
    }
    if isinstance(field, FlatField):
        leaves = jax.tree.leaves_with_path(field.spec.event_shape, is_leaf=_is_shape)
        shapes = {jax.tree_util.keystr(path): list(sides) for path, sides in leaves}
        settings |= {"data": digest([problem.data]) + json.dumps(shapes)}
    if settings["field"] is None:
        settings |= _identity_of(problem, parameters)
    return json.loads(json.dumps(settings))


def _described(coupling: Coupling) -> str:
    return coupling if isinstance(coupling, str) else digest([coupling])


def _is_shape(node: object) -> bool:
    return isinstance(node, tuple) and all(isinstance(side, int) for side in node)


def resume(
    folder: Path, step: int, like: TrainingState, settings: dict[str, Any]
) -> tuple[TrainingState, np.ndarray]:
    """The state and the losses of checkpoint `step`, which was made with the same settings."""
    made_with = read_about(folder, step).settings
    if made_with is None:
        raise ValueError(
            f"checkpoint_dir must hold checkpoints of fit, got a saved field: {folder}"
        )
    made_with = OF_OLDER_VERSIONS | made_with
    differing = [name for name in settings if not _is_same(name, made_with, settings)]
    if differing:
        name = differing[0]
        values = ", got another"  # arrays and optimizers are stored as digests
        couplings = {made_with["coupling"], settings["coupling"]}
        are_names = name == "coupling" and couplings <= {INDEPENDENT, MINIBATCH_OT}
        if are_names or name in ("batch_size", "cond_dropout", "ema", "field"):
            values = f", {made_with.get(name)!r}, got {settings[name]!r}"
        name = "field" if name in ("arrays", "probes") else name
        raise ValueError(
            f"{name} must be what the checkpoints in {folder} were made with{values}: resume with "
            "the same settings or choose another folder"
        )
    trees = {name: read_tree(folder, step, name, tree) for name, tree in like._asdict().items()}
    losses = read_tree(folder, step, "history", jax.ShapeDtypeStruct((step,), jnp.float32))
    return TrainingState(**trees), np.asarray(losses)


def _is_same(name: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    if name == "probes" and name in before:
        return same_within_rounding(checked_probes(before[name]), now[name])
    return before.get(name) == now[name]


def _identity_of(problem: Problem, parameters: PyTree[Array]) -> dict[str, object]:
    """Identifies the function that a field computes, whatever the values of `parameters`.

    Returns:
        "arrays", a digest of the untrained arrays (in closures, say), and "probes", the velocity at
        fixed points under fixed weights (see `probed`).
    """
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda leaf: _random_weights(rng, leaf.shape, leaf.dtype), parameters)
    shape, dtype = problem.data.shape[1:], problem.data.dtype
    x0 = jnp.asarray(rng.normal(size=(POINTS, *shape)), at_least_float32(dtype))
    field: VelocityField = field_of(problem, weights)

    def in_dtype_of_data(t: Array, x: Array, c: PyTree) -> Array:
        return field(t, x.astype(dtype), c)

    probed_field = field if dtype == x0.dtype else in_dtype_of_data
    cond = jax.tree.map(  # the first rows, repeated if they are fewer than `POINTS`
        lambda rows: jnp.asarray(np.resize(rows[:POINTS], (POINTS, *rows.shape[1:]))), problem.cond
    )
    return {
        "arrays": digest(held_arrays(problem.static)),
        "probes": probed(probed_field, x0, cond, (0.0, 1.0)),
    }


def _random_weights(rng: np.random.Generator, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Weights that keep activations of order 1: scaled matrices, other weights near 1/2."""
    if len(shape) < 2:
        return jnp.asarray(rng.uniform(0.25, 0.75, shape), dtype)
    inputs = max(int(np.prod(shape[:-1])), 1)
    return jnp.asarray(rng.normal(size=shape) / np.sqrt(inputs), dtype)
