"""A field is known by what it computes: its arrays, and its velocity at a few points."""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from kinetic_jax._digest import digest
from kinetic_jax._json import as_number
from kinetic_jax.networks import NetworkSpec
from kinetic_jax.sampling import sample

Probes = dict[str, Any]
TIMES = (0.1, 0.5, 0.9)  # between t0 and t1
STEP = 0.1
# Between machines, a share of the greatest value; half precision rounds at 2^-8.
ROUNDINGS = ROUNDING, HALF_ROUNDING = 1e-3, 3e-2
# A velocity is a difference of positions in float32, over a step.
POSITION_ROUNDING = 1e-5


def fingerprint(field: Any, spec: NetworkSpec | None) -> str:
    """A digest of a field's arrays, and of what its network is if it is of this package."""
    known = None if spec is None else spec.to_json()
    held = eqx.filter(field, lambda leaf: isinstance(leaf, jax.Array | np.ndarray))
    text = json.dumps(known, sort_keys=True) + digest(jax.tree.leaves(held))
    return hashlib.sha256(text.encode()).hexdigest()


def probed(
    field: Callable[..., Any],
    x0: Float[Array, "probes *event"],
    cond: PyTree[Any],
    span: tuple[float, float],
) -> Probes:
    """What a field computes at a few points and times, as numbers that JSON can hold.

    A change of the field that shows in no array (another function, a number in a closure) shows
    here.

    Args:
        field: the field.
        x0: the points.
        cond: their conditions.
        span: t0 and t1, between which the field is defined.

    Returns:
        "x0" and "velocity" (times t1 − t0, a list per time): for each point the number along a
        fixed random direction, None where it is not finite; "within": how far other machines may
        be off, as a share of the greatest.
    """
    length = span[1] - span[0]
    direction = np.random.default_rng(0).normal(size=x0[0].size) / np.sqrt(max(x0[0].size, 1))

    def told(rows: np.ndarray) -> list[float | None]:
        with np.errstate(invalid="ignore", over="ignore"):
            return [as_number(value) for value in rows.reshape(len(rows), -1) @ direction]

    before = np.asarray(x0, np.float64)
    velocities = []
    with jax.default_matmul_precision("highest"):
        for share in TIMES:
            t0 = span[0] + share * length
            t1 = min(t0 + STEP * length, span[1])
            moved = sample(field, x0, cond, grid=np.array([t0, t1]), t0=t0, t1=t1).x1
            velocities.append(told((np.asarray(moved, np.float64) - before) / STEP))
    within = HALF_ROUNDING if _computes_in_half(field, x0, cond) else ROUNDING
    return {"x0": told(before), "velocity": velocities, "within": within}


def same_within_rounding(one: Probes | None, other: Probes | None) -> bool:
    """Whether two fields were the same at the probes, perhaps on two machines."""
    if one is None or other is None:
        return one is other
    within = max(one["within"], other["within"])
    x0, x0_again = (np.array(probes["x0"], np.float64) for probes in (one, other))
    floor = POSITION_ROUNDING * _greatest(x0)
    if not _close(x0, x0_again, floor) or len(one["velocity"]) != len(other["velocity"]):
        return False
    pairs = (
        (np.array(first, np.float64), np.array(second, np.float64))
        for first, second in zip(one["velocity"], other["velocity"], strict=True)
    )
    return all(_close(a, b, within * max(_greatest(a), _greatest(b)) + floor) for a, b in pairs)


def _close(a: np.ndarray, b: np.ndarray, off: float) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=off, equal_nan=True)


def _greatest(values: np.ndarray) -> float:
    return float(np.max(np.abs(np.nan_to_num(values)), initial=0.0))


def _computes_in_half(field: Callable[..., Any], x0: Array, cond: PyTree[Any]) -> bool:
    """Whether any value on the way to the velocity is of 16 bits or fewer, as its program shows."""
    one = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)  # noqa: E731
    call = lambda t, x, c: field(t, x, c)  # noqa: E731
    t = jax.ShapeDtypeStruct((), x0.dtype)
    program = jax.make_jaxpr(call)(t, one(x0), jax.tree.map(one, cond))
    return re.search(r"\bb?f(16|8_\w+)\[", str(program)) is not None
