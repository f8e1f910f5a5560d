"""Validation of the data and conditions of `fit`."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import (
    as_array,
    as_arrays,
    batch_size,
    refuse_memmap,
    require,
    require_finite,
    short,
)
from kinetic_jax._state import StateSpec, flat_rows, is_pytree_state, spec_of
from kinetic_jax.fields import Field
from kinetic_jax.fields._field import check_inputs
from kinetic_jax.fields._step import require_step


def checked_data(
    field: Field, data: ArrayLike, cond: PyTree, null_cond: PyTree
) -> tuple[Float[Array, "rows *event"], PyTree, PyTree]:
    """Data, conditions and null condition as arrays that fit each other and the field."""
    require_step(field, "in training")
    refuse_memmap("data", data)
    refuse_memmap("cond", cond)
    rows = as_array("data", data)
    require(jnp.issubdtype(rows.dtype, jnp.floating), "data", f"dtype {rows.dtype}", "be floating")
    require(rows.ndim >= 1 and rows.shape[0] >= 1, "data", f"shape {rows.shape}", "have rows")
    require_finite("data", rows)
    if cond is not None:
        size = batch_size("cond", cond)
        require(size == rows.shape[0], "cond", f"{size} rows", f"have {rows.shape[0]}, as data")
    holds_numbers = null_cond is None or bool(jax.tree.leaves(null_cond))
    require(holds_numbers, "null_cond", null_cond, "hold numbers")
    cond, null_cond = as_arrays("cond", cond), as_arrays("null_cond", null_cond)
    if cond is not None and null_cond is not None:
        row = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], float), cond)
        got = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, float), null_cond)
        require(got == row, "null_cond", got, f"have the structure and shapes of one row, {row}")
        for null, leaf in zip(jax.tree.leaves(null_cond), jax.tree.leaves(cond), strict=True):
            fits = _kind(null.dtype) <= _kind(leaf.dtype)
            require(
                fits, "null_cond", null.dtype, f"be representable in cond's dtype, {leaf.dtype}"
            )
        field.check_cond(null_cond, "null_cond")
    check_inputs(field, "data", rows, cond)
    return rows, cond, null_cond


def given_noise(
    name: str,
    x0: ArrayLike | PyTree[ArrayLike],
    like: str,
    rows: Float[Array, "rows *event"],
    spec: StateSpec | None,
) -> Float[Array, "rows *event"]:
    """The noise of each of the `rows`, which are the argument `like`; vectors for pytrees.

    Raises:
        ValueError: if it is not floating, a memmap, or of another shape or structure.
    """
    refuse_memmap(name, x0)
    if spec is not None:
        require(is_pytree_state(x0), name, short(x0), f"be a pytree of arrays, as {like}")
        spec_of(name, x0)
        x0 = flat_rows(name, x0, spec)
    noise = as_array(name, x0)
    require(jnp.issubdtype(noise.dtype, jnp.floating), name, f"dtype {noise.dtype}", "be floating")
    expected = f"have the shape of {like}, {rows.shape}"
    require(noise.shape == rows.shape, name, f"shape {noise.shape}", expected)
    return noise


def _kind(dtype: DTypeLike) -> int:
    """The rank of a dtype: boolean, integer, floating, complex, other."""
    kinds = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
    return next((i for i, kind in enumerate(kinds) if jnp.issubdtype(dtype, kind)), len(kinds))
