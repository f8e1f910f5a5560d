"""The path to a single training row under any gain, in closed form but for one integral."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import (
    float_array,
    float_scalar,
    require,
    require_between,
    require_finite,
)
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import refuse_varying, untyped_axes
from kinetic_jax._open import call_opened
from kinetic_jax._pytree import as_pytree, result
from kinetic_jax.transforms import Gain, own_tau_split

_MAX_STEPS = 4096


@result
class AtomLanding:
    """What `single_atom` returns, of the shape of its times.

    Attributes:
        ratio: ||X − x(t)|| / ||X − x0||: how much of the way is left.
        energy: ½ ∫_0^t ||u||² dt / ||X − x0||², the energy spent up to t (the ½ is in).
    """

    ratio: Float[Array, "*times"]
    energy: Float[Array, "*times"]


def single_atom(gain: Any, t: Float[ArrayLike, "*times"]) -> AtomLanding:
    """How the flow of ONE training row X lands under a gain η: `u = η(t) (X − x)/(1 − t)`.

    `||X − x(t)|| = ||X − x0|| exp(−∫_0^t η/(1 − t') dt')`, and the energy is the integral of
    `½ η² ||X − x||²/(1 − t)²`. Both are integrated in s = −log(1 − t), where the singularity at
    t = 1 is gone, by Diffrax's Dopri8 to a tolerance of 1e-10 (1e-6 in float32), from either side
    of the gain's tau_split. It is where any flow that memorises lands, and what a solver's answer
    can be held against.

    Args:
        gain: the transform that `kts` or `gain` returned, a function of time, or a number.
        t: times in [0, 1]. At t = 1 the ratio is 0 where η(1) > 0; the energy is infinite where
            η(1) ≤ 1/2, because the speed grows faster than its square can be integrated.

    Returns:
        Ratio and energy; NaN where the gain is not finite or varies too fast to be integrated.

    Raises:
        ValueError: if `gain` is none of these, returns no single number, or a time lies outside
            [0, 1].

    Example:
        A constant gain η spends η²/(2 (2η − 1)) in all:

        >>> from kinetic_jax import kts, single_atom
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
    shape = jax.eval_shape(lambda: jnp.asarray(eta(jnp.zeros((), times.dtype)))).shape
    require(shape == (), "gain", f"shape {shape}", "return one number for one time")
    refuse_varying("single_atom", f"times of shape {times.shape}", eta, times)
    ratio, energy = call_opened(_land_all, eta, times.reshape(-1))
    return AtomLanding(ratio.reshape(times.shape), energy.reshape(times.shape))


class _Constant(eqx.Module):
    value: Float[Array, ""]

    def __call__(self, t: Array) -> Array:
        return self.value


def _gain_of(gain: Any, dtype: Any) -> Callable[..., Any]:
    """The function of time that `gain` is, as a pytree."""
    if isinstance(gain, Gain):
        return gain.fn
    # A transform or a field would take the time for a field, or miss its x.
    plain = callable(gain) and not type(gain).__module__.startswith("kinetic_jax.")
    own = plain or (callable(gain) and own_tau_split(gain) is not None)
    if own and not hasattr(gain, "field"):
        return as_pytree(gain)
    expected = "be what kts or gain returned, a function of time, or a number"
    is_number = isinstance(gain, int | float) or getattr(gain, "shape", None) == ()
    require(is_number, "gain", repr(gain), expected)
    number = float_scalar(gain, "gain")
    require_finite("gain", number)
    return _Constant(number.astype(dtype))


@eqx.filter_jit
@untyped_axes
def _land_all(eta: Callable[..., Any], times: Float[Array, " times"]) -> tuple[Array, Array]:
    tau = own_tau_split(eta)
    corner = jnp.ones((), times.dtype) if tau is None else tau.astype(times.dtype)
    return jax.lax.map(lambda t: _land(eta, t, corner), times)


def _land(eta: Callable[..., Any], t: Array, corner: Array) -> tuple[Array, Array]:
    """Ratio and energy at one time."""
    dtype = t.dtype
    # As far as rounding tells t from 1; beyond it the gain is η(1).
    last = jnp.asarray(1 - float(jnp.finfo(dtype).epsneg), dtype)
    clock = lambda time: -jnp.log1p(-jnp.minimum(time, last))  # noqa: E731

    def rates(s: Array, y: tuple[Array, Array], args: Any) -> tuple[Array, Array]:
        del args
        value = jnp.asarray(eta(-jnp.expm1(-s)), dtype)
        return value, value**2 * jnp.exp(s - 2 * y[0]) / 2

    start = (jnp.zeros((), dtype), jnp.zeros((), dtype))
    middle, end = clock(jnp.minimum(corner, t)), clock(t)
    first = _integral(rates, jnp.zeros((), dtype), middle, start)
    spent, energy = _integral(rates, middle, end, first)
    final = jnp.asarray(eta(jnp.ones((), dtype)), dtype)
    converges = final > 0.5
    rest = final**2 * jnp.exp(end - 2 * spent) / (2 * jnp.where(converges, 2 * final - 1, 1.0))
    limit = jnp.where(converges, energy + rest, jnp.inf)
    ratio = jnp.exp(-spent)
    way = jnp.where(final < 0, jnp.inf, jnp.where(final > 0, 0.0 * ratio, ratio))
    return jnp.where(t < 1, ratio, way), jnp.where(t < 1, energy, limit)


def _integral(rates: Any, start: Array, end: Array, y0: tuple[Array, Array]) -> Any:
    """From start to end, NaN if it takes too many steps; nothing for no way at all."""
    tolerance = 1e-10 if start.dtype == jnp.float64 else 1e-6
    way = end - start
    some = jnp.where(way > 0, end, start + 1)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(rates),
        diffrax.Dopri8(),
        t0=start,
        t1=some,
        dt0=jnp.minimum(some - start, 0.01),
        y0=y0,
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance / 100, dtmax=0.25),
        max_steps=_MAX_STEPS,
        throw=False,
    )
    good = solution.result == diffrax.RESULTS.successful
    keep = lambda new, old: jnp.where(way > 0, jnp.where(good, new[-1], jnp.nan), old)  # noqa: E731
    return jax.tree.map(keep, solution.ys, y0)
