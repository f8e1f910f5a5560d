"""Exact nearest neighbours in Euclidean distance."""

from typing import NamedTuple

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
from kinetic_jax._streaming import (
    DEFAULT_CHUNK_SIZE,
    Rows,
    as_numbers,
    checked_rows,
    checked_shards,
    to_power_of_two,
)
from kinetic_jax.metrics._neighbor_mesh import MeshSearch
from kinetic_jax.metrics._neighbor_search import Search


class Neighbors(NamedTuple):
    """The nearest rows of a reference to each query, nearest first.

    Attributes:
        distances: Euclidean distances, shape (queries, k).
        indices: numbers of the rows, shape (queries, k).
    """

    distances: Float[Array, "queries k"]
    indices: Int[Array, "queries k"]


def nearest_neighbors(
    queries: Float[ArrayLike, "queries *event"],
    reference: Rows,
    k: int = 2,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
    mesh: Mesh | None = None,
    axis: str | None = None,
) -> Neighbors:
    """The k nearest rows of `reference` to each query, nearest first; ties to the lower row.

    Streams over the reference in chunks with a running top-k, by float32 products at the highest
    precision. The candidates' distances are then computed by differences, which is accurate for
    near copies too. A query for which rounding could have hidden a neighbour is searched again by
    differences alone.

    Args:
        queries: shape (queries, *event). A query that is not finite gets NaN distances.
        reference: shape (rows, *event), finite. A NumPy memmap, or any array-like that can be
            indexed by slices and increasing lists of rows (h5py, zarr), is read in chunks.
        k: number of neighbours.
        chunk_size: rows of the reference searched together.
        progress: whether to draw a progress bar; None: on a terminal only.
        mesh: split the reference over the devices of this mesh, each of which searches its own
            rows, in one program without a bar. A memmap is read into their memory.
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
        >>> distances, indices = nearest_neighbors(jnp.array([[1.5]]), line)
        >>> distances, indices
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
    queries: ArrayLike,
    reference: Rows,
    k: int,
    *,
    names: tuple[str, str],
    chunk_size: int,
    progress: bool | None,
    mesh: Mesh | None = None,
    axis: str | None = None,
) -> Neighbors:
    """`nearest_neighbors` with other argument `names` in its errors."""
    check_progress(progress)
    refuse_memmap(names[0], queries)
    for name, rows in zip(names, (queries, reference), strict=True):
        require_known(name, rows)
    if mesh is None:
        queries = gathered(names[0], queries)
        reference = gathered(names[1], reference)
    points = flat_rows(names[0], queries)
    data = reference if hasattr(reference, "shape") else numbers(names[1], reference)
    shape = checked_rows(names[1], data)
    shards = checked_shards(mesh, axis, shape[0])
    event = np.shape(queries)[1:]
    expected = f"have the {names[1]}'s shape, {shape[1:]}"
    require(event == shape[1:], names[0], f"rows of shape {event}", expected)
    k = whole_number("k", k, 1, shape[0], why=f", the {names[1]}'s rows")
    chunk_size = whole_number("chunk_size", chunk_size, 1)
    if isinstance(data, jax.Array) and shards is None:
        data = flat_rows(names[1], data)
    dtype = np.promote_types(points.dtype, at_least_float32(np.dtype(data.dtype)))
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    if points.shape[0] == 0:
        return Neighbors(jnp.zeros((0, k), dtype), jnp.zeros((0, k), jnp.int32))
    points = points.astype(dtype)
    search: Search | MeshSearch
    if shards is None:
        search = Search(names[1], data, k, min(chunk_size, shape[0]), progress, points)
    else:
        search = MeshSearch(names[1], data, k, chunk_size, shards, points)
    distances, indices, certain = search.by_products(points)
    uncertain = np.flatnonzero(~certain)
    if uncertain.size:
        exact = search.by_differences(points[to_power_of_two(uncertain)])
        distances = distances.at[uncertain].set(exact[0][: uncertain.size])
        indices = indices.at[uncertain].set(exact[1][: uncertain.size])
    return Neighbors(distances, indices)


def flat_rows(name: str, array: ArrayLike | Rows) -> Float[Array, "rows size"]:
    """`array` as flattened rows in float32 (or float64)."""
    if not isinstance(array, jax.Array) and is_concrete(array):
        array = as_numbers(numbers(name, array))
    shape = np.shape(array)
    require(len(shape) >= 1, name, f"shape {shape}", "have a leading axis of rows")
    size = int(np.prod(shape[1:]))
    if isinstance(array, np.ndarray):  # where a change of shape costs no program
        array = array.reshape(shape[0], size)
    rows = as_array(name, array)
    is_real = not jnp.issubdtype(rows.dtype, jnp.complexfloating)
    require(is_real, name, f"dtype {rows.dtype}", "hold real numbers")
    return rows.astype(at_least_float32(rows.dtype)).reshape(shape[0], size)
