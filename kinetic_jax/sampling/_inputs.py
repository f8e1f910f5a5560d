"""What is integrated: a field, where its paths begin, and their conditions."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from kinetic_jax._checks import as_array, batch_size, refuse_memmap, require
from kinetic_jax.fields import check_inputs, checked_field


def checked_inputs(field: Any, x0: Any, cond: PyTree[Any]) -> tuple[Any, Array, PyTree[Any]]:
    """The field as a pytree, x0 and cond as arrays.

    Raises:
        ValueError: if `field` is no velocity field, x0 no batch of float32 or float64 rows, `cond`
            of another size, one of them a memmap, or the field refuses them.
    """
    field = checked_field(field)
    refuse_memmap("field", field)
    x0, cond = _checked_batch(x0, cond)
    check_inputs(field, "x0", x0, cond)
    return field, x0, cond


def _checked_batch(x0: Any, cond: PyTree[Any]) -> tuple[Array, PyTree[Any]]:
    refuse_memmap("x0", x0)
    refuse_memmap("cond", cond)
    x0 = as_array("x0", x0)
    require(
        x0.dtype in (jnp.float32, jnp.float64),
        "x0",
        f"dtype {x0.dtype}",
        "be float32 or float64, in which paths are integrated (a network may run in bfloat16)",
    )
    size = batch_size("x0", x0)
    if cond is not None:
        given = batch_size("cond", cond)
        require(given == size, "cond", f"{given} rows", f"have as many rows as x0, {size}")
    return x0, jax.tree.map(jnp.asarray, cond)
