"""Fixed time grids, and where on them a path is saved."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import is_concrete, require

DEFAULT_NUM_STEPS = 100

# From i/N in [0, 1] to the fraction of the way: built in float64, so that node 60 of 100 is 0.6.
_WARPS = {
    "uniform": lambda fraction: fraction,
    "cosine": lambda fraction: (1 - np.cos(np.pi * fraction)) / 2,
}


def time_nodes(
    grid: str | ArrayLike | Sequence[float], num_steps: int | None, t0: float, t1: float, dtype: Any
) -> np.ndarray | ArrayLike:
    """The nodes of a fixed grid, in float64 (a traced grid is passed through).

    Raises:
        ValueError: if the grid is unknown, has too few nodes, does not increase in `dtype` or
            does not span [t0, t1], or if `num_steps` is below 1 or contradicts an explicit grid.
    """
    if num_steps is not None:
        whole = isinstance(num_steps, int | np.integer) and not isinstance(num_steps, bool)
        require(whole and num_steps >= 1, "num_steps", num_steps, "be a whole number >= 1")
    if isinstance(grid, str):
        require(grid in _WARPS, "grid", repr(grid), "be 'uniform', 'cosine' or an array of times")
        steps = DEFAULT_NUM_STEPS if num_steps is None else int(num_steps)
        return t0 + (t1 - t0) * _WARPS[grid](np.arange(steps + 1) / steps)
    shape = np.shape(grid)
    require(len(shape) == 1 and shape[0] >= 2, "grid", f"shape {shape}", "have N + 1 >= 2 times")
    if num_steps is not None:
        require(
            num_steps == shape[0] - 1,
            "num_steps",
            num_steps,
            f"be left out or agree with the grid's {shape[0] - 1} steps",
        )
    if not is_concrete(grid):
        return jnp.asarray(grid)
    nodes = _float64("grid", grid)
    _check_nodes(nodes, t0, t1, dtype)
    return nodes


def nodes_as(nodes: Any, dtype: Any) -> Float[Array, " nodes"]:
    """The nodes in the dtype of a solve; known ones are cast by NumPy, which compiles nothing."""
    return jnp.asarray(nodes.astype(dtype), dtype)


def _check_nodes(nodes: np.ndarray, t0: float, t1: float, dtype: Any) -> None:
    require(bool(np.all(np.isfinite(nodes))), "grid", nodes, "be finite")
    steps = np.diff(nodes.astype(dtype))
    if not np.all(steps > 0):
        worst = int(np.argmin(steps))
        raise ValueError(
            f"grid must increase, got {nodes[worst]:g} followed by {nodes[worst + 1]:g} "
            f"at position {worst} (in {np.dtype(dtype).name})"
        )
    spans = np.allclose([nodes[0], nodes[-1]], [t0, t1], rtol=0, atol=1e-6)
    require(spans, "grid", f"[{nodes[0]:g}, {nodes[-1]:g}]", f"span [t0, t1] = [{t0:g}, {t1:g}]")


def _float64(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of times, got {values!r}") from error


def checked_span(t0: ArrayLike, t1: ArrayLike) -> tuple[float, float]:
    """`t0` and `t1` as floats.

    Raises:
        ValueError: if they are traced, or not 0 ≤ t0 < t1 ≤ 1.
    """
    if not is_concrete(t0, t1):
        raise ValueError("t0 and t1 must be numbers, got traced values: pass a traced grid instead")
    start, end = float(np.asarray(t0)), float(np.asarray(t1))
    require(0 <= start < end <= 1, "t0, t1", (start, end), "satisfy 0 <= t0 < t1 <= 1")
    return start, end


def checked_save_times(save_at: ArrayLike | Sequence[float], t0: float, t1: float) -> np.ndarray:
    """The times of `save_at` in float64.

    Raises:
        ValueError: if they are traced, not a vector, do not ascend or leave [t0, t1].
    """
    if not is_concrete(save_at):
        raise ValueError("save_at must be concrete times, got a traced array")
    times = _float64("save_at", save_at)
    require(times.ndim == 1 and times.size >= 1, "save_at", f"shape {times.shape}", "be a vector")
    require(bool(np.all(np.diff(times) >= 0)), "save_at", times, "be in ascending order")
    inside = bool(np.all((t0 - 1e-6 <= times) & (times <= t1 + 1e-6)))
    require(inside, "save_at", times, f"lie in [t0, t1] = [{t0:g}, {t1:g}]")
    return np.clip(times, t0, t1)


def nodes_before(times: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Index of the last node at or before each time; a time within rounding of a node is on it."""
    tolerance = 16 * float(jnp.finfo(jnp.float32).eps)
    return np.searchsorted(nodes, times + tolerance, side="right") - 1
