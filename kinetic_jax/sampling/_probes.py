"""Probes: a field's velocity at fixed points, by which a job or a training run recognises it."""

import re
from collections.abc import Callable
from typing import Any, TypedDict

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import real_number, require, short
from kinetic_jax._dtypes import dtype_of
from kinetic_jax._json import as_number
from kinetic_jax._open import opened
from kinetic_jax._state import State
from kinetic_jax.fields import NNXField, as_field
from kinetic_jax.sampling._sample import sample

_NUMBER = 8
STEP = 1 / _NUMBER
TIMES = tuple((i + 0.5) * STEP for i in range(_NUMBER))  # between t0 and t1
MOST_TIMES = 64  # of any version
# Between machines, a share of the greatest value; half precision rounds at 2^-8.
ROUNDINGS = ROUNDING, HALF_ROUNDING = 1e-3, 3e-2
# A velocity is a difference of positions in float32, over a step.
POSITION_ROUNDING = 1e-5


class Probes(TypedDict):
    """The result of `probed`, as JSON can hold it.

    Attributes:
        x0: for each point the number along a fixed random direction, None where it is not finite.
        velocity: a list per time of such numbers.
        within: how far other machines may be off, as a share of the greatest.
    """

    x0: list[float | None]
    velocity: list[list[float | None]]
    within: float


def held_arrays(field: PyTree[Any]) -> list[Array | np.ndarray]:
    """The arrays of a field: its leaves, and those that its plain functions hold.

    (Without the random streams of Flax models, which no pure call draws from.)
    """

    def is_model(node: object) -> bool:
        return isinstance(node, NNXField)

    still = jax.tree.map(
        lambda node: node.without_streams() if is_model(node) else node, field, is_leaf=is_model
    )
    held = eqx.filter(
        opened(still, streams=False), lambda leaf: isinstance(leaf, jax.Array | np.ndarray)
    )
    return jax.tree.leaves(held)


def probed(
    field: Callable[..., Any],
    x0: State,
    cond: PyTree[Any],
    span: tuple[float, float],
) -> Probes:
    """The velocity of a field at a few points and at times all over its span.

    A change of the field that shows in no array (another function, a number in a closure) shows
    here.

    Args:
        field: the field.
        x0: the points.
        cond: their conditions.
        span: t0 and t1, between which the field is defined.
    """
    length, manifold = span[1] - span[0], as_field(field).manifold
    if manifold is not None:  # where `sample` begins
        x0 = jax.vmap(manifold.nearest)(x0)
    before = _numbers_of(x0)
    velocities = []
    with jax.default_matmul_precision("highest"):
        for share in TIMES:
            t0 = span[0] + share * length
            t1 = min(t0 + STEP / 2 * length, span[1])
            moved = sample(field, x0, cond, grid=np.array([t0, t1]), t0=t0, t1=t1).x1
            velocity = (_numbers_of(moved) - before) / (t1 - t0)
            velocities.append(_as_numbers(projected(velocity)))
    within = HALF_ROUNDING if _computes_in_half(field, x0, cond) else ROUNDING
    return {"x0": _as_numbers(projected(before)), "velocity": velocities, "within": within}


def projected(rows: PyTree[Any]) -> Float[np.ndarray, " rows"]:
    """For each row (of an array, or of all arrays of a pytree) the number along a fixed direction.

    The direction is random.
    """
    numbers = _numbers_of(rows)
    size = numbers.shape[1]
    direction = np.random.default_rng(0).normal(size=size) / np.sqrt(max(size, 1))
    with np.errstate(invalid="ignore", over="ignore"):
        return numbers @ direction


def _numbers_of(rows: PyTree[Any]) -> Float[np.ndarray, "rows size"]:
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(rows)]
    sizes = [int(np.prod(leaf.shape[1:])) for leaf in leaves]
    pairs = zip(leaves, sizes, strict=True)
    return np.concatenate([leaf.reshape(len(leaf), size) for leaf, size in pairs], axis=1)


def same_positions(one: np.ndarray, other: np.ndarray) -> bool:
    """True if points, as `projected` returns them, are the same up to rounding."""
    return _close(one, other, POSITION_ROUNDING * _greatest(one))


def same_within_rounding(one: Probes | None, other: Probes | None) -> bool:
    """True if two fields agree at the probes up to rounding, perhaps on two machines."""
    if one is None or other is None:
        return one is other
    within = max(one["within"], other["within"])
    x0, x0_again = (np.array(probes["x0"], np.float64) for probes in (one, other))
    if not same_positions(x0, x0_again) or len(one["velocity"]) != len(other["velocity"]):
        return False
    floor = POSITION_ROUNDING * _greatest(x0)
    pairs = (
        (np.array(first, np.float64), np.array(second, np.float64))
        for first, second in zip(one["velocity"], other["velocity"], strict=True)
    )
    return all(_close(a, b, within * max(_greatest(a), _greatest(b)) + floor) for a, b in pairs)


def checked_probes(value: object) -> Probes:
    """Probes that were read from a file.

    Raises:
        ValueError: naming the part that makes no sense.
    """
    names = Probes.__required_keys__
    if not isinstance(value, dict) or value.keys() != names:
        raise ValueError(f"probes must hold {sorted(names)}, got {short(value)}")
    lists = value["velocity"]
    some = isinstance(lists, list) and 1 <= len(lists) <= MOST_TIMES
    require(some, "probes.velocity", short(lists), f"hold 1 to {MOST_TIMES} lists")
    for values in (value["x0"], *lists):
        require(isinstance(values, list), "probes", short(values), "hold lists of numbers")
        for number in values:
            real_number("probes", 0 if number is None else number)
    known = value["within"] in ROUNDINGS
    require(known, "probes.within", short(value["within"]), f"be one of {ROUNDINGS}")
    return Probes(x0=value["x0"], velocity=lists, within=value["within"])


def _as_numbers(values: np.ndarray) -> list[float | None]:
    return [as_number(value) for value in values]


def _close(a: np.ndarray, b: np.ndarray, off: float) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=off, equal_nan=True)


def _greatest(values: np.ndarray) -> float:
    return float(np.max(np.abs(np.nan_to_num(values)), initial=0.0))


def _computes_in_half(field: Callable[..., Any], x0: State, cond: PyTree[Any]) -> bool:
    """True if an array on the way to the velocity has 16 bits or fewer, as its program shows."""

    def row(leaf: Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)

    t, stepping = jax.ShapeDtypeStruct((), dtype_of(x0)), as_field(field).with_step(STEP)
    one, given = jax.tree.map(row, x0), jax.tree.map(row, cond)
    program = jax.make_jaxpr(lambda t, x, c: stepping(t, x, c))(t, one, given)
    return re.search(r"\bb?f(16|8_\w+)\[\d", str(program)) is not None
