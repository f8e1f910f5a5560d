"""Energy in a Diffrax solve, as extra ODE state with the solver's own weights."""

import functools
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import as_arrays, real_rows, require
from kinetic_jax._dtypes import at_least_float32, dtype_of
from kinetic_jax._pytree import as_pytree
from kinetic_jax._state import State, is_pytree_state, require_one_dtype
from kinetic_jax.energy._measure import (
    Frame,
    Mass,
    checked_frame,
    checked_mass,
    seen_from,
    spread_like,
)
from kinetic_jax.energy._path_energy import kinetic_rates
from kinetic_jax.fields import Field, VelocityField, as_field
from kinetic_jax.fields._divergence import velocity_and_divergence
from kinetic_jax.fields._protocol import require_function, velocity_of
from kinetic_jax.fields._step import require_step


class PathState(eqx.Module):
    """The state of one sample's augmented ODE.

    Attributes:
        x: the sample.
        energy: ½ ∫ ||u||² dt so far.
        length: ∫ ||u|| dt so far.
        divergence: ∫ div u dt so far, or None where it is not integrated.
    """

    x: State
    energy: Float[Array, ""]
    length: Float[Array, ""]
    divergence: Float[Array, ""] | None = None


class PathVectorField(eqx.Module):
    """The augmented vector field `(u, ½||u||², ||u||)` in Diffrax's signature."""

    field: Field
    cond: PyTree[Any]
    mass: State | None = None
    frame: State | None = None
    probes: Float[Array, "probes *event"] | None = None

    def __call__(self, t: ArrayLike, y: PathState, args: PyTree[Any]) -> PathState:
        """The rates of the state: of x, energy and length, and of the divergence if it has one."""
        del args
        velocity_at = functools.partial(velocity_of, self.field, jnp.asarray(t), self.cond)
        divergence = None
        if y.divergence is None:
            velocity = velocity_at(y.x)
        else:
            velocity, divergence = velocity_and_divergence(velocity_at, y.x, self.probes)
        mass = spread_like("mass", self.mass, velocity)
        seen = seen_from(spread_like("frame", self.frame, velocity), velocity)
        power, speed = kinetic_rates(seen, None, mass)
        power, speed = power.astype(y.energy.dtype), speed.astype(y.length.dtype)
        return PathState(velocity, power, speed, divergence)


def energy_term(
    field: VelocityField,
    cond: PyTree[Any] | None = None,
    *,
    mass: Mass | None = None,
    frame: Frame | None = None,
) -> diffrax.ODETerm:
    """The Diffrax term of ONE sample's path, its energy and its length.

    For your own `diffrax.diffeqsolve`, with any solver, SaveAt and adjoint. With adaptive steps
    pass `norm=path_norm(...)` to the controller, so that the energy does not affect the steps.

    Args:
        field: the velocity field, transformed or not.
        cond: the condition of this sample.
        mass: weights of the energy that broadcast to the event; see `sample`.
        frame: the velocity of the frame of the energy; see `sample`.

    Returns:
        A term whose state is a `PathState`; begin at `energy_state(x0)`.

    Raises:
        ValueError: if `field` is not a velocity field, or one that needs the size of the step
            (`Field.with_step`) or is on a manifold, `cond` not a pytree of arrays, or `mass`
            negative; when first evaluated, if the field's output does not have the shape and dtype
            of x, or `mass` or `frame` does not broadcast to it.

    Example:
        >>> import diffrax, jax.numpy as jnp
        >>> from kinetic_jax import energy_state, energy_term
        >>> drift = lambda t, x, cond=None: jnp.array([3.0, 4.0])
        >>> y0 = energy_state(jnp.zeros(2))
        >>> solution = diffrax.diffeqsolve(
        ...     energy_term(drift), diffrax.Heun(), t0=0.0, t1=1.0, dt0=0.1, y0=y0)
        >>> print(solution.ys.energy.round(1), solution.ys.length.round(1))
        [12.5] [5.]
    """
    field, expected = as_field(field), "move in flat space: the steps of Diffrax leave a manifold"
    require(field.manifold is None, "field", type(field.manifold).__name__, expected)
    require_step(field, "in a solve of your own")
    own = as_arrays("cond", cond), checked_mass(mass), checked_frame(frame)
    return diffrax.ODETerm(PathVectorField(field, *own))


def energy_state(x0: ArrayLike | PyTree[ArrayLike]) -> PathState:
    """The initial state of `energy_term` for one sample at `x0`: no energy, no length.

    Args:
        x0: start of the path, an array of shape (*event,), or a pytree of arrays.

    Returns:
        The state x with its energy and length so far, the `y0` of the solve.

    Raises:
        ValueError: if `x0` is not an array of real numbers, or a pytree of such.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import energy_state
        >>> energy_state(jnp.ones(2)).energy
        Array(0., dtype=float32)
    """
    if is_pytree_state(x0):
        x0 = jax.tree.map(lambda leaf: real_rows("x0", leaf), x0)
        require_one_dtype("x0", x0)
    else:
        x0 = real_rows("x0", x0)
    zero = jnp.zeros((), at_least_float32(dtype_of(x0)))
    return PathState(x0, zero, zero)


class PathNorm(eqx.Module):
    """See `path_norm`."""

    norm: Callable[..., Any]

    def __call__(self, y: PathState) -> Float[Array, ""]:
        """The norm of x."""
        return self.norm(y.x)


def path_norm(norm: Callable[..., Any]) -> PathNorm:
    """An error norm of `PathState` that depends only on x.

    A controller then takes the same steps, including the first, as without the energy.

    Args:
        norm: a norm of arrays, such as `optimistix.rms_norm` (Diffrax's default).

    Returns:
        The norm, a function of a `PathState`, for the `norm=` of a controller.

    Raises:
        ValueError: if `norm` is not a function of one array.

    Example:
        >>> import diffrax, optimistix, jax.numpy as jnp
        >>> from kinetic_jax import energy_state, path_norm
        >>> norm = path_norm(optimistix.rms_norm)
        >>> norm(energy_state(jnp.array([3.0, 3.0])))
        Array(3., dtype=float32)
        >>> controller = diffrax.PIDController(rtol=1e-5, atol=1e-5, norm=norm)
    """
    require_function("norm", norm, "x")
    return PathNorm(as_pytree(norm))
