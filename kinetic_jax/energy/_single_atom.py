"""The path to a single training row under any gain, in closed form but for one integral."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import float_array, require, require_between
from kinetic_jax._pytree import result
from kinetic_jax.transforms import Gain, own_tau_split

_PANELS, _NODES = 8, 16  # of Gauss and Legendre, on either side of tau_split


@result
class AtomLanding:
    """What `single_atom` returns, of the shape of its times.

    Attributes:
        ratio: ||X − x(t)|| / ||X − x0||: how much of the way is left.
        energy: ½ ∫_0^t ||u||² dt / ||X − x0||², the energy spent up to t (the ½ is in).
    """

    ratio: Float[Array, "*times"]
    energy: Float[Array, "*times"]


def single_atom(gain: Callable[..., Any] | float, t: Float[ArrayLike, "*times"]) -> AtomLanding:
    """How the flow of ONE training row X lands under a gain η: `u = η(t) (X − x)/(1 − t)`.

    `||X − x(t)|| = ||X − x0|| exp(−∫_0^t η/(1 − t') dt')`, and the energy is the integral of
    `½ η² ||X − x||²/(1 − t)²`. Both integrals are smooth in s = −log(1 − t), where Gauss and
    Legendre's rule takes them, split at the gain's tau_split. It is where any flow that memorises
    lands, and what a solver's answer can be held against.

    Args:
        gain: the transform that `kts` or `gain` returned, a function of time, or a number.
        t: times in [0, 1]. At t = 1 the ratio is 0 where η(1) > 0; the energy is infinite where
            η(1) ≤ 1/2, because the speed grows faster than its square can be integrated.

    Raises:
        ValueError: if `gain` is none of these, or a time lies outside [0, 1].

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
    fn = gain.fn if isinstance(gain, Gain) else gain
    number = not isinstance(fn, str) and not callable(fn) and np.shape(fn) == ()
    require(callable(fn) or number, "gain", repr(gain), "be a gain, a function or a number")
    eta = fn if callable(fn) else lambda time: jnp.full_like(time, fn)
    times = float_array(t, "t")
    require_between("t", times, 0.0, 1.0, closed=True)
    tau = own_tau_split(fn)
    corner = jnp.ones((), times.dtype) if tau is None else tau.astype(times.dtype)
    found = jax.lax.map(lambda one: _land(eta, one, corner), times.reshape(-1))
    ratio, energy = (part.reshape(times.shape) for part in found)
    return AtomLanding(ratio, energy)


def _land(eta: Callable[..., Any], t: Array, corner: Array) -> tuple[Array, Array]:
    """Ratio and energy at one time."""
    dtype, one = t.dtype, jnp.ones_like(t)
    # As far as rounding tells t from 1; beyond it the gain is η(1).
    horizon = jnp.full_like(t, -np.log(float(jnp.finfo(dtype).eps)))
    clock = lambda time: jnp.where(  # noqa: E731
        time < 1, -jnp.log1p(-jnp.minimum(time, one - jnp.finfo(dtype).epsneg)), horizon
    )
    end = clock(t)
    middle = jnp.minimum(clock(corner), end)
    nodes, weights = (jnp.asarray(a, dtype) for a in np.polynomial.legendre.leggauss(_NODES))
    nodes, weights = (nodes + 1) / 2, weights / 2
    lengths = jnp.repeat(jnp.stack([middle, end - middle]) / _PANELS, _PANELS)
    starts = jnp.cumsum(lengths) - lengths

    def gain_at(s: Array) -> Array:
        flat = -jnp.expm1(-s).reshape(-1)
        value = jax.vmap(lambda time: jnp.asarray(eta(time), dtype))(flat)
        return value.reshape(s.shape)

    at = starts[:, None] + lengths[:, None] * nodes[None, :]
    rates = gain_at(at)
    whole = lengths * jnp.sum(rates * weights[None, :], axis=1)
    before = jnp.cumsum(whole) - whole
    # ∫ η from the start of a panel to each of its nodes, by the same rule once more.
    inner = starts[:, None, None] + (at - starts[:, None])[:, :, None] * nodes[None, None, :]
    spent = jnp.sum(gain_at(inner) * weights[None, None, :], axis=2) * (at - starts[:, None])
    exponent = before[:, None] + spent
    power = rates**2 * jnp.exp(at - 2 * exponent) * weights[None, :]
    energy = jnp.sum(lengths * jnp.sum(power, axis=1)) / 2
    total = jnp.sum(whole)
    last = jnp.asarray(eta(one), dtype)
    converges = last > 0.5
    rest = last**2 * jnp.exp(end - 2 * total) / (2 * jnp.where(converges, 2 * last - 1, one))
    limit = jnp.where(converges, energy + rest, jnp.inf)
    way = jnp.where(last > 0, jnp.zeros_like(t), jnp.where(last < 0, jnp.inf, jnp.exp(-total)))
    return jnp.where(t < 1, jnp.exp(-total), way), jnp.where(t < 1, energy, limit)
