"""Schedules: the paths from noise to data on which other people's models were trained."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import (
    as_array,
    float_array,
    is_concrete,
    positive_scalar,
    require,
    require_finite,
    require_flag,
)
from kinetic_jax._pytree import as_pytree
from kinetic_jax.fields._protocol import require_function
from kinetic_jax.fields._schedule_parts import (
    NearestBin,
    Table,
    VPAlpha,
    VPReading,
    VPSigma,
    check_bins,
    check_scalar,
)

PROBES = 257  # at which a schedule's growth is checked
# A span that covers less of the linear path is a mistake: x0 is then far from N(0, I) at its first
# end. EDM's own levels reach from 0.0123 to 0.998; data of unit scale need no more than sigma 10.
LATEST_NOISE, EARLIEST_DATA = 0.2, 0.8
NEAR = 0.02  # time(reading(t)) and t, for a reading of the caller's
BISECTIONS = 64


class Schedule(eqx.Module):
    """The path x_r = α(r) x1 + σ(r) x0 from noise x0 ~ N(0, I) to data x1, on a model's clock r.

    Up to scale every such path is the linear one: at `t = α/(α + σ)` the position
    `x = x_r/(α + σ)` is `t x1 + (1 − t) x0`. So noise of another scale (80 for EDM) belongs to
    σ, and x0 stays N(0, I).

    Args:
        alpha: α, a function of r.
        sigma: σ, a function of r; α/(α + σ) must grow all the way from noise to data.
        span: r at noise and r at data. Where t lies outside of what they reach, as in EDM and
            DDPM near 0 and 1, the model is held at the nearer end.
        reading: r as a function of t, where there is a formula, to 0.02 in t. Default: found by
            bisection.
        time_scale: the model reads `time_scale r`.

    Raises:
        ValueError: if α, σ or the reading are not functions of one JAX number (NumPy's are not),
            the span is not a pair of different finite numbers, α/(α + σ) does not grow along it
            from below 0.2 to above 0.8, the reading is not its inverse, or `time_scale` is not
            positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.fields import Schedule
        >>> circle = Schedule(jnp.cos, jnp.sin, (jnp.pi / 2, 0.0))
        >>> circle.time(circle.reading(jnp.array([0.25, 0.5]))).round(4)
        Array([0.25, 0.5 ], dtype=float32)
    """

    alpha: Callable[..., Any]
    sigma: Callable[..., Any]
    span: Float[Array, "2"]
    formula: Callable[..., Any] | None
    time_scale: Float[Array, ""]

    def __init__(
        self,
        alpha: Callable[..., Any],
        sigma: Callable[..., Any],
        span: tuple[ArrayLike, ArrayLike] | Float[ArrayLike, "2"],
        *,
        reading: Callable[..., Any] | None = None,
        time_scale: ArrayLike = 1.0,
    ):
        require_function("alpha", alpha, "r")
        require_function("sigma", sigma, "r")
        if reading is not None:
            require_function("reading", reading, "t")
        self.alpha, self.sigma = as_pytree(alpha), as_pytree(sigma)
        self.formula = None if reading is None else as_pytree(reading)
        self.span = float_array(as_array("span", span), "span")
        require(self.span.shape == (2,), "span", span, "be r at noise and r at data")
        require_finite("span", self.span)
        self.time_scale = positive_scalar(time_scale, "time_scale")
        functions = {"alpha": self.alpha, "sigma": self.sigma, "reading": self.formula}
        for name, function in functions.items():
            if function is not None:
                check_scalar(name, function, self.span.dtype)
        if is_concrete(self):
            with jax.ensure_compile_time_eval():
                self._check_values()

    def time(self, r: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """`t = α/(α + σ)`: when the linear path is where this one is at r."""
        r = float_array(r, "r")
        alpha, sigma = self.alpha(r), self.sigma(r)
        return alpha / (alpha + sigma)

    def reading(self, t: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """The clock r at time t, or at the end of the span that is nearer to t."""
        t = float_array(t, "t")
        noise, data = self.span.astype(t.dtype)
        # No gradient of the times of the ends: the slope of a root at 0 is infinite.
        first, last = lax.stop_gradient((self.time(noise), self.time(data)))
        inside = jnp.clip(t, jnp.maximum(first, 0), jnp.minimum(last, 1))
        r = self._bisected(inside) if self.formula is None else self.formula(inside)
        r = jnp.clip(r, jnp.minimum(noise, data), jnp.maximum(noise, data))
        return jnp.where(t <= first, noise, jnp.where(t >= last, data, r))

    def _bisected(self, t: Float[Array, "..."]) -> Float[Array, "..."]:
        """The r in the span at which (1 − t) α = t σ; an end of it if there is none."""
        noise, data = self.span.astype(t.dtype)

        def beyond(share: Array, t: Array) -> Array:
            r = noise + share * (data - noise)
            return (1 - t) * self.alpha(r) - t * self.sigma(r)

        def share_at(t: Array) -> Array:
            precision = float(jnp.finfo(t.dtype).eps)
            return optx.root_find(
                beyond,
                optx.Bisection(precision, precision, flip=False),  # type: ignore[call-arg]
                jnp.full_like(t, 0.5),
                t,
                options={"lower": jnp.zeros_like(t), "upper": jnp.ones_like(t)},
                max_steps=BISECTIONS,
                throw=False,
            ).value

        return noise + jnp.vectorize(share_at)(t) * (data - noise)

    def _check_values(self) -> None:
        noise, data = np.asarray(self.span).tolist()
        require(noise != data, "span", (noise, data), "be two different numbers")
        at_probes = self.time(np.linspace(noise, data, PROBES))
        if not is_concrete(at_probes):  # numbers that the functions close over are traced
            return
        times = np.asarray(at_probes)
        got = f"an array of shape {times.shape} for one of shape ({PROBES},)"
        require(times.shape == (PROBES,), "alpha and sigma", got, "act elementwise")
        grows = bool(np.all(np.isfinite(times)) and np.all(np.diff(times) >= 0))
        grows = grows and bool(times[0] < times[-1])
        expected = "make alpha/(alpha + sigma) grow from its first end, noise, to its second, data"
        require(grows, "span", (noise, data), expected)
        if isinstance(self.formula, NearestBin):  # checked by ddpm_schedule
            return
        reaches = bool(times[0] < LATEST_NOISE - 1e-4 and times[-1] > EARLIEST_DATA + 1e-4)
        expected = (
            f"make alpha/(alpha + sigma) reach from below {LATEST_NOISE} (noise) to above "
            f"{EARLIEST_DATA} (data)"
        )
        got = f"{(noise, data)}, where it goes from {times[0]:.3g} to {times[-1]:.3g}"
        require(reaches, "span", got, expected)
        if self.formula is not None:
            self._check_reading(np.linspace(times[0], times[-1], PROBES + 2)[1:-1])

    def _check_reading(self, probes: Float[np.ndarray, " times"]) -> None:
        after = self.time(self.reading(probes))
        if not is_concrete(after):
            return
        reached = np.asarray(after)
        errors = np.nan_to_num(np.abs(reached - probes), nan=np.inf)
        worst = int(np.argmax(errors))
        expected = "be the inverse of t = alpha/(alpha + sigma)"
        got = f"a function after which t = {probes[worst]:.3g} becomes {reached[worst]:.3g}"
        require(bool(errors[worst] <= NEAR), "reading", got, expected)


def linear_schedule(*, reverse: bool = False, time_scale: ArrayLike = 1.0) -> Schedule:
    """The linear path, `α = r`, `σ = 1 − r`: this library's own.

    Args:
        reverse: for models that run from data (r = 0) to noise, as SD3, FLUX and the SiT of
            diffuse_nnx do: `α = 1 − r`, `σ = r`.
        time_scale: the model reads `time_scale r`, often 1,000 r.

    Returns:
        The schedule, for `from_prediction`.

    Raises:
        ValueError: if `time_scale` is not finite and positive.

    Example:
        >>> from kinetic_jax.fields import linear_schedule
        >>> linear_schedule(reverse=True).reading(0.25)
        Array(0.75, dtype=float32)
    """
    require_flag("reverse", reverse)
    if reverse:
        return Schedule(_rest, _same, (1.0, 0.0), reading=_rest, time_scale=time_scale)
    return Schedule(_same, _rest, (0.0, 1.0), reading=_same, time_scale=time_scale)


def cosine_schedule(*, time_scale: ArrayLike = 1.0) -> Schedule:
    """`α = cos(πr/2)`, `σ = sin(πr/2)`, from data (r = 0) to noise: variance preserving.

    Args:
        time_scale: the model reads `time_scale r`.

    Returns:
        The schedule, for `from_prediction`.

    Raises:
        ValueError: if `time_scale` is not finite and positive.

    Example:
        >>> from kinetic_jax.fields import cosine_schedule
        >>> cosine_schedule().reading(0.5)
        Array(0.5, dtype=float32)
    """
    ends = (1.0, 0.0)
    return Schedule(_cosine, _sine, ends, reading=_angle, time_scale=time_scale)


def vp_schedule(
    beta_min: ArrayLike = 0.1, beta_max: ArrayLike = 20.0, *, time_scale: ArrayLike = 1.0
) -> Schedule:
    """The variance-preserving diffusion, from data (r = 0) to noise (Song et al. 2021, eq. 11).

    `α = exp(−B/2)`, `σ = √(1 − α²)`, with `B = β_min r + (β_max − β_min) r²/2`. At r = 1 α is
    0.0066 by default: before t = 0.0065 the model is held.

    Args:
        beta_min: β at data, positive.
        beta_max: β at noise, positive.
        time_scale: the model reads `time_scale r`, often 999 r.

    Returns:
        The schedule, for `from_prediction`.

    Raises:
        ValueError: if a number is not finite and positive.

    Example:
        >>> from kinetic_jax.fields import vp_schedule
        >>> schedule = vp_schedule()
        >>> schedule.time(schedule.reading(0.5))
        Array(0.5, dtype=float32)
    """
    betas = positive_scalar(beta_min, "beta_min"), positive_scalar(beta_max, "beta_max")
    alpha, sigma = VPAlpha(*betas), VPSigma(*betas)
    reading = VPReading(*betas)
    return Schedule(alpha, sigma, (1.0, 0.0), reading=reading, time_scale=time_scale)


def edm_schedule(sigma_min: ArrayLike = 0.002, sigma_max: ArrayLike = 80.0) -> Schedule:
    """`α = 1`, `σ = r`: data plus noise, whose level is the clock (Karras et al. 2022).

    The model is held at `sigma_max` before t = 1/(1 + sigma_max), 0.0123, and at `sigma_min` after
    t = 0.998. `edm_denoiser` makes a denoiser of a network that is to be preconditioned.

    Args:
        sigma_min: the last noise level, positive.
        sigma_max: the first, greater.

    Returns:
        The schedule, for `from_prediction`.

    Raises:
        ValueError: if a level is not finite and positive, or they do not fall.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.fields import edm_schedule
        >>> edm_schedule().reading(np.array([0.0, 0.5]))
        Array([80.,  1.], dtype=float32)
    """
    levels = positive_scalar(sigma_max, "sigma_max"), positive_scalar(sigma_min, "sigma_min")
    if is_concrete(levels):
        falls = float(levels[0]) > float(levels[1])
        require(falls, "sigma_max", sigma_max, f"be above sigma_min, {sigma_min}")
    return Schedule(jnp.ones_like, _same, levels, reading=_noise_level)


def ddpm_schedule(alphas_cumprod: Float[ArrayLike, " bins"]) -> Schedule:
    """The steps of DDPM: `α = √ᾱ_n`, `σ = √(1 − ᾱ_n)` in bin n (Ho et al. 2020, eq. 4).

    The model is evaluated in whole bins, at the one whose t is nearest. It receives n as a floating
    number: a table is read by `n.astype(int)`.

    Args:
        alphas_cumprod: ᾱ_n, falling from data (n = 0) to noise, all in (0, 1). The last may be 0
            (no signal at all) for a model that predicts v or data.

    Returns:
        The schedule, for `from_prediction`.

    Raises:
        ValueError: if they are not a vector of two or more numbers that fall within [0, 1), or
            t = α/(α + σ) does not reach from below 0.3 to above 0.7, as where 1 − β is given.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.fields import ddpm_schedule
        >>> schedule = ddpm_schedule(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))
        >>> schedule.reading(np.array([0.0, 0.5, 1.0]))
        Array([999., 258.,   0.], dtype=float32)
    """
    squares = float_array(alphas_cumprod, "alphas_cumprod")
    is_vector = squares.ndim == 1 and squares.size >= 2
    require(is_vector, "alphas_cumprod", f"shape {squares.shape}", "be a vector of two or more")
    if is_concrete(squares):
        known = np.asarray(squares)
        check_bins(known)
    alpha, sigma = jnp.sqrt(squares), jnp.sqrt(1 - squares)
    times = alpha / (alpha + sigma)
    ends = (squares.size - 1.0, 0.0)
    return Schedule(Table(alpha), Table(sigma), ends, reading=NearestBin(times))


# Functions of the module: new ones at each call would compile new programs.
def _same(r: Array) -> Array:
    return r


def _rest(r: Array) -> Array:
    return 1 - r


def _cosine(r: Array) -> Array:
    return jnp.cos(jnp.pi / 2 * r)


def _sine(r: Array) -> Array:
    return jnp.sin(jnp.pi / 2 * r)


def _angle(t: Array) -> Array:
    return jnp.arctan2(1 - t, t) * (2 / jnp.pi)


def _noise_level(t: Array) -> Array:
    return (1 - t) / t
