"""Checks of the field, the start points, their conditions, their mass and their frame."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, PyTree

from kinetic_jax._checks import as_array, batch_size, conditions_of, refuse_memmap, require, short
from kinetic_jax._mesh import checked_mesh, refuse_split
from kinetic_jax._state import StateSpec
from kinetic_jax.energy._measure import Frame, Mass, checked_frame, checked_mass, spread_rows
from kinetic_jax.fields import Field, as_field
from kinetic_jax.fields._field import check_inputs
from kinetic_jax.fields._flat import flattened
from kinetic_jax.sampling._plan import Given
from kinetic_jax.sampling._trajectories import Trajectories


class Inputs(NamedTuple):
    """The checked arguments of `sample`: states that are pytrees are flat vectors here.

    Attributes:
        field: the field.
        x0: where paths begin, an array.
        given: conditions, masses and frames.
        spec: the structure of a state that is a pytree, else None.
    """

    field: Field
    x0: Array
    given: Given
    spec: StateSpec | None


def checked_inputs(
    field: object,
    x0: ArrayLike | PyTree[ArrayLike],
    cond: PyTree[Any],
    mass: Mass | None = None,
    frame: Frame | None = None,
    name: str = "x0",
) -> Inputs:
    """The field as a pytree; x0 (the argument `name`), cond, mass and frame as arrays.

    Raises:
        ValueError: if `field` is not a velocity field, x0 not a batch of float32 or float64 rows
            or a pytree of such, `cond` of another size, one of them a memmap, the field refuses
            them, or `mass` or `frame` does not fit.
    """
    field = as_field(field)
    refuse_memmap("field", field)
    refuse_memmap(name, x0)
    refuse_memmap("cond", cond)
    states, weights, velocity = x0, checked_mass(mass), checked_frame(frame)
    field, x0, spec = flattened(name, field, states)
    x0 = as_array(name, x0)
    states = x0 if spec is None else states
    require(
        x0.dtype in (jnp.float32, jnp.float64),
        name,
        f"dtype {x0.dtype}",
        "be float32 or float64, in which paths are integrated (a network may run in bfloat16)",
    )
    cond = conditions_of(cond, batch_size(name, x0), name)
    check_inputs(field, name, x0, cond)
    if field.manifold is not None:
        expected = "be left out on a manifold, which has an inner product of its own"
        require(mass is None, "mass", short(mass), expected)
        expected = "be left out on a manifold, where no velocity is constant"
        require(frame is None, "frame", short(frame), expected)
    own = spread_rows("mass", weights, states, spec), spread_rows("frame", velocity, states, spec)
    return Inputs(field, x0, Given(cond, *own), spec)


def restored(run: Trajectories, spec: StateSpec | None) -> Trajectories:
    """A result in the structure of the caller's x0."""
    if spec is None:
        return run
    path, x0 = (None if rows is None else spec.restored(rows) for rows in (run.path, run.x0))
    return dataclasses.replace(run, x1=spec.restored(run.x1), path=path, x0=x0)


def mesh_for(mesh: Mesh | None, x0: Array, given: Given, name: str = "x0") -> Mesh | None:
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
    refuse_split(name, x0)
    refuse_split("cond", given.cond)
    refuse_split("mass", given.mass)
    refuse_split("frame", given.frame)
    return None
