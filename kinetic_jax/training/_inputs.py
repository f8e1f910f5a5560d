"""Validation of the arguments of `fit`."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import (
    as_array,
    as_arrays,
    batch_size,
    real_number,
    refuse_memmap,
    require,
    require_between,
    require_finite,
    whole_number,
)
from kinetic_jax.fields import Field
from kinetic_jax.fields._field import check_inputs


class Settings(NamedTuple):
    """The numeric arguments of `fit`."""

    steps: int
    batch_size: int
    checkpoint_every: int
    checkpoints_kept: int
    cond_dropout: float
    ema: float | None


def checked_settings(
    steps: Any,
    batch_size: Any,
    checkpoint_every: Any,
    checkpoints_kept: Any,
    cond_dropout: Any,
    ema: Any,
) -> Settings:
    """Validates the numeric arguments and converts them to Python numbers.

    Raises:
        ValueError: naming the argument that has the wrong type or is out of range.
    """
    settings = Settings(
        whole_number("steps", steps, 0),
        whole_number("batch_size", batch_size, 1),
        whole_number("checkpoint_every", checkpoint_every, 1),
        whole_number("checkpoints_kept", checkpoints_kept, 1),
        real_number("cond_dropout", cond_dropout),
        None if ema is None else real_number("ema", ema),
    )
    require_between("cond_dropout", settings.cond_dropout, 0.0, 1.0, closed=True)
    decay = settings.ema
    require(decay is None or 0 <= decay < 1, "ema", ema, "be None or lie in [0, 1)")
    return settings


def checked_data(
    field: Field, data: ArrayLike, cond: PyTree[Any], null_cond: PyTree[Any]
) -> tuple[Float[Array, "rows *event"], PyTree[Any], PyTree[Any]]:
    """Validates data, conditions and the null condition and converts them to arrays.

    Raises:
        ValueError: naming the argument that has the wrong type or does not fit the others.
    """
    refuse_memmap("data", data)
    refuse_memmap("cond", cond)
    rows = as_array("data", data)
    require(jnp.issubdtype(rows.dtype, jnp.floating), "data", f"dtype {rows.dtype}", "be floating")
    require(rows.ndim >= 1 and rows.shape[0] >= 1, "data", f"shape {rows.shape}", "have rows")
    require_finite("data", rows)
    if cond is not None:
        number = batch_size("cond", cond)
        require(number == rows.shape[0], "cond", f"{number} rows", f"have {rows.shape[0]}, as data")
    holds_numbers = null_cond is None or bool(jax.tree.leaves(null_cond))
    require(holds_numbers, "null_cond", null_cond, "hold numbers")
    cond, null_cond = as_arrays("cond", cond), as_arrays("null_cond", null_cond)
    if cond is not None and null_cond is not None:
        row = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf)[1:], float), cond)
        got = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), float), null_cond)
        require(got == row, "null_cond", got, f"have the structure and shapes of one row, {row}")
        for null, leaf in zip(jax.tree.leaves(null_cond), jax.tree.leaves(cond), strict=True):
            fits = _kind(null.dtype) <= _kind(leaf.dtype)
            require(fits, "null_cond", null.dtype, f"be what {leaf.dtype} of cond can hold")
        field.check_cond(null_cond, "null_cond")
    check_inputs(field, "data", rows, cond)
    return rows, cond, null_cond


def _kind(dtype: Any) -> int:
    """The rank of a dtype: boolean, integer, floating, complex, other."""
    kinds = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
    return next((i for i, kind in enumerate(kinds) if jnp.issubdtype(dtype, kind)), len(kinds))
