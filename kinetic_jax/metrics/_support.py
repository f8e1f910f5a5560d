"""The density of the data around a sample."""

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
from kinetic_jax._streaming import (
    DEFAULT_CHUNK_SIZE,
    Rows,
    center_of,
    checked_rows,
    read_rows,
    require_finite_rows,
    row_chunks,
)
from kinetic_jax.exact import EmpiricalField
from kinetic_jax.exact._empirical_values import posterior_on_batch
from kinetic_jax.metrics._neighbors import find_neighbors, flat_rows


def knn_support(
    x: Float[ArrayLike, "n *event"],
    reference: Rows,
    k: int = 10,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> Float[Array, " n"]:
    """The negative mean Euclidean distance to the k nearest rows of `reference`: higher is denser.

    Args:
        x: shape (n, *event); a row that is not finite gets NaN. A row that is in the reference
            is its own neighbour.
        reference: as in `nearest_neighbors`.
        k: number of neighbours.
        chunk_size: rows of the reference searched together.
        progress: whether to draw a progress bar; None: on a terminal only.

    Returns:
        The support of each row of `x`, shape (n,), at most 0, in units of the rows.

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
    reference: Rows,
    bandwidth: float | None = None,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> Float[Array, " n"]:
    """Log density of a Gaussian kernel estimate of the reference, in nats: higher is denser.

    `logsumexp_i(−||x − r_i||²/(2h²)) − log N − d log h − (d/2) log 2π`.

    Computed from the log-density of the empirical flow at t x, with t = 1/(1 + h), plus d log t.
    Under `jit` or `grad`, with arrays in memory, it is one differentiable program.

    Args:
        x: shape (n, *event).
        reference: shape (rows, *event); a memmap is read in chunks.
        bandwidth: h, at least 0.001. Default: Scott's rule with one standard deviation for all
            dimensions, `h = N^{−1/(d + 4)} √(mean variance)`.
        chunk_size: rows of the reference read together.
        progress: whether to draw a progress bar; None: on a terminal only.

    Returns:
        The log density at each row of `x`, shape (n,), in nats.

    Raises:
        ValueError: if the bandwidth is out of range, the reference is empty or not finite, the
            shapes of rows differ, or Scott's rule finds no spread.

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
    require(
        event == shape[1:],
        "x",
        f"rows of shape {event}",
        f"have the reference's shape, {shape[1:]}",
    )
    chunk_size = whole_number("chunk_size", chunk_size, 1)
    if bandwidth is None:
        with jax.ensure_compile_time_eval():  # the rows are known inside a trace of x too
            width = scott_bandwidth(data, chunk_size=chunk_size)
        got = f"a bandwidth of {width:g} by Scott's rule"
        require(width >= 1e-3, "reference", got, "have more spread, or come with a bandwidth")
    else:
        width = real_number("bandwidth", bandwidth)
        require(width >= 1e-3, "bandwidth", width, "be >= 0.001")
    time = jnp.asarray(1 / (1 + width), points.dtype)
    if is_concrete(points, data):
        center = center_of(read_rows(data, slice(0, chunk_size))).astype(points.dtype)
        posterior = posterior_on_batch(
            data,
            None,
            None,
            jnp.broadcast_to(time, points.shape[:1]),
            time * (points - center[None, :]),
            None,
            center=center,
            relative=True,
            chunk_size=chunk_size,
            progress=progress,
            name="reference",
        )
        norm = np.log(shape[0]) + points.shape[1] * (np.log(width) + np.log(2 * np.pi) / 2)
        return posterior.log_sum - jnp.asarray(norm, points.dtype)
    rows = flat_rows("reference", data)
    center = jax.lax.stop_gradient(rows[0])
    field = EmpiricalField(rows - center[None, :], chunk_size=chunk_size)
    scaled = time * (points - center.astype(points.dtype)[None, :])
    log_density = jax.lax.map(lambda x: field.log_density(time, x), scaled, batch_size=256)
    return log_density + points.shape[1] * float(np.log(1 / (1 + width)))


def scott_bandwidth(reference: Rows, *, chunk_size: int = DEFAULT_CHUNK_SIZE) -> float:
    """`N^{−1/(d + 4)} √(mean variance of a dimension)`, in one pass over the rows."""
    require_known("reference", reference)
    data = reference if hasattr(reference, "shape") else numbers("reference", reference)
    shape = checked_rows("reference", data)
    size = int(np.prod(shape[1:]))
    total, squares, origin = np.zeros(size), 0.0, None
    for chunk in row_chunks(data, chunk_size, np.dtype(np.float32), None):
        first, (start, stop) = chunk.first, chunk.new
        is_new = slice(start - first, stop - first)
        require_finite_rows("reference", start, np.asarray(chunk.squares)[is_new])
        rows = np.asarray(chunk.rows, np.float64)[is_new]
        origin = rows.mean(axis=0) if origin is None else origin
        total += (rows - origin).sum(axis=0)
        squares += float(((rows - origin) ** 2).sum())
    variance = (squares - float((total**2).sum()) / shape[0]) / max(shape[0] - 1, 1) / size
    return float(shape[0] ** (-1 / (size + 4)) * np.sqrt(max(variance, 0.0)))
