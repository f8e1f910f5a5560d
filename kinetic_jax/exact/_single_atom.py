"""The path to a single training row under any gain, by one-dimensional integrals."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import (
    float_array,
    float_scalar,
    require,
    require_between,
    require_finite,
    short,
)
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import refuse_varying, untyped_axes
from kinetic_jax._open import call_opened
from kinetic_jax._pytree import as_pytree, result
from kinetic_jax.fields import Field
from kinetic_jax.transforms._cfg import CFG
from kinetic_jax.transforms._combine import Chain, Identity
from kinetic_jax.transforms._gain import FunctionGain, Gain, TimeGain

_MAX_STEPS = 4096


@result
class AtomLanding:
    """The result of `single_atom`, of the shape of its times.

    Attributes:
        ratio: ||X − x(t)|| / ||X − x0||, the remaining share of the distance.
        energy: ½ ∫_0^t ||u||² dt / ||X − x0||², the energy spent up to t (including the ½).
    """

    ratio: Float[Array, "*times"]
    energy: Float[Array, "*times"]


def single_atom(
    gain: Gain | Callable[..., Any] | ArrayLike, t: Float[ArrayLike, "*times"]
) -> AtomLanding:
    """The landing of the flow of ONE training row X under a gain η: `u = η(t) (X − x)/(1 − t)`.

    `||X − x(t)|| = ||X − x0|| exp(−∫_0^t η/(1 − t') dt')`, and the energy is the integral of
    `½ η² ||X − x||²/(1 − t)²`. Both are integrated in s = −log(1 − t), which removes the
    singularity at t = 1, by Diffrax's Dopri8 to a tolerance of 1e-10 (1e-6 in float32),
    separately on each side of the gain's tau_split. Every flow that memorises lands like this, so
    it is a reference for solvers.

    Args:
        gain: the transform that `kts` or `gain` returned, a function of time, or a number.
        t: times in [0, 1]. At t = 1 the ratio is 0 if η(1) > 0; the energy is infinite if
            η(1) ≤ 1/2, where the squared speed is not integrable.

    Returns:
        Ratio and energy; NaN where the gain is not finite or varies too fast to be integrated.

    Raises:
        ValueError: if `gain` is none of these or does not return one number, or a time lies
            outside [0, 1].

    Example:
        A constant gain η spends a total of η²/(2 (2η − 1)):

        >>> from kinetic_jax import kts
        >>> from kinetic_jax.exact import single_atom
        >>> print(single_atom(1.0, 0.75).ratio.round(4), single_atom(2.0, 1.0).energy.round(4))
        0.25 0.6667
        >>> print(single_atom(kts(beta0=0.02), 0.9).ratio.round(4))
        0.1109

    References:
        Li et al., A Kinetic Energy Perspective of Flow Matching, ICML 2026, arXiv 2602.07928.
    """
    times = float_array(t, "t")
    times = times.astype(at_least_float32(times.dtype))
    require_between("t", times, 0.0, 1.0, closed=True)
    eta = _gain_of(gain, times.dtype)
    refuse_varying("single_atom", f"times of shape {times.shape}", eta, times)
    ratio, energy = call_opened(_land_all, eta, times.reshape(-1))
    return AtomLanding(ratio.reshape(times.shape), energy.reshape(times.shape))


class _Constant(TimeGain):
    value: Float[Array, ""]
    tau_split = None

    def __call__(self, t: Array) -> Array:
        return self.value


def _gain_of(gain: Gain | Callable[..., Any] | ArrayLike, dtype: np.dtype) -> TimeGain:
    """`gain` as a function of time."""
    if isinstance(gain, Gain):
        return gain.fn
    if isinstance(gain, TimeGain):
        return gain
    expected = "be what kts or gain returned, a function of time, or a number"
    if callable(gain):
        # Functions as well, but of other things.
        is_other = isinstance(gain, Field | CFG | Chain | Identity)
        require(not is_other, "gain", short(gain), expected)
        return FunctionGain(as_pytree(gain), name="gain")
    is_number = isinstance(gain, int | float) or getattr(gain, "shape", None) == ()
    require(is_number, "gain", short(gain), expected)
    number = float_scalar(gain, "gain")
    require_finite("gain", number)
    return _Constant(number.astype(dtype))


@eqx.filter_jit
@untyped_axes
def _land_all(eta: TimeGain, times: Float[Array, " times"]) -> tuple[Array, Array]:
    tau = eta.tau_split
    split = jnp.ones((), times.dtype) if tau is None else tau.astype(times.dtype)
    return jax.lax.map(lambda t: _land(eta, t, split), times)


def _land(eta: TimeGain, t: Array, split: Array) -> tuple[Array, Array]:
    """Ratio and energy at one time."""
    dtype = t.dtype
    # The last number below 1; after it the gain is taken to be η(1).
    last = jnp.asarray(1 - float(jnp.finfo(dtype).epsneg), dtype)

    def rates(s: Array, y: tuple[Array, Array], args: None) -> tuple[Array, Array]:
        del args
        value = jnp.asarray(eta(-jnp.expm1(-s)), dtype)
        return value, value**2 * jnp.exp(s - 2 * y[0]) / 2

    zero = jnp.zeros((), dtype)
    middle, end = (-jnp.log1p(-jnp.minimum(time, last)) for time in (jnp.minimum(split, t), t))
    exponent, energy = _integral(rates, middle, end, _integral(rates, zero, middle, (zero, zero)))
    final = jnp.asarray(eta(jnp.ones((), dtype)), dtype)
    converges = final > 0.5
    rest = final**2 * jnp.exp(end - 2 * exponent) / (2 * jnp.where(converges, 2 * final - 1, 1.0))
    energy_at_1 = jnp.where(converges, energy + rest, jnp.inf)
    ratio = jnp.exp(-exponent)
    ratio_at_1 = jnp.where(final < 0, jnp.inf, jnp.where(final > 0, 0.0 * ratio, ratio))
    return jnp.where(t < 1, ratio, ratio_at_1), jnp.where(t < 1, energy, energy_at_1)


def _integral(
    rates: Callable[..., tuple[Array, Array]], start: Array, end: Array, y0: tuple[Array, Array]
) -> tuple[Array, Array]:
    """The solution at `end`; NaN if it takes too many steps, `y0` if end is not after start."""
    tolerance = 1e-10 if start.dtype == jnp.float64 else 1e-6
    is_forward = end > start
    stop = jnp.where(is_forward, end, start + 1)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(rates),
        diffrax.Dopri8(),
        t0=start,
        t1=stop,
        dt0=jnp.minimum(stop - start, 0.01),
        y0=y0,
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance / 100, dtmax=0.25),
        max_steps=_MAX_STEPS,
        throw=False,
    )
    is_solved = solution.result == diffrax.RESULTS.successful

    def select(values: Array, initial: Array) -> Array:
        return jnp.where(is_forward, jnp.where(is_solved, values[-1], jnp.nan), initial)

    return jax.tree.map(select, solution.ys, y0)
