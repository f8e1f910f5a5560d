"""Energy in a hand-written sampling loop over a batch: init, update, result."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import float_array, real_rows, require, require_finite
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._norms import squared_norm
from kinetic_jax._state import StateSpec, flat_rows, is_pytree_state, spec_of
from kinetic_jax.energy._measure import (
    Frame,
    Mass,
    checked_frame,
    checked_mass,
    seen_from,
    spread_rows,
)
from kinetic_jax.energy._path_energy import (
    CompensatedSum,
    PathEnergy,
    PhaseTotals,
    excess_rate,
    kinetic_rates,
    no_sum,
    no_totals,
    path_energy,
)
from kinetic_jax.transforms._phases import DEFAULT_TAU_SPLIT, checked_tau_split, is_landing


class EnergyState(eqx.Module):
    """The state of a loop.

    Attributes:
        x0: start of each path.
        totals: energy and length so far.
        duration: time so far.
        velocity: first velocity.
        drift: ∫ (u − velocity) dt so far; the mean velocity computed from it keeps its digits on
            long, nearly straight paths.
        tau_split: the end of the launch.
        mass: weights of the squares of velocities, or None.
        frame: the velocity of the frame of the energy, or None.
        spec: the structure of states that are pytrees, else None; arrays here are flat then.
    """

    x0: Float[Array, "batch *event"]
    totals: PhaseTotals
    duration: CompensatedSum
    velocity: Float[Array, "batch *event"]
    drift: Float[Array, "batch *event"]
    tau_split: Float[Array, ""]
    mass: Float[Array, "batch *event"] | None = None
    frame: Float[Array, "batch *event"] | None = None
    spec: StateSpec | None = eqx.field(static=True, default=None)


def energy_init(
    x0: ArrayLike | PyTree[ArrayLike],
    *,
    tau_split: ArrayLike = DEFAULT_TAU_SPLIT,
    mass: Mass | None = None,
    frame: Frame | None = None,
) -> EnergyState:
    """The energy state of a batch of paths that begin at `x0`.

    Args:
        x0: start of the paths, an array of shape (batch, *event), or a pytree of such.
        tau_split: the end of the launch, in (0, 1).
        mass: weights of the energy, as in `sample`.
        frame: the velocity of the frame of the energy, as in `sample`.

    Returns:
        The state, with no energy yet, for `energy_update`.

    Raises:
        ValueError: if `x0` is not an array of real numbers with a batch axis, or a pytree of such,
            `tau_split` lies outside (0, 1), or `mass` or `frame` does not fit.

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
    spec, states, weights, velocity = None, x0, checked_mass(mass), checked_frame(frame)
    if is_pytree_state(x0):
        spec = spec_of("x0", x0)
        x0 = flat_rows("x0", x0, spec)
    x0 = real_rows("x0", x0)
    require(x0.ndim >= 1, "x0", f"shape {x0.shape}", "have a leading batch axis")
    dtype = at_least_float32(x0.dtype)
    zeros = jnp.zeros(x0.shape, dtype)
    totals, duration = no_totals(x0.shape[:1], dtype), no_sum(x0.shape[:1], dtype)
    tau, states = checked_tau_split(tau_split), x0 if spec is None else states
    own = spread_rows("mass", weights, states, spec), spread_rows("frame", velocity, states, spec)
    return EnergyState(x0, totals, duration, zeros, zeros, tau, *own, spec)


def energy_update(
    state: EnergyState, u: ArrayLike | PyTree[ArrayLike], t: ArrayLike, dt: ArrayLike
) -> EnergyState:
    """Adds `½||u||² dt` to the phase that contains the step's left end `t`.

    With Euler steps, call it once per step. With a multi-stage solver, call it once per stage,
    with `dt` the step times the weight of the stage, and `t` always the step's LEFT END (Heun:
    twice, with dt/2).

    Args:
        state: from `energy_init` or the last update.
        u: the executed velocity, including any gain, of the shape (and structure) of x0.
        t: the left end of the step, a scalar or of shape (batch,).
        dt: the step (times the stage's weight), a scalar or of shape (batch,).

    Returns:
        The state with this step added; the one passed in is unchanged.

    Raises:
        ValueError: if `state` is not an energy state, `u` does not have the shape of x0, or `t` or
            `dt` is neither a finite number nor one per sample.

    Example:
        A step of ½ with a velocity of length 5:

        >>> import jax.numpy as jnp
        >>> from kinetic_jax import energy_init, energy_result, energy_update
        >>> x, u = jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]])
        >>> state = energy_update(energy_init(x), u, 0.0, 0.5)
        >>> energy_result(state, x + 0.5 * u).total
        Array([6.25], dtype=float32)
    """
    _check_state(state)
    u = _rows_like_x0(state, "u", u)
    time = _per_sample("t", t, u.shape[:1], state.drift.dtype)
    step = _per_sample("dt", dt, u.shape[:1], state.drift.dtype)
    return _updated(state, u, time, step)


@jax.jit  # one program where a loop that is not compiled would call thirty
def _updated(state: EnergyState, u: Array, time: Array, step: Array) -> EnergyState:
    dtype, axes = state.drift.dtype, tuple(range(1, u.ndim))
    step = jnp.broadcast_to(step, u.shape[:1])
    rates = kinetic_rates(seen_from(state.frame, u), axes, state.mass)
    power, speed = (rate.astype(dtype) for rate in rates)
    elapsed, duration = state.duration.value, state.duration.add(step)
    velocity = jnp.where(jnp.expand_dims(elapsed == 0, axes), u.astype(dtype), state.velocity)
    relative = u.astype(dtype) - velocity
    times = elapsed, jnp.where(duration.value == 0, jnp.ones_like(step), duration.value)
    excess = excess_rate((1.0,), [relative], relative, state.drift, *times, state.mass, axes)
    landing = is_landing(time, state.tau_split)
    totals = state.totals.credit(power * step, speed * step, excess * step, landing)
    drift = state.drift + jnp.expand_dims(step, axes) * relative
    moved = totals, duration, velocity, drift
    return EnergyState(state.x0, *moved, state.tau_split, state.mass, state.frame, state.spec)


def energy_result(state: EnergyState, x1: ArrayLike | PyTree[ArrayLike]) -> PathEnergy:
    """The energies of paths that end at `x1`, each of shape (batch,).

    The duration T of the decomposition is the sum of all `dt`.

    Args:
        state: from the last `energy_update`.
        x1: where the paths end, of the shape (and structure) of x0.

    Returns:
        Total, launch and landing energy, displacement, excess and length of each path.

    Raises:
        ValueError: if `state` is not an energy state, or `x1` does not have the shape of x0.

    Example:
        Two steps of ½, the second of them across the first:

        >>> import jax.numpy as jnp
        >>> from kinetic_jax import energy_init, energy_result, energy_update
        >>> x, state = jnp.zeros((1, 2)), energy_init(jnp.zeros((1, 2)), tau_split=0.5)
        >>> for t, u in [(0.0, jnp.array([[2.0, 0.0]])), (0.5, jnp.array([[0.0, 2.0]]))]:
        ...     x, state = x + 0.5 * u, energy_update(state, u, t, 0.5)
        >>> energy = energy_result(state, x)
        >>> energy.total, energy.displacement, energy.excess
        (Array([2.], dtype=float32), Array([1.], dtype=float32), Array([1.], dtype=float32))
    """
    _check_state(state)
    return _result(state, _rows_like_x0(state, "x1", x1))


@jax.jit
def _result(state: EnergyState, x1: Array) -> PathEnergy:
    dtype = state.drift.dtype  # a coarse dtype would round the difference of near ends
    difference = x1.astype(dtype) - state.x0.astype(dtype)
    axes = tuple(range(1, x1.ndim))
    duration = jnp.expand_dims(state.duration.value, axes)
    displacement = squared_norm(seen_from(state.frame, difference, duration), axes, state.mass)
    return path_energy(state.totals, displacement, state.duration.value)


def _check_state(state: object) -> None:
    is_state = isinstance(state, EnergyState)
    expected = "be what energy_init or energy_update returned"
    require(is_state, "state", type(state).__name__, expected)


def _rows_like_x0(state: EnergyState, name: str, value: ArrayLike | PyTree[ArrayLike]) -> Array:
    if state.spec is not None:
        value = flat_rows(name, value, state.spec)
    rows = real_rows(name, value)
    expected = state.x0.shape
    require(rows.shape == expected, name, f"shape {rows.shape}", f"have shape {expected}")
    return rows


def _per_sample(name: str, value: ArrayLike, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """A number, or one per sample."""
    number = float_array(value, name)
    if not isinstance(value, Array):  # checking an array would wait for the device
        require_finite(name, number)
    fits = number.shape in ((), shape)
    require(fits, name, f"shape {number.shape}", f"be a number or have shape {shape}")
    return number.astype(dtype)
