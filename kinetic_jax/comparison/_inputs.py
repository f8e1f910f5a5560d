"""Checks of the arguments of `compare`, before anything compiles."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import diffrax
import numpy as np
from jaxtyping import ArrayLike, PRNGKeyArray, PyTree

from kinetic_jax._checks import (
    conditions_of,
    fraction,
    numbers,
    real_number,
    require,
    require_finite,
    require_key,
    require_known,
    short,
    whole_number,
    whole_numbers,
)
from kinetic_jax._files import PathLike, local_path
from kinetic_jax._state import EventShape
from kinetic_jax.comparison._measure import (
    Data,
    Settings,
    features_of,
    sampled,
    snap_scores,
)
from kinetic_jax.comparison._table import percent
from kinetic_jax.copies._checkpoints import share_snapped
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.metrics import memorization, transport_bounds
from kinetic_jax.metrics._features import Embedding
from kinetic_jax.metrics._intervals import wilson

Name: TypeAlias = int | str
FEWER = (5, 10, 20, 50)
BEFORE_COPYING = "be a model from before copying"


def in_order(fields: Mapping[Name, VelocityField]) -> list[Name]:
    """The keys of the models, steps in increasing order.

    Raises:
        ValueError: if there are fewer than two, or they are neither all steps nor all names.
    """
    is_mapping = isinstance(fields, Mapping)
    require(is_mapping, "fields", short(fields), "hold models by training step or by name")
    keys = list(fields)
    require(len(keys) >= 2, "fields", f"{len(keys)}", "hold at least two models")
    are_steps = all(isinstance(key, int) and not isinstance(key, bool) for key in keys)
    are_names = all(isinstance(key, str) for key in keys)
    require(are_steps or are_names, "fields", short(keys), "have steps as keys, or names")
    return sorted(keys) if are_steps else keys


def checked_settings(
    field: VelocityField,
    key: PRNGKeyArray,
    num_samples: int,
    cond: PyTree[Any],
    event_shape: EventShape | None,
    train: ArrayLike | None,
    num_steps: int,
    solver: diffrax.AbstractSolver | None,
    fewer: Sequence[int] | None,
    tolerance: float,
    limit: float,
    confidence: float,
    batch_size: int,
) -> Settings:
    """The settings of `compare`.

    Raises:
        ValueError: naming the argument that is out of range.
    """
    require_known("key", key)
    require_key("key", key)
    level, most = fraction("confidence", confidence), fraction("limit", limit)
    n, steps = whole_number("num_samples", num_samples, 2), whole_number("num_steps", num_steps, 2)
    # Without a single copy the interval ends at z² / (n + z²).
    end = wilson(0, n, level).high
    least = int(np.ceil((1 - most) / most * n * end / (1 - end)))
    expected = f"be at least {least} to show a share of copies below the limit, {limit:g}"
    require(end <= most, "num_samples", num_samples, expected)
    few = tuple(number for number in FEWER if number < steps)
    if fewer is not None:
        few = tuple(sorted(set(whole_numbers("fewer", fewer))))
    require(not few or few[-1] < steps, "fewer", few, f"be below num_steps, {steps}")
    allowed = real_number("tolerance", tolerance)
    require(allowed > 0, "tolerance", tolerance, "be positive")
    size = whole_number("batch_size", batch_size, 1)
    is_solver = solver is None or isinstance(solver, diffrax.AbstractSolver)
    require(is_solver, "solver", short(solver), "be an instance of a diffrax.AbstractSolver")
    shape = _shape(field, event_shape, train)
    rows = conditions_of(cond, n, "the samples")
    return Settings(key, n, rows, shape, steps, solver, few, allowed, level, size)


def _shape(
    field: VelocityField, event_shape: EventShape | None, train: ArrayLike | None
) -> tuple[int, ...]:
    shape = as_field(field, "fields").event_shape if event_shape is None else event_shape
    if shape is None and train is not None:
        shape = numbers("train", train).shape[1:]
    expected = "be given without data, if the first model declares none"
    require(shape is not None, "event_shape", None, expected)
    return whole_numbers("event_shape", shape)


def checked_data(
    train: ArrayLike | None, held_out: ArrayLike | None, embed: Embedding | None, settings: Settings
) -> Data:
    """Data of the models' shape, with the quantities that are computed from them once.

    Raises:
        ValueError: naming the data that do not fit, or an `embed` without data to embed.
    """
    if embed is not None:
        require(callable(embed), "embed", short(embed), "be a function of rows")
        require(held_out is not None, "embed", short(embed), "be given with held_out")
    rows, others = (
        None if array is None else _rows(name, array, settings.event_shape)
        for name, array in (("train", train), ("held_out", held_out))
    )
    floor = None
    if rows is not None and others is not None:
        floor = memorization(others, rows, confidence=settings.confidence, progress=False)
    return Data(
        rows,
        None if rows is None else transport_bounds(rows),
        others,
        floor,
        None if others is None else features_of("held_out", others, embed),
        embed,
    )


def _rows(name: str, array: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    rows = numbers(name, array)
    require(rows.dtype.kind != "c", name, f"dtype {rows.dtype}", "hold real numbers")
    fits = rows.shape[1:] == shape and len(rows) >= 2
    require(fits, name, f"shape {rows.shape}", f"have two or more rows of shape {shape}")
    require_finite(name, rows)
    return rows.astype(np.float32)


def checked_folder(folder: PathLike | None, embed: Embedding | None) -> Path | None:
    """The folder for reports, created if it is missing.

    Raises:
        ValueError: if it is not a folder of this machine, or reports depend on a function.
    """
    if folder is None:
        return None
    place = local_path("folder", folder)
    require(embed is None, "folder", short(folder), "be None with embed, which has no digest")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"folder must be a folder to write to, got {place}: {error}") from error
    return place


def refuse_copying_earliest(
    fields: Mapping[Name, VelocityField],
    first: Name,
    earliest: Name,
    settings: Settings,
    limit: float,
) -> None:
    """Raises a ValueError if `earliest` copies, by its snap against the first model."""
    run = sampled(fields[earliest], settings, settings.num_steps)
    scores = snap_scores(run, fields[earliest], fields[first], settings)
    scores = scores[np.isfinite(scores)]
    require(len(scores) >= 2, "earliest", earliest, "be a model whose samples are finite")
    share = share_snapped(scores, settings.confidence)
    require(
        share.low <= limit,
        "earliest",
        f"{earliest}, {percent(share.value)} of whose samples snap against {first}",
        BEFORE_COPYING,
    )
