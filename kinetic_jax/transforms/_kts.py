"""Kinetic trajectory shaping (KTS): a faster launch and a slower landing."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import (
    float_array,
    float_scalar,
    is_concrete,
    require,
    require_finite,
    require_flag,
)
from kinetic_jax._pytree import as_pytree
from kinetic_jax.fields._protocol import require_function
from kinetic_jax.transforms._gain import Gain, TimeGain, gain
from kinetic_jax.transforms._phases import DEFAULT_TAU_SPLIT, checked_tau_split, is_landing

Shape = Callable[[Array, Array], ArrayLike]

# The default of a strength. It is not the object 0.0 that a user passes, so that `kts()` can warn.
_NO_STRENGTH = float("0")


def _linear(phase_time: Array, k: Array) -> Array:
    return phase_time


def _constant(phase_time: Array, k: Array) -> Array:
    return jnp.ones_like(phase_time)


def _exponential(phase_time: Array, k: Array) -> Array:
    return jnp.expm1(k * phase_time)


def _normalised_exponential(phase_time: Array, k: Array) -> Array:
    return jnp.expm1(k * phase_time) / jnp.expm1(k)


# A shape takes the time within the phase (q = 1 − t/τ in the launch, s = (t − τ)/(1 − τ) in the
# landing) and the steepness k, and is multiplied by α0 or β0. As in the authors' code, the
# landing's exponential is not normalised: it reaches e^k − 1 = 19.09 at k = 3.
LAUNCH_SHAPES: dict[str, Shape] = {
    "linear": _linear,
    "constant": _constant,
    "exponential": _normalised_exponential,
}
LANDING_SHAPES: dict[str, Shape] = {
    "exponential": _exponential,
    "linear": _linear,
    "constant": _constant,
}


class KTSGain(TimeGain):
    """The gain η(t) of `kts`, callable on times of any shape."""

    alpha0: Float[Array, ""]
    beta0: Float[Array, ""]
    tau: Float[Array, ""]
    k: Float[Array, ""]
    launch: Callable[..., Any]
    landing: Callable[..., Any]

    @property
    def tau_split(self) -> Float[Array, ""]:
        """The end of the launch."""
        return self.tau

    def __call__(self, t: Float[Array, "*times"]) -> Float[Array, "*times"]:
        """η(t), in the dtype of t."""
        alpha0, beta0, tau, k = (
            number.astype(t.dtype) for number in (self.alpha0, self.beta0, self.tau, self.k)
        )
        landing = is_landing(t, tau)
        # Outside its phase a shape is evaluated at a fixed point of [0, 1], so that shapes such
        # as sqrt and their gradients are never evaluated where they do not exist.
        q = jnp.where(landing, jnp.ones_like(t), 1 - t / tau)
        s = jnp.where(landing & (t > tau), (t - tau) / (1 - tau), jnp.zeros_like(t))
        alpha = alpha0 * _broadcast(self.launch(q, k), t)
        beta = beta0 * _broadcast(self.landing(s, k), t)
        return jnp.where(landing, 1 - beta, 1 + alpha)


def _broadcast(value: ArrayLike, t: Array) -> Array:
    return jnp.broadcast_to(jnp.asarray(value, t.dtype), t.shape)


class UserShape(eqx.Module):
    """A user's shape, a function of the time within the phase alone."""

    fn: Callable[..., Any]

    def __call__(self, phase_time: Array, k: Array) -> ArrayLike:
        """The shape at a time within the phase; k is not used."""
        del k
        return self.fn(phase_time)


def _shape(
    name: str, shape: str | Callable[..., Any], shapes: dict[str, Shape]
) -> Callable[..., Any]:
    if isinstance(shape, str):
        known = ", ".join(map(repr, shapes))
        require(shape in shapes, name, repr(shape), f"be one of {known} or a callable")
        return as_pytree(shapes[shape])
    require(callable(shape), name, repr(shape), "be a shape's name or a callable")
    require_function(name, shape, "q" if name == "launch" else "s")
    return UserShape(as_pytree(shape))


def _kts_gain(
    alpha0: ArrayLike,
    beta0: ArrayLike,
    tau_split: ArrayLike,
    launch: str | Callable[..., Any],
    landing: str | Callable[..., Any],
    k: ArrayLike,
) -> KTSGain:
    given = {"alpha0": alpha0, "beta0": beta0, "k": k}
    numbers = {name: float_scalar(value, name) for name, value in given.items()}
    for name, number in numbers.items():
        require_finite(name, number)
    if is_concrete(numbers["k"]):
        require(bool(np.asarray(numbers["k"]) != 0), "k", k, "not be 0 (its limit is linear)")
    return KTSGain(
        tau=checked_tau_split(tau_split),
        launch=_shape("launch", launch, LAUNCH_SHAPES),
        landing=_shape("landing", landing, LANDING_SHAPES),
        **numbers,
    )


def kts_gain(
    t: ArrayLike,
    alpha0: ArrayLike,
    beta0: ArrayLike,
    tau_split: ArrayLike = DEFAULT_TAU_SPLIT,
    *,
    launch: str | Callable[..., Any] = "linear",
    landing: str | Callable[..., Any] = "exponential",
    k: ArrayLike = 3.0,
) -> Float[Array, "*times"]:
    """The KTS gain η(t), broadcasting over t.

    With τ = tau_split, q = 1 − t/τ and s = (t − τ)/(1 − τ): η = 1 + α0·shape(q) in the launch
    (t < τ) and η = 1 − β0·shape(s) in the landing (t ≥ τ); see `kts` for the shapes.

    Args:
        t: times in [0, 1], of any shape.
        alpha0: strength of the launch, a scalar.
        beta0: strength of the landing, a scalar.
        tau_split: the end of the launch, in (0, 1).
        launch: shape of the launch, a name or a callable of q.
        landing: shape of the landing, a name or a callable of s.
        k: steepness of the exponential shapes.

    Returns:
        η, of the shape of t.

    Raises:
        ValueError: if `tau_split` lies outside (0, 1), a number is not finite or a shape unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import kts_gain
        >>> kts_gain(jnp.array([0.0, 0.3, 0.6, 1.0]), alpha0=0.1, beta0=0.01).round(2)
        Array([1.1 , 1.05, 1.  , 0.81], dtype=float32)
    """
    times = float_array(t, "t")
    require_finite("t", times)
    return _kts_gain(alpha0, beta0, tau_split, launch, landing, k)(times)


def kts(
    alpha0: ArrayLike = _NO_STRENGTH,
    beta0: ArrayLike = _NO_STRENGTH,
    tau_split: ArrayLike = DEFAULT_TAU_SPLIT,
    *,
    launch: str | Callable[..., Any] = "linear",
    landing: str | Callable[..., Any] = "exponential",
    k: ArrayLike = 3.0,
    allow_reversal: bool = False,
) -> Gain:
    """Kinetic trajectory shaping: the transform u = η(t) v, training-free.

    With q = 1 − t/τ, which falls from 1 to 0 in the launch, and s = (t − τ)/(1 − τ), which rises
    from 0 to 1 in the landing:

    ========  =============  ================================
    phase     shape          formula
    ========  =============  ================================
    launch    linear         α0 q
    η = 1+α   constant       α0
    t < τ     exponential    α0 (e^{kq} − 1) / (e^k − 1)
    landing   exponential    β0 (e^{ks} − 1), NOT normalised
    η = 1−β   linear         β0 s
    t ≥ τ     constant       β0
    ========  =============  ================================

    Args:
        alpha0: strength of the launch; traced, so a new value does not recompile.
        beta0: strength of the landing; traced. With the default shape and k = 3 the gain at t = 1
            is 1 − 19.09 β0: above β0 = 0.0524 the flow reverses near the end.
        tau_split: the end of the launch, in (0, 1); traced. `sample` splits the energy there.
            η(τ) belongs to the landing: a shape that jumps at τ ("constant") reduces solvers with
            a stage at the right end of a step (Heun, Tsit5) to first order there; Euler and
            Midpoint are not affected.
        launch: "linear", "constant", "exponential", or a callable of q.
        landing: "exponential", "linear", "constant", or a callable of s.
        k: steepness of the exponential shapes; traced.
        allow_reversal: permit a gain that is zero or negative somewhere on [0, 1].

    Returns:
        A transform, differentiable in α0, β0, τ and k, which `chain` composes with guidance.
        Without a strength it changes nothing, and a warning is issued.

    Raises:
        ValueError: if `tau_split` lies outside (0, 1), a number is not finite, a shape is
            unknown, or η reaches 0 without `allow_reversal`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField, kts, noise, sample
        >>> x0 = noise(jax.random.key(0), jnp.arange(4), (2,))
        >>> shaped = kts(alpha0=0.1, beta0=0.02)(GaussianField(jnp.ones(2), 0.5))
        >>> sample(shaped, x0).energy.total.shape
        (4,)

    References:
        Li et al., A Kinetic Energy Perspective of Flow Matching, ICML 2026, arXiv 2602.07928.
    """
    require_flag("allow_reversal", allow_reversal)
    eta = _kts_gain(alpha0, beta0, tau_split, launch, landing, k)
    if alpha0 is _NO_STRENGTH and beta0 is _NO_STRENGTH:
        message = "kts() has no strength and changes nothing: pass alpha0, beta0 or both"
        warnings.warn(message, UserWarning, stacklevel=2)
    try:
        return gain(eta, allow_reversal=allow_reversal)
    except ValueError as error:
        raise ValueError(
            f"alpha0, beta0 must keep the gain above 0 on [0, 1] (with the default landing beta0 "
            f"below 0.0524), got alpha0 = {alpha0}, beta0 = {beta0}, k = {k}: {error}"
        ) from error
