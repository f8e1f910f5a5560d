"""Exact nearest neighbours in Euclidean distance."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float, Int

from kinetic_jax._checks import (
    as_array,
    is_concrete,
    numbers,
    refuse_memmap,
    require,
    require_known,
    whole_number,
)
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import gathered, refuse_split
from kinetic_jax._progress import check_progress
from kinetic_jax.metrics._neighbor_mesh import MeshSearch
from kinetic_jax.metrics._neighbor_search import Search
from kinetic_jax.streaming import (
    DEFAULT_CHUNK_SIZE,
    as_numbers,
    checked_rows,
    checked_shards,
    to_power_of_two,
)


def nearest_neighbors(
    queries: Float[ArrayLike, "queries *event"],
    reference: Any,
    k: int = 2,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
    mesh: Mesh | None = None,
    axis: str | None = None,
) -> tuple[Float[Array, "queries {k}"], Int[Array, "queries {k}"]]:
    """The k nearest rows of `reference` to each query, nearest first; ties to the lower row.

    Streams over the reference in chunks with a running top-k, in float32 products at the highest
    precision; the winners are measured again by differences, so that distances of near copies
    are right too. A query for which rounding could have hidden a neighbour is searched again by
    differences alone.

    Args:
        queries: shape (queries, *event). A query that is not finite gets NaN distances.
        reference: shape (rows, *event), finite. A NumPy memmap, or any array-like with a shape,
            slices and rising lists of rows (h5py, zarr), is read a chunk at a time.
        k: how many neighbours.
        chunk_size: rows of the reference looked at together.
        progress: whether to draw a progress bar; None: on a terminal only.
        mesh: split the reference over the devices of a mesh, each of which searches its own rows;
            a memmap is then read into their memory. All in one program, without a bar.
        axis: the axis of the mesh to split over, if it has several.

    Returns:
        Euclidean distances and row indices, each of shape (queries, k).

    Raises:
        ValueError: if the shapes of one row differ, the reference is empty or not finite, k
            lies outside [1, rows], or there is no such mesh or axis.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import nearest_neighbors
        >>> line = jnp.array([[0.0], [1.0], [4.0]])
        >>> nearest_neighbors(jnp.array([[1.5]]), line)
        (Array([[0.5, 1.5]], dtype=float32), Array([[1, 0]], dtype=int32))
    """
    if mesh is None:
        refuse_split("queries", queries)
        refuse_split("reference", reference)
    return find_neighbors(
        queries,
        reference,
        k,
        names=("queries", "reference"),
        chunk_size=chunk_size,
        progress=progress,
        mesh=mesh,
        axis=axis,
    )


def find_neighbors(
    queries: Any,
    reference: Any,
    k: int,
    *,
    names: tuple[str, str],
    chunk_size: int,
    progress: bool | None,
    mesh: Mesh | None = None,
    axis: str | None = None,
) -> tuple[Array, Array]:
    """`nearest_neighbors` for metrics that call its arguments by other `names`.

    Raises:
        ValueError: as `nearest_neighbors`.
    """
    check_progress(progress)
    refuse_memmap(names[0], queries)
    for name, rows in zip(names, (queries, reference), strict=True):
        require_known(name, rows)
    if mesh is None:
        queries, reference = map(gathered, names, (queries, reference))
    asked = flat_rows(names[0], queries)
    data = reference if hasattr(reference, "shape") else numbers(names[1], reference)
    shape = checked_rows(names[1], data)
    shards = checked_shards(mesh, axis, shape[0])
    event, wanted = np.shape(queries)[1:], shape[1:]
    words = f"have the {names[1]}'s, {wanted}"
    require(event == wanted, names[0], f"rows of shape {event}", words)
    k = whole_number("k", k, 1, shape[0], why=f", the {names[1]}'s rows")
    chunk_size = whole_number("chunk_size", chunk_size, 1)
    if isinstance(data, jax.Array) and shards is None:
        data = flat_rows(names[1], data)
    dtype = np.promote_types(asked.dtype, at_least_float32(np.dtype(data.dtype)))
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    if asked.shape[0] == 0:
        return jnp.zeros((0, k), dtype), jnp.zeros((0, k), jnp.int32)
    asked = asked.astype(dtype)
    search: Search | MeshSearch
    if shards is None:
        search = Search(names[1], data, k, min(chunk_size, shape[0]), progress, asked)
    else:
        search = MeshSearch(names[1], data, k, chunk_size, shards, asked)
    distances, indices, certain = search.by_products(asked)
    doubtful = np.flatnonzero(~certain)
    if doubtful.size:
        count = doubtful.size
        again = search.by_differences(asked[to_power_of_two(doubtful)])
        distances = distances.at[doubtful].set(again[0][:count])
        indices = indices.at[doubtful].set(again[1][:count])
    finite = jnp.all(jnp.isfinite(asked), axis=1, keepdims=True)
    return jnp.where(finite, distances, jnp.nan), indices


def flat_rows(name: str, array: Any) -> Float[Array, "rows size"]:
    """`array` as float32 (or float64) rows of one number each per dimension.

    Raises:
        ValueError: if it is no array of real numbers with a leading axis.
    """
    if not isinstance(array, jax.Array) and is_concrete(array):
        array = as_numbers(numbers(name, array))
    shape = np.shape(array)
    require(len(shape) >= 1, name, f"shape {shape}", "have a leading axis of rows")
    rows = as_array(name, array)
    real = not jnp.issubdtype(rows.dtype, jnp.complexfloating)
    require(real, name, f"dtype {rows.dtype}", "hold real numbers")
    size = int(np.prod(shape[1:]))
    return rows.astype(at_least_float32(rows.dtype)).reshape(rows.shape[0], size)
