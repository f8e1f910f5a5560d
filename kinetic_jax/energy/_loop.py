"""Energy for a hand-written sampling loop: init, update, result, over a batch."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import float_array, real_rows, require, require_finite
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax.energy._path_energy import (
    CompensatedSum,
    PathEnergy,
    PhaseTotals,
    kinetic_rates,
    no_sum,
    no_totals,
    path_energy,
    squared_norm,
)
from kinetic_jax.transforms import DEFAULT_TAU_SPLIT, checked_tau_split, is_landing


class EnergyState(eqx.Module):
    """What a loop carries along.

    Attributes:
        x0: where each path began.
        totals: the energy it has spent.
        duration: the time it has taken.
        velocity: its first velocity.
        drift: ∫ (u − velocity) dt up to now, from which the mean velocity so far follows without
            the rounding error of a path that is long and nearly straight.
        tau_split: the end of the launch.
    """

    x0: Float[Array, "batch *event"]
    totals: PhaseTotals
    duration: CompensatedSum
    velocity: Float[Array, "batch *event"]
    drift: Float[Array, "batch *event"]
    tau_split: Float[Array, ""]


def energy_init(
    x0: Float[ArrayLike, "batch *event"], *, tau_split: ArrayLike = DEFAULT_TAU_SPLIT
) -> EnergyState:
    """The energy state of a batch of paths that begin at `x0`.

    Args:
        x0: where the paths begin, an array of shape (batch, *event).
        tau_split: the end of the launch, in (0, 1).

    Raises:
        ValueError: if `x0` is no array of real numbers with a batch axis, or `tau_split` lies
            outside (0, 1).

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import energy_init, energy_result, energy_update
        >>> x = jnp.zeros((3, 2))
        >>> state = energy_init(x)
        >>> for i in range(10):
        ...     u, t, dt = jnp.ones((3, 2)), i / 10, 1 / 10
        ...     state = energy_update(state, u, t, dt)
        ...     x = x + dt * u
        >>> energy_result(state, x).total.round(5)
        Array([1., 1., 1.], dtype=float32)
    """
    x0 = real_rows("x0", x0)
    require(x0.ndim >= 1, "x0", f"shape {x0.shape}", "have a leading batch axis")
    dtype = at_least_float32(x0.dtype)
    still = jnp.zeros(x0.shape, dtype)
    totals, duration = no_totals(x0.shape[:1], dtype), no_sum(x0.shape[:1], dtype)
    return EnergyState(x0, totals, duration, still, still, checked_tau_split(tau_split))


def energy_update(
    state: EnergyState, u: Float[ArrayLike, "batch *event"], t: ArrayLike, dt: ArrayLike
) -> EnergyState:
    """Adds `½||u||² dt` to the phase of the step's left end `t`.

    Call it once a step with the velocity of an Euler step. For a solver of several stages call it
    once a stage, with that stage's weight times the step as `dt` and the step's LEFT END as `t`
    for every stage (Heun: twice, with dt/2).

    Args:
        state: from `energy_init` or the last update.
        u: the velocity executed, of shape (batch, *event), any gain included.
        t: the left end of the step, a scalar or of shape (batch,).
        dt: the step (times the stage's weight), a scalar or of shape (batch,).

    Raises:
        ValueError: if `state` is of another kind, `u` has not the shape of x0, or `t` or `dt` is
            neither a finite number nor one per sample.
    """
    _check_state(state)
    u = real_rows("u", u)
    require(u.shape == state.x0.shape, "u", f"shape {u.shape}", f"have shape {state.x0.shape}")
    dtype, axes = state.drift.dtype, tuple(range(1, u.ndim))
    time = _of_each("t", t, u.shape[:1], dtype)
    step = jnp.broadcast_to(_of_each("dt", dt, u.shape[:1], dtype), u.shape[:1])
    power, speed = (rate.astype(dtype) for rate in kinetic_rates(u, axes))
    elapsed, duration = state.duration.value, state.duration.add(step)
    velocity = jnp.where(jnp.expand_dims(elapsed == 0, axes), u.astype(dtype), state.velocity)
    relative = u.astype(dtype) - velocity
    mean = state.drift / jnp.expand_dims(_unless_zero(elapsed), axes)
    share = elapsed / _unless_zero(duration.value)
    excess = share * squared_norm(relative - mean, axes) / 2
    return EnergyState(
        state.x0,
        state.totals.credit(
            power * step, speed * step, excess * step, is_landing(time, state.tau_split)
        ),
        duration,
        velocity,
        state.drift + jnp.expand_dims(step, axes) * relative,
        state.tau_split,
    )


def energy_result(state: EnergyState, x1: Float[ArrayLike, "batch *event"]) -> PathEnergy:
    """The energies of the paths that arrived at `x1`, each of shape (batch,).

    The duration T of the decomposition is the sum of all `dt`.

    Raises:
        ValueError: if `state` is of another kind, or `x1` has not the shape of x0.
    """
    _check_state(state)
    x1 = real_rows("x1", x1)
    require(x1.shape == state.x0.shape, "x1", f"shape {x1.shape}", f"have shape {state.x0.shape}")
    dtype = state.drift.dtype  # the ends may be near, and a coarse dtype would round that
    moved = x1.astype(dtype) - state.x0.astype(dtype)
    displacement = squared_norm(moved, tuple(range(1, x1.ndim)))
    return path_energy(state.totals, displacement, state.duration.value)


def _check_state(state: Any) -> None:
    kind = isinstance(state, EnergyState)
    require(kind, "state", type(state).__name__, "be what energy_init or energy_update returned")


def _of_each(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """A number, or one per sample."""
    number = float_array(value, name)
    if not isinstance(value, Array):  # an array on a device is not waited for
        require_finite(name, number)
    fits = number.shape in ((), shape)
    require(fits, name, f"shape {number.shape}", f"be a number or have shape {shape}")
    return number.astype(dtype)


def _unless_zero(duration: Array) -> Array:
    return jnp.where(duration == 0, jnp.ones_like(duration), duration)
