"""Time grids from the configurations of diffusers' schedulers."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import real_array, real_number, require, short, whole_number
from kinetic_jax._files import PathLike
from kinetic_jax._schema import from_description
from kinetic_jax.fields._scheduler import FLOW, MOST_MU, FlowConfig, read_scheduler
from kinetic_jax.sampling._grid import shifted

_KARRAS_RHO = 7.0
_BETA_PARAMETER = 0.6


def grid_from_scheduler(
    config: PathLike | Mapping[str, Any],
    num_steps: int,
    *,
    image_seq_len: int | None = None,
    mu: float | None = None,
    sigmas: Float[ArrayLike, " num_steps"] | None = None,
) -> np.ndarray:
    """The time grid of a diffusers `FlowMatchEulerDiscreteScheduler`, for `sample(grid=)`.

    diffusers walks down noise levels σ; here t = 1 − σ. Its `set_timesteps` takes N levels, 1,
    1 − 1/N, ..., 1/N unless others are given, shifts them by s,

        σ' = s σ / (1 + (s − 1) σ),

    once, ends with 0, and does what else the configuration says: `shift_terminal` stretches them,
    `use_karras_sigmas`, `use_exponential_sigmas` and `use_beta_sigmas` space the levels between
    the first and the last in another way. s is the scheduler's `shift`; with
    `use_dynamic_shifting` it is exp(μ), or μ where `time_shift_type` is "linear", with μ linear in
    the length of the image in tokens.

    Pipelines such as FLUX's pass these levels. Without any, as Stable Diffusion 3's does,
    diffusers takes N levels from 1 to the least of training, which it shifts twice
    (diffusers issue 13243). `sigmas=numpy.linspace(1, 1 / 1000, N)` are those shifted once;
    `sigmas=numpy.linspace(1, s / (999 + s), N)`, with s its `shift`, are that pipeline's own.

    Args:
        config: `scheduler_config.json` or the folder that holds it, or its content as a
            dictionary, with `_class_name`.
        num_steps: N.
        image_seq_len: number of tokens of the image, with `use_dynamic_shifting`: 4,096 for
            FLUX at 1,024 × 1,024 pixels.
        mu: μ itself, in place of `image_seq_len`, for pipelines with another formula.
        sigmas: N noise levels before the shift, falling, in (0, 1], in place of the uniform ones.

    Returns:
        N + 1 ascending times in float64, the last of them 1.

    Raises:
        ValueError: if the scheduler is another one or has unknown settings or
            `stochastic_sampling`, which is no ODE; if `image_seq_len` or `mu` is missing,
            superfluous, not positive or too far for a grid in float32; or if the levels do not
            fall in (0, 1].
        FileNotFoundError: if there is no such file.

    Example:
        >>> from kinetic_jax.sampling import grid_from_scheduler
        >>> config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
        >>> grid_from_scheduler(config, 4).round(3)  # as shifted_grid(4, 3.0)
        array([0.  , 0.1 , 0.25, 0.5 , 1.  ])

    References:
        Esser et al., Scaling rectified flow transformers, arXiv 2403.03206, equation 23.
    """
    num_steps = whole_number("num_steps", num_steps, 1)
    name, values = read_scheduler(config)
    require(name == FLOW, "config's _class_name", short(name), f"be {FLOW}")
    settings = from_description(FlowConfig, values, "config")
    is_ode = not settings.stochastic_sampling
    require(is_ode, "config.stochastic_sampling", True, "be false, as paths follow an ODE")
    shift = _shift(settings, image_seq_len, mu)
    times = shifted(_times(sigmas, num_steps), shift)
    if settings.shift_terminal:
        expected = "leave a step to stretch with the config's shift_terminal"
        require(bool(times[-1] > 0), "num_steps", num_steps, expected)
        times = times * ((1 - settings.shift_terminal) / times[-1])
    return np.append(_spaced(settings, times), 1.0)


def _times(sigmas: Any, num_steps: int) -> np.ndarray:
    """The times before the shift, without the last one, 1."""
    if sigmas is None:
        return np.arange(num_steps) / num_steps
    levels = real_array("sigmas", sigmas)
    has_shape = levels.shape == (num_steps,)
    require(has_shape, "sigmas", f"shape {levels.shape}", f"be num_steps = {num_steps} levels")
    falls = bool(np.all(np.diff(levels) < 0) and levels[0] <= 1 and levels[-1] > 0)
    require(falls, "sigmas", short(levels, str), "fall in (0, 1]")
    return 1 - levels


def _shift(config: FlowConfig, image_seq_len: int | None, mu: float | None) -> float:
    """s, by which the grid is shifted."""
    for name, value in (("image_seq_len", image_seq_len), ("mu", mu)):
        if value is not None and not config.use_dynamic_shifting:
            expected = "be left out, as the config has no use_dynamic_shifting"
            require(False, name, short(value), expected)
    if not config.use_dynamic_shifting:
        return config.shift
    if mu is None:
        expected = "be the tokens of the image (or give mu), as the config has use_dynamic_shifting"
        require(image_seq_len is not None, "image_seq_len", None, expected)
        length = whole_number("image_seq_len", image_seq_len, 1)
        mu = _mu(config, length)
        name, got, verb = "image_seq_len", f"{length}, of which mu is {mu:g}", "give a mu"
    else:
        mu = real_number("mu", mu)
        name, got, verb = "mu", f"{mu:g}", "lie"
        require(image_seq_len is None, "image_seq_len", short(image_seq_len), "be left out with mu")
    if config.time_shift_type == "linear":
        least, most = math.exp(-MOST_MU), math.exp(MOST_MU)
        expected = f"{verb} in [{least:.2g}, {most:.2g}] where time_shift_type is linear"
        require(least <= mu <= most, name, got, expected)
        return mu
    require(abs(mu) <= MOST_MU, name, got, f"{verb} in [{-MOST_MU:g}, {MOST_MU:g}]")
    return math.exp(mu)


def _mu(config: FlowConfig, length: int) -> float:
    """μ on the line through (base_image_seq_len, base_shift) and the greatest of both."""
    ends: dict[str, float] = {}
    for name in ("base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len"):
        ends[name] = real_number(f"config.{name}", getattr(config, name))
    span = ends["max_image_seq_len"] - ends["base_image_seq_len"]
    require(span > 0, "config.max_image_seq_len", ends["max_image_seq_len"], "exceed the base's")
    slope = (ends["max_shift"] - ends["base_shift"]) / span
    return ends["base_shift"] + slope * (length - ends["base_image_seq_len"])


def _spaced(config: FlowConfig, times: np.ndarray) -> np.ndarray:
    """The times, or as many between the same ends in the spacing that the configuration names."""
    spacings = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
    chosen = [name for name in spacings if getattr(config, name)]
    require(len(chosen) <= 1, "config", chosen, f"have one of {', '.join(spacings)} at most")
    if not chosen:
        return times
    first, last, ramp = 1 - times[0], 1 - times[-1], np.linspace(0, 1, times.size)
    if chosen == ["use_karras_sigmas"]:
        roots = np.array([first, last]) ** (1 / _KARRAS_RHO)
        return 1 - (roots[0] + ramp * (roots[1] - roots[0])) ** _KARRAS_RHO
    if chosen == ["use_exponential_sigmas"]:
        return 1 - first * (last / first) ** ramp
    from scipy.stats import beta

    share = beta.ppf(1 - ramp, _BETA_PARAMETER, _BETA_PARAMETER)
    return 1 - (last + share * (first - last))
