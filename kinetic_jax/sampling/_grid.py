"""Fixed time grids, and where on them a path is saved."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import (
    as_array,
    is_concrete,
    real_array,
    real_number,
    require,
    whole_number,
)

DEFAULT_NUM_STEPS = 100
_ROUNDING = 1e-6  # by which the ends of a grid and saved times may miss t0 and t1

# From i/N in [0, 1] to the fraction of the way: built in float64, so that node 60 of 100 is 0.6.
GRIDS = {
    "uniform": lambda fraction: fraction,
    "cosine": lambda fraction: (1 - np.cos(np.pi * fraction)) / 2,
}


def shifted(t: np.ndarray, shift: float) -> np.ndarray:
    """Times with the signal-to-noise ratio t / (1 − t) divided by `shift`."""
    return t / (t + shift * (1 - t))


# Those with a positive number in their name, as in "shifted:3".
NUMBERED_GRIDS = {"shifted": shifted}


def time_nodes(
    grid: str | ArrayLike | Sequence[float],
    num_steps: int | None,
    t0: object,
    t1: object,
    dtype: DTypeLike,
) -> tuple[np.ndarray | Array, float, float]:
    """The nodes of a fixed grid, in float64 (a traced grid is passed through), and its ends.

    An array of times also says where it begins and ends; `t0` and `t1` may repeat that.

    Raises:
        ValueError: if the grid is unknown, has too few nodes, does not increase in `dtype`, leaves
            [0, 1] or does not span [t0, t1], or if `num_steps` is below 1 or contradicts it.
    """
    if num_steps is not None:
        num_steps = whole_number("num_steps", num_steps, 1)
    if isinstance(grid, str):
        name, number = named_grid(grid)
        start, end = checked_span(t0, t1)
        steps = DEFAULT_NUM_STEPS if num_steps is None else num_steps
        fraction = np.arange(steps + 1) / steps
        way = GRIDS[name](fraction) if number is None else NUMBERED_GRIDS[name](fraction, number)
        named = start + (end - start) * way
        _check_increase(named, dtype)
        return named, start, end
    nodes = real_array("grid", grid) if is_concrete(grid) else as_array("grid", grid)
    shape = f"shape {nodes.shape}"
    require(nodes.ndim == 1 and nodes.size >= 2, "grid", shape, "have N + 1 >= 2 times")
    require(
        num_steps in (None, nodes.size - 1),
        "num_steps",
        num_steps,
        f"be left out or agree with the grid's {nodes.size - 1} steps",
    )
    if not isinstance(nodes, np.ndarray):
        return nodes, *checked_span(t0, t1)
    _check_increase(nodes, dtype)
    span = f"[{nodes[0]:g}, {nodes[-1]:g}]"
    inside = nodes[0] >= -_ROUNDING and nodes[-1] <= 1 + _ROUNDING
    require(bool(inside), "grid", span, "lie in [0, 1]")
    ends = np.clip(nodes[[0, -1]], 0, 1)
    start, end = checked_span(*(e if t is None else t for t, e in zip((t0, t1), ends, strict=True)))
    spans = np.allclose(ends, [start, end], rtol=0, atol=_ROUNDING)
    require(spans, "grid", span, f"span [t0, t1] = [{start:g}, {end:g}]")
    return nodes, start, end


def named_grid(grid: str) -> tuple[str, float | None]:
    """The name of a grid and its number: ("cosine", None), or ("shifted", 3.0) of "shifted:3".

    Raises:
        ValueError: if there is no such grid, or its number is not finite and positive.
    """
    name, colon, text = grid.partition(":")
    numbered = ", ".join(f"'{known}:S'" for known in NUMBERED_GRIDS)
    expected = f"be {', '.join(map(repr, GRIDS))}, {numbered} (S > 0) or an array of times"
    if name not in NUMBERED_GRIDS:
        require(grid in GRIDS, "grid", repr(grid), expected)
        return name, None
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    require(bool(colon) and 0 < number < np.inf, "grid", repr(grid), expected)
    return name, number


def shifted_grid(num_steps: int, shift: float) -> np.ndarray:
    """The grid t' = t / (t + s (1 − t)) of N uniform steps: that of `sample(grid="shifted:3")`.

    For s > 1 its steps are finer near the noise, as Stable Diffusion 3 and FLUX take them. Their
    schedulers apply the shift themselves: a grid that comes from one is shifted already.

    Args:
        num_steps: N.
        shift: s, positive; 1 is the uniform grid.

    Returns:
        N + 1 times in float64.

    Raises:
        ValueError: if `num_steps` is below 1 or `shift` not finite and positive.

    Example:
        >>> from kinetic_jax.sampling import shifted_grid
        >>> shifted_grid(4, 3.0).round(3)
        array([0.  , 0.1 , 0.25, 0.5 , 1.  ])

    References:
        Esser et al., Scaling rectified flow transformers, arXiv 2403.03206, equation 23.
    """
    num_steps, shift = whole_number("num_steps", num_steps, 1), real_number("shift", shift)
    require(shift > 0, "shift", shift, "be positive")
    return shifted(np.arange(num_steps + 1) / num_steps, shift)


def nodes_as(nodes: Array | np.ndarray, dtype: DTypeLike) -> Float[Array, " nodes"]:
    """The nodes in the dtype of a solve; known ones are cast by NumPy, which compiles nothing."""
    return jnp.asarray(nodes.astype(dtype), dtype)


def _check_increase(nodes: np.ndarray, dtype: DTypeLike) -> None:
    require(bool(np.all(np.isfinite(nodes))), "grid", nodes, "be finite")
    steps = np.diff(nodes.astype(dtype))
    if not np.all(steps > 0):
        worst = int(np.argmin(steps))
        raise ValueError(
            f"grid must increase, got {nodes[worst]:g} followed by {nodes[worst + 1]:g} "
            f"at position {worst} (in {np.dtype(dtype).name})"
        )


def checked_span(t0: object, t1: object) -> tuple[float, float]:
    """`t0` and `t1` as floats, 0 and 1 by default.

    Raises:
        ValueError: if they are traced, no numbers, or not 0 ≤ t0 < t1 ≤ 1.
    """
    if not is_concrete(t0, t1):
        raise ValueError("t0 and t1 must be numbers, got traced values: pass a traced grid instead")
    start = 0.0 if t0 is None else real_number("t0", t0)
    end = 1.0 if t1 is None else real_number("t1", t1)
    require(0 <= start < end <= 1, "t0, t1", (start, end), "satisfy 0 <= t0 < t1 <= 1")
    return start, end


def checked_save_times(save_at: ArrayLike | Sequence[float], t0: float, t1: float) -> np.ndarray:
    """The times of `save_at` in float64.

    Raises:
        ValueError: if they are traced, not a vector, do not ascend or leave [t0, t1].
    """
    if not is_concrete(save_at):
        raise ValueError("save_at must be concrete times, got a traced array")
    times = real_array("save_at", save_at)
    require(times.ndim == 1 and times.size >= 1, "save_at", f"shape {times.shape}", "be a vector")
    require(bool(np.all(np.diff(times) >= 0)), "save_at", times, "be in ascending order")
    inside = bool(np.all((t0 - _ROUNDING <= times) & (times <= t1 + _ROUNDING)))
    require(inside, "save_at", times, f"lie in [t0, t1] = [{t0:g}, {t1:g}]")
    return np.clip(times, t0, t1)


def snapped(times: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the last node at or before each time, and the times, on a node if near one.

    Times from a float32 `linspace` miss the float64 nodes by rounding; that is near.
    """
    near = min(16 * float(jnp.finfo(jnp.float32).eps), float(np.diff(nodes).min()) / 4)
    before = np.searchsorted(nodes, times + near, side="right") - 1
    return before, np.where(times - nodes[before] <= near, nodes[before], times)
