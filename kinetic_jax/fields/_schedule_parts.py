"""Functions of which schedules are made, and checks of those that a caller gives."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kinetic_jax._checks import require, short

# A table of few bins reaches less far; 1 − β in place of its product ends at 0.87.
LATEST_BIN, EARLIEST_BIN = 0.3, 0.7


class _VariancePreserving(eqx.Module):
    """`B(r) = β_min r + (β_max − β_min) r²/2`, with α = exp(−B/2)."""

    beta_min: Float[Array, ""]
    beta_max: Float[Array, ""]

    def integral(self, r: Array) -> Array:
        slope, start = self._of(r)
        return start * r + slope * r**2 / 2

    def _of(self, like: Array) -> tuple[Array, Array]:
        start = self.beta_min.astype(like.dtype)
        return self.beta_max.astype(like.dtype) - start, start


class VPAlpha(_VariancePreserving):
    """α = exp(−B/2)."""

    def __call__(self, r: Array) -> Array:
        return jnp.exp(-self.integral(r) / 2)


class VPSigma(_VariancePreserving):
    """σ = √(1 − exp(−B))."""

    def __call__(self, r: Array) -> Array:
        # 1 − exp(−B), where B is small, without cancellation.
        square = -jnp.expm1(-self.integral(r))
        # At 0 the slope of a root is infinite, and would make gradients of all numbers NaN.
        inside = square > 0
        return jnp.where(inside, jnp.sqrt(jnp.where(inside, square, 1)), 0)


class VPReading(_VariancePreserving):
    """The r at which α/(α + σ) is t."""

    def __call__(self, t: Array) -> Array:
        slope, start = self._of(t)
        integral = jnp.log1p(((1 - t) / t) ** 2)  # −2 log α
        return 2 * integral / (start + jnp.sqrt(start**2 + 2 * slope * integral))


class Table(eqx.Module):
    """Values at bins 0, 1, 2, …, and between them along straight lines."""

    values: Float[Array, " bins"]

    def __call__(self, r: Array) -> Array:
        bins = jnp.arange(self.values.size, dtype=r.dtype)
        return jnp.interp(r, bins, self.values.astype(r.dtype))


class NearestBin(eqx.Module):
    """The bin whose time is nearest; times fall with the bin's number."""

    times: Float[Array, " bins"]

    def __call__(self, t: Array) -> Array:
        bins = jnp.arange(self.times.size, dtype=t.dtype)
        return jnp.round(jnp.interp(t, self.times[::-1].astype(t.dtype), bins[::-1]))


def check_scalar(name: str, function: Callable[..., Any], dtype: np.dtype) -> None:
    """Checks that JAX can trace a function of one number."""
    expected = "be a function of JAX numbers, as of jax.numpy"
    try:
        result = jax.eval_shape(function, jax.ShapeDtypeStruct((), dtype))
        is_number = getattr(result, "shape", None) == ()
        require(is_number, name, f"one that returns {short(result)}", "return one number for one r")
    except (TypeError, jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
        first = str(error).partition("\n")[0]
        got = short(f"{type(error).__name__}: {first}", str)
        raise ValueError(f"{name} must {expected}, got {got}") from error


def check_bins(squares: np.ndarray) -> None:
    """Checks that ᾱ falls from data to noise, and covers most of the linear path."""
    name, advice = "alphas_cumprod", " (of betas take numpy.cumprod(1 - betas))"
    # The pairs that do not fall, and the numbers outside of [0, 1); NaN compares with nothing.
    inside = (squares >= 0) & (squares < 1)
    falls = np.append(np.diff(squares) < 0, True)
    wrong = np.flatnonzero(~(inside & falls))
    if wrong.size:
        first = int(wrong[0])
        pair = ", ".join(f"{value:g}" for value in squares[first : first + 2])
        expected = "fall within [0, 1)" + (advice if np.all(np.diff(squares) >= 0) else "")
        require(False, name, f"{pair} at position {first}", expected)
    alpha, sigma = np.sqrt(squares[[-1, 0]]), np.sqrt(1 - squares[[-1, 0]])
    latest, earliest = alpha / (alpha + sigma)
    expected = f"reach from t below {LATEST_BIN} (noise) to above {EARLIEST_BIN} (data){advice}"
    got = f"t from {latest:.3g} to {earliest:.3g}, where t = alpha/(alpha + sigma)"
    require(bool(latest < LATEST_BIN and earliest > EARLIEST_BIN), name, got, expected)
