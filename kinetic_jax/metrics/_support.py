"""How dense the data are around a sample."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import (
    is_concrete,
    numbers,
    real_number,
    refuse_memmap,
    require,
    require_known,
    whole_number,
)
from kinetic_jax._mesh import gathered
from kinetic_jax._progress import check_progress
from kinetic_jax.fields import EmpiricalField, posterior_on_batch
from kinetic_jax.metrics._neighbors import find_neighbors, flat_rows
from kinetic_jax.streaming import (
    DEFAULT_CHUNK_SIZE,
    center_of,
    checked_rows,
    read_rows,
    require_finite_rows,
    row_chunks,
)


def knn_support(
    x: Float[ArrayLike, "n *event"],
    reference: Any,
    k: int = 10,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> Float[Array, " n"]:
    """Minus the mean Euclidean distance to the k nearest rows of `reference`: higher is denser.

    Args:
        x: shape (n, *event); a row that is not finite gets NaN. A row of the reference itself
            counts as its own neighbour.
        reference: as in `nearest_neighbors`, which says more of the other arguments.
        k: how many neighbours.
        chunk_size: rows of the reference looked at together.
        progress: whether to draw a progress bar; None: on a terminal only.

    Raises:
        ValueError: as `nearest_neighbors`.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import knn_support
        >>> line = jnp.array([[0.0], [1.0], [2.0], [9.0]])
        >>> knn_support(jnp.array([[1.0], [9.0]]), line, k=2)
        Array([-0.5, -3.5], dtype=float32)
    """
    distances, _ = find_neighbors(
        x, reference, k, names=("x", "reference"), chunk_size=chunk_size, progress=progress
    )
    return -jnp.mean(distances, axis=1)


def kde_support(
    x: Float[ArrayLike, "n *event"],
    reference: Any,
    bandwidth: float | None = None,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> Float[Array, " n"]:
    """Log density of a Gaussian kernel estimate of the reference, in nats: higher is denser.

    `logsumexp_i(−||x − r_i||²/(2h²)) − log N − d log h − (d/2) log 2π`.

    It is the bridge density of the empirical flow: at t = 1/(1 + h) that of t x, plus d log t.
    Inside `jit` or `grad`, with its arrays in memory, it is one program, and differentiable.

    Args:
        x: shape (n, *event).
        reference: shape (rows, *event); a memmap is read a chunk at a time.
        bandwidth: h, at least 0.001. Default: Scott's rule with one spread for all dimensions,
            `h = N^{−1/(d + 4)} √(mean variance)`; in many dimensions it is nearly that spread.
        chunk_size: rows of the reference looked at together.
        progress: whether to draw a progress bar; None: on a terminal only.

    Raises:
        ValueError: for a bandwidth out of range, references that are empty or not finite, rows of
            different shapes, or a reference without spread and no bandwidth.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import kde_support
        >>> line = jnp.array([[0.0], [1.0], [9.0]])
        >>> print(kde_support(jnp.array([[0.5], [9.0]]), line, bandwidth=1.0).round(1))
        [-1.4 -2. ]

    References:
        Scott, Multivariate density estimation, 1992.
    """
    check_progress(progress)
    refuse_memmap("x", x)
    x, reference = gathered("x", x), gathered("reference", reference)
    points = flat_rows("x", x)
    data = reference if hasattr(reference, "shape") else numbers("reference", reference)
    shape, event = checked_rows("reference", data), np.shape(x)[1:]
    require(event == shape[1:], "x", f"rows of shape {event}", f"have the reference's, {shape[1:]}")
    chunk_size = whole_number("chunk_size", chunk_size, 1)
    if bandwidth is None:
        with jax.ensure_compile_time_eval():  # the rows are known inside a trace of x too
            width = scott_bandwidth(data, chunk_size=chunk_size)
        require(width >= 1e-3, "reference", f"a bandwidth of {width:g} by Scott's rule",
                "have more spread, or come with a bandwidth")  # fmt: skip
    else:
        width = real_number("bandwidth", bandwidth)
        require(width >= 1e-3, "bandwidth", width, "be >= 0.001")
    time = jnp.asarray(1 / (1 + width), points.dtype)
    if is_concrete(points, data):
        center = center_of(read_rows(data, slice(0, chunk_size))).astype(points.dtype)
        found = posterior_on_batch(
            data, None, None, jnp.broadcast_to(time, points.shape[:1]),
            time * (points - center[None, :]), None, center=center, relative=True,
            chunk_size=chunk_size, progress=progress, name="reference",
        )  # fmt: skip
        norm = np.log(shape[0]) + points.shape[1] * (np.log(width) + np.log(2 * np.pi) / 2)
        return found.log_sum - jnp.asarray(norm, points.dtype)
    rows = flat_rows("reference", data)
    center = jax.lax.stop_gradient(rows[0])
    field = EmpiricalField(rows - center[None, :], chunk_size=chunk_size)
    moved = time * (points - center.astype(points.dtype)[None, :])
    found = jax.lax.map(lambda point: field.log_density(time, point), moved, batch_size=256)
    return found + points.shape[1] * float(np.log(1 / (1 + width)))


def scott_bandwidth(reference: Any, *, chunk_size: int = DEFAULT_CHUNK_SIZE) -> float:
    """`N^{−1/(d + 4)} √(mean variance of a dimension)`, in one pass over the rows."""
    require_known("reference", reference)
    data = reference if hasattr(reference, "shape") else numbers("reference", reference)
    shape = checked_rows("reference", data)
    size = int(np.prod(shape[1:]))
    total, squares, origin = np.zeros(size), 0.0, None
    for chunk in row_chunks(data, chunk_size, np.dtype(np.float32), None):
        first, (start, stop) = chunk.first, chunk.new
        require_finite_rows("reference", start, chunk.squares[start - first : stop - first])
        rows = np.asarray(chunk.rows[start - first : stop - first], np.float64)
        origin = rows.mean(axis=0) if origin is None else origin
        total += (rows - origin).sum(axis=0)
        squares += float(((rows - origin) ** 2).sum())
    variance = (squares - float((total**2).sum()) / shape[0]) / max(shape[0] - 1, 1) / size
    return float(shape[0] ** (-1 / (size + 4)) * np.sqrt(max(variance, 0.0)))
