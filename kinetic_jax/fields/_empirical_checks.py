"""Checks of the arguments of `EmpiricalField`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from kinetic_jax._checks import (
    as_array,
    float_array,
    is_concrete,
    numbers,
    require,
    require_between,
    require_finite,
    require_known,
)
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._streaming import lowest


def checked_labels(labels: ArrayLike, rows: int) -> Int[Array, " rows"]:
    """Classes as int32.

    Raises:
        ValueError: if they are no whole numbers from 0 to 2³¹ − 1, one a row.
    """
    given: Any = numbers("labels", labels) if is_concrete(labels) else jnp.asarray(labels)
    whole = jnp.issubdtype(given.dtype, jnp.integer)
    require(whole, "labels", f"dtype {given.dtype}", "be whole numbers")
    require(given.shape == (rows,), "labels", f"shape {given.shape}", f"have shape {(rows,)}")
    if is_concrete(given):
        require(int(given.min()) >= 0, "labels", given.min(), "not be negative")
        require(int(given.max()) < 2**31, "labels", given.max(), "be below 2³¹")
    return jnp.asarray(given.astype(np.int32))


def checked_log_weights(weights: ArrayLike, rows: int) -> Float[Array, " rows"]:
    """Logarithms of weights, the lowest number for a weight of 0.

    Raises:
        ValueError: if they are no finite numbers, one a row, none negative and one positive.
    """
    given = float_array(weights, "weights").astype(jax.dtypes.canonicalize_dtype(float))
    require(given.shape == (rows,), "weights", f"shape {given.shape}", f"have shape {(rows,)}")
    require_finite("weights", given)
    if is_concrete(given):
        values = np.asarray(given)
        require(bool(np.all(values >= 0)), "weights", values.min(), "not be negative")
        require(bool(np.any(values > 0)), "weights", "zeros alone", "be positive somewhere")
    positive = given > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, given, 1.0)), lowest(given.dtype))


def check_classes(name: str, cond: ArrayLike, labels: Int[Array, " rows"]) -> None:
    """Checks that classes are −1 or those of rows.

    Raises:
        ValueError: naming the classes that have no rows.
    """
    given, known = np.unique(numbers(name, cond)), np.unique(np.asarray(labels))
    require(given.dtype.kind in "iu", name, given, "be whole numbers, classes")
    unknown = given[(given != -1) & ~np.isin(given, known)]
    require(not unknown.size, name, unknown, f"be classes that have rows, or −1: {known}")


def checked_batch(
    t: Any, x: Any, cond: Any, event: tuple[int, ...]
) -> tuple[Array, Array, Array | None]:
    """Times (batch,), points (batch, size) and classes (batch,) of a batch.

    Raises:
        ValueError: if the points are no batch of events, or times or classes are not one a point.
    """
    require_between("t", numbers("t", t), 0.0, 1.0, closed=True)
    require_known("x", x)
    points = float_array(x, "x")
    points = points.astype(at_least_float32(points.dtype))
    shape = points.shape
    require(
        shape[1:] == event and len(shape) > len(event),
        "x",
        f"shape {shape}",
        f"have shape (batch, {', '.join(map(str, event))})",
    )
    require(shape[0] >= 1, "x", f"shape {shape}", "have points")
    times = float_array(t, "t").astype(points.dtype)
    fits = times.shape in ((), shape[:1])
    require(fits, "t", f"shape {times.shape}", f"be a number or have shape {shape[:1]}")
    times, points = jnp.broadcast_to(times, shape[:1]), points.reshape(shape[0], -1)
    if cond is None:
        return times, points, None
    classes = as_array("cond", cond)
    one = classes.shape in ((), (1,), shape[:1])
    require(one, "cond", f"shape {classes.shape}", f"be a class or have shape {shape[:1]}")
    return times, points, jnp.broadcast_to(classes, shape[:1])
