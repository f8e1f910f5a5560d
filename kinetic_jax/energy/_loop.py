"""Energy for a hand-written sampling loop: init, update, result, over a batch."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import as_array, require
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax.energy._path_energy import (
    PathEnergy,
    PhaseTotals,
    kinetic_rates,
    no_totals,
    path_energy,
    squared_norm,
)
from kinetic_jax.transforms import DEFAULT_TAU_SPLIT, checked_tau_split, is_landing


class EnergyState(eqx.Module):
    """What a loop carries along: where each path began and what it has spent."""

    x0: Float[Array, "batch *event"]
    totals: PhaseTotals
    duration: Float[Array, " batch"]
    tau_split: Float[Array, ""]


def energy_init(
    x0: Float[Array, "batch *event"], *, tau_split: ArrayLike = DEFAULT_TAU_SPLIT
) -> EnergyState:
    """The energy state of a batch of paths that begin at `x0`.

    Args:
        x0: where the paths begin, of shape (batch, *event).
        tau_split: the end of the launch, in (0, 1).

    Raises:
        ValueError: if `x0` has no batch axis, or `tau_split` lies outside (0, 1).

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
    require(x0.ndim >= 1, "x0", f"shape {x0.shape}", "have a leading batch axis")
    dtype = at_least_float32(x0.dtype)
    totals = no_totals(x0.shape[:1], dtype)
    return EnergyState(x0, totals, jnp.zeros_like(totals.length), checked_tau_split(tau_split))


def energy_update(
    state: EnergyState, u: Float[Array, "batch *event"], t: ArrayLike, dt: ArrayLike
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
        ValueError: if `u` has not the shape of x0, or `t` or `dt` is neither a number nor one
            per sample.
    """
    u = as_array("u", u)
    require(u.shape == state.x0.shape, "u", f"shape {u.shape}", f"have shape {state.x0.shape}")
    dtype = state.totals.length.dtype
    time, step = jnp.asarray(t, dtype), jnp.asarray(dt, dtype)
    for name, number in (("t", time), ("dt", step)):
        fits = number.shape in ((), u.shape[:1])
        require(fits, name, f"shape {number.shape}", f"be a number or have shape {u.shape[:1]}")
    power, speed = kinetic_rates(u, tuple(range(1, u.ndim)))
    totals = state.totals.credit(
        power.astype(dtype) * step, speed.astype(dtype) * step, is_landing(time, state.tau_split)
    )
    return EnergyState(state.x0, totals, state.duration + step, state.tau_split)


def energy_result(state: EnergyState, x1: Float[Array, "batch *event"]) -> PathEnergy:
    """The energies of the paths that arrived at `x1`, each of shape (batch,).

    The duration T of the decomposition is the sum of all `dt`.

    Raises:
        ValueError: if `x1` has not the shape of x0.
    """
    x1 = as_array("x1", x1)
    require(x1.shape == state.x0.shape, "x1", f"shape {x1.shape}", f"have shape {state.x0.shape}")
    dtype = state.totals.length.dtype  # the ends may be near, and a coarse dtype would round that
    moved = x1.astype(dtype) - state.x0.astype(dtype)
    displacement = squared_norm(moved, tuple(range(1, x1.ndim)))
    return path_energy(state.totals, displacement, state.duration)
