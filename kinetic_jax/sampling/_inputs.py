"""Checks of the field, the start points and their conditions."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from kinetic_jax._checks import as_array, batch_size, conditions_of, refuse_memmap, require
from kinetic_jax._mesh import checked_mesh, refuse_split
from kinetic_jax.fields import Field, as_field
from kinetic_jax.fields._field import check_inputs


def checked_inputs(field: Any, x0: Any, cond: PyTree[Any]) -> tuple[Field, Array, PyTree[Array]]:
    """The field as a pytree, x0 and cond as arrays.

    Raises:
        ValueError: if `field` is not a velocity field, x0 not a batch of float32 or float64 rows,
            `cond` of another size, one of them a memmap, or the field refuses them.
    """
    field = as_field(field)
    refuse_memmap("field", field)
    x0, cond = _checked_batch(x0, cond)
    check_inputs(field, "x0", x0, cond)
    return field, x0, cond


def mesh_for(mesh: Any, x0: Array, cond: PyTree[Any]) -> Mesh | None:
    """The mesh to sample on, if one is given.

    Raises:
        ValueError: if it is none, or has other axes than one that is set; or there is none and the
            batch is split over Explicit axes.
    """
    if mesh is not None:
        mesh, current = checked_mesh(mesh), jax.sharding.get_abstract_mesh()
        # Its results could not be used there.
        same = current.empty or current.shape_tuple == mesh.abstract_mesh.shape_tuple
        require(same, "mesh", mesh.shape, f"have the axes of the mesh that is set, {current.shape}")
        return mesh
    refuse_split("x0", x0)
    refuse_split("cond", cond)
    return None


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
    return x0, conditions_of(cond, batch_size("x0", x0), "x0")
