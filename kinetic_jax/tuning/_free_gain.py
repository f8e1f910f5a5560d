"""Gains in unbounded coordinates: every point is a gain above 0, and the origin is no gain."""

from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kinetic_jax.transforms import Gain, gain, kts
from kinetic_jax.transforms._gain import TimeGain
from kinetic_jax.transforms._phases import DEFAULT_TAU_SPLIT

_MOST = 3.0  # the greatest |log η|: no step stops the flow, or overshoots without limit
_K = 3.0


class KnotGain(TimeGain):
    """A gain of values at evenly spaced times from 0 to 1, linear between them."""

    values: Float[Array, " knots"]

    def __call__(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """η(t), in the dtype of t: a mean of two positive numbers."""
        times = jnp.linspace(0.0, 1.0, self.values.size, dtype=t.dtype)
        return jnp.interp(t, times, self.values.astype(t.dtype))

    @property
    def tau_split(self) -> None:
        """None: energies are split where they are without a gain."""
        return None


class FreeGain(eqx.Module):
    """Values at knots, by their logarithms."""

    logs: Float[Array, " knots"]

    def values(self) -> Float[Array, " knots"]:
        """The gain at each knot."""
        return jnp.exp(_bounded(self.logs))

    def transform(self) -> Gain:
        """The gain, which may be traced."""
        return gain(KnotGain(self.values()))


class FreeKTS(eqx.Module):
    """α0, β0 and τ of `kts`, by the logarithms of the gain at t = 0 and 1, and the logit of τ.

    `η(0) = 1 + α0` and `η(1) = 1 − β0 (e^k − 1)`, and between τ and either end η lies between 1
    and the value there.
    """

    numbers: Float[Array, " 3"]

    def values(self) -> Float[Array, " 3"]:
        """α0, β0, τ."""
        start, end, place = self.numbers
        alpha0 = jnp.expm1(_bounded(start))
        beta0 = -jnp.expm1(_bounded(end)) / np.float32(np.expm1(_K))
        shift = np.float32(np.log(DEFAULT_TAU_SPLIT / (1 - DEFAULT_TAU_SPLIT)))
        return jnp.stack([alpha0, beta0, jax.nn.sigmoid(_bounded(place + shift))])

    def transform(self) -> Gain:
        """The gain, which may be traced."""
        return kts(*self.values(), k=_K)


Parameters: TypeAlias = FreeGain | FreeKTS


def at_no_gain(form: str, num_knots: int) -> Parameters:
    """The parameters of no gain."""
    if form == "kts":
        return FreeKTS(jnp.zeros(3, jnp.float32))
    return FreeGain(jnp.zeros(num_knots, jnp.float32))


def _bounded(number: Array) -> Array:
    """A number in (−3, 3), close to the given one near 0."""
    return _MOST * jnp.tanh(number / _MOST)
