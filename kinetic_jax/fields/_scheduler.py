"""Schedules from the configurations of diffusers' schedulers."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kinetic_jax._checks import (
    fraction,
    real_number,
    require,
    require_between,
    short,
    whole_number,
)
from kinetic_jax._files import PathLike, local_path, with_size
from kinetic_jax._schema import from_description
from kinetic_jax.fields._prediction import Prediction
from kinetic_jax.fields._schedule import Schedule, ddpm_schedule, linear_schedule

FLOW = "FlowMatchEulerDiscreteScheduler"
# By class, ᾱ in the noisiest bin where it is rescaled to a signal-to-noise ratio of zero.
_DIFFUSIONS = {
    "DDPMScheduler": 0.0,
    "DDIMScheduler": 0.0,
    "PNDMScheduler": 0.0,
    "EulerDiscreteScheduler": 2.0**-24,
    "EulerAncestralDiscreteScheduler": 2.0**-24,
    "DPMSolverMultistepScheduler": 2.0**-24,
}
_MOST_BINS = 10**6
MOST_MU = 20.0  # the shift exp(±μ) leaves no grid in float32 beyond it
_PREDICTIONS: dict[str, Prediction] = {
    "epsilon": "noise",
    "sample": "data",
    "v_prediction": "v",
}
# What concerns the steps of diffusers' own solvers, and not the path of the model.
_OF_STEPS = frozenset(
    (
        *("algorithm_type", "clip_sample", "clip_sample_range", "dynamic_thresholding_ratio"),
        *("euler_at_final", "final_sigmas_type", "flow_shift", "interpolation_type"),
        *("lambda_min_clipped", "lower_order_final", "sample_max_value", "set_alpha_to_one"),
        *("sigma_max", "sigma_min", "skip_prk_steps", "solver_order", "solver_type"),
        *("steps_offset", "thresholding", "time_shift_type", "timestep_spacing"),
        *("use_beta_sigmas", "use_dynamic_shifting", "use_exponential_sigmas"),
        *("use_karras_sigmas", "use_lu_lambdas", "variance_type"),
    )
)


@dataclass(frozen=True)
class FlowConfig:
    """The configuration of a `FlowMatchEulerDiscreteScheduler`, with diffusers' defaults."""

    num_train_timesteps: int = 1000
    shift: float = 1.0
    use_dynamic_shifting: bool | None = False
    base_shift: float | None = 0.5
    max_shift: float | None = 1.15
    base_image_seq_len: int | None = 256
    max_image_seq_len: int | None = 4096
    invert_sigmas: bool | None = False
    shift_terminal: float | None = None
    use_karras_sigmas: bool | None = False
    use_exponential_sigmas: bool | None = False
    use_beta_sigmas: bool | None = False
    time_shift_type: str = "exponential"
    stochastic_sampling: bool | None = False

    def __post_init__(self) -> None:
        whole_number("num_train_timesteps", self.num_train_timesteps, 1)
        least, most = math.exp(-MOST_MU), math.exp(MOST_MU)
        require_between("shift", self.shift, least, most, closed=True)
        if self.shift_terminal:
            fraction("shift_terminal", self.shift_terminal)
        is_known = self.time_shift_type in ("exponential", "linear")
        require(is_known, "time_shift_type", self.time_shift_type, "be exponential or linear")


@dataclass(frozen=True)
class DiffusionConfig:
    """The configuration of a `DDPMScheduler` or its relatives, with diffusers' defaults."""

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    rescale_betas_zero_snr: bool | None = False
    timestep_type: str = "discrete"
    use_flow_sigmas: bool | None = False

    def __post_init__(self) -> None:
        whole_number("num_train_timesteps", self.num_train_timesteps, 2, _MOST_BINS)
        for name in ("beta_start", "beta_end"):
            fraction(name, getattr(self, name))
        known = ", ".join(_BETAS)
        is_known = self.beta_schedule in _BETAS
        require(is_known, "beta_schedule", short(self.beta_schedule), f"be one of {known}")
        is_known = self.prediction_type in _PREDICTIONS
        known = ", ".join(_PREDICTIONS)
        require(is_known, "prediction_type", short(self.prediction_type), f"be one of {known}")
        is_discrete = self.timestep_type == "discrete"
        require(is_discrete, "timestep_type", short(self.timestep_type), "be discrete")
        require(not self.use_flow_sigmas, "use_flow_sigmas", True, "be false")
        is_possible = not (self.rescale_betas_zero_snr and self.prediction_type == "epsilon")
        expected = "be v_prediction or sample where rescale_betas_zero_snr leaves no signal"
        require(is_possible, "prediction_type", self.prediction_type, expected)


def _linear(config: DiffusionConfig) -> np.ndarray:
    return np.linspace(config.beta_start, config.beta_end, config.num_train_timesteps)


def _scaled_linear(config: DiffusionConfig) -> np.ndarray:
    first, last = config.beta_start**0.5, config.beta_end**0.5
    return np.linspace(first, last, config.num_train_timesteps) ** 2


def _sigmoid(config: DiffusionConfig) -> np.ndarray:
    rise = 1 / (1 + np.exp(-np.linspace(-6, 6, config.num_train_timesteps)))
    return config.beta_start + (config.beta_end - config.beta_start) * rise


def _squared_cosine(config: DiffusionConfig) -> np.ndarray:
    """β of ᾱ(t) = cos²((t + 0.008)/1.008 π/2), at most 0.999 (Nichol & Dhariwal 2021, eq. 17)."""
    edges = np.arange(config.num_train_timesteps + 1) / config.num_train_timesteps
    products = np.cos((edges + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - products[1:] / products[:-1], 0.999)


_BETAS: dict[str, Callable[[DiffusionConfig], np.ndarray]] = {
    "linear": _linear,
    "scaled_linear": _scaled_linear,
    "squaredcos_cap_v2": _squared_cosine,
    "sigmoid": _sigmoid,
}


def schedule_from_scheduler(config: PathLike | Mapping[str, Any]) -> tuple[Schedule, Prediction]:
    """The schedule and the prediction of a model by its diffusers scheduler, for `from_prediction`.

    | scheduler | schedule | predicts |
    |---|---|---|
    | FlowMatchEulerDiscrete | linear, from data (0) to noise | "velocity" |
    | DDPM, DDIM, PNDM | `ddpm_schedule` of the ᾱ of its betas | "noise", "data" or "v" |
    | EulerDiscrete, EulerAncestralDiscrete | the same | the same |
    | DPMSolverMultistep | the same | the same |

    The model is called with x and the timestep as diffusers calls it: bins 0 to 999, or
    1,000 σ for flow matching (some pipelines divide by 1,000 first, FLUX's for one; then so must
    `call`). Options of diffusers' own steps (`clip_sample`, `timestep_spacing`, ...) are not used.

    Args:
        config: `scheduler_config.json` or the folder that holds it, or its content as a
            dictionary, with `_class_name`.

    Returns:
        The schedule, and what the model predicts: the arguments `schedule` and `predicts` of
        `from_prediction`.

    Raises:
        ValueError: if the scheduler is none of these, or the configuration has a setting that is
            unknown or leads to another path, which is named: `timestep_type="continuous"`,
            `use_flow_sigmas`, noise prediction where `rescale_betas_zero_snr` leaves no signal;
            or if its betas leave ᾱ that do not fall in every bin.
        FileNotFoundError: if there is no such file.

    Example:
        >>> from kinetic_jax.fields import schedule_from_scheduler
        >>> config = {"_class_name": "DDPMScheduler", "beta_schedule": "scaled_linear",
        ...           "beta_start": 0.00085, "beta_end": 0.012}  # Stable Diffusion
        >>> schedule, predicts = schedule_from_scheduler(config)
        >>> predicts, schedule.time(schedule.reading(0.5)).round(2)
        ('noise', Array(0.5, dtype=float32))

    References:
        Lin et al., Common diffusion noise schedules and sample steps are flawed, arXiv
        2305.08891, algorithm 1 (`rescale_betas_zero_snr`).
    """
    name, values = read_scheduler(config)
    if name == FLOW:
        flow = from_description(FlowConfig, values, "config")
        clock = flow.num_train_timesteps
        return linear_schedule(reverse=not flow.invert_sigmas, time_scale=clock), "velocity"
    expected = f"be one of {', '.join((FLOW, *_DIFFUSIONS))}"
    require(name in _DIFFUSIONS, "config's _class_name", short(name), expected)
    values = {key: value for key, value in values.items() if key not in _OF_STEPS}
    diffusion = from_description(DiffusionConfig, values, "config")
    squares = _alphas_cumprod(diffusion, _DIFFUSIONS[name])
    return ddpm_schedule(squares), _PREDICTIONS[diffusion.prediction_type]


def read_scheduler(config: PathLike | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class of a scheduler and its settings, from a dictionary or a file."""
    if not isinstance(config, Mapping):
        file = local_path("config", config)
        config = _from_json(file / "scheduler_config.json" if file.is_dir() else file)
    name = config.get("_class_name")
    has_name = isinstance(name, str)
    expected = "be the configuration of a diffusers scheduler, with its _class_name"
    require(has_name, "config", short(dict(config)), expected)
    settings = {str(key): value for key, value in config.items() if not str(key).startswith("_")}
    for key, value in settings.items():
        if isinstance(value, np.ndarray):  # of a scheduler in memory
            settings[key] = value.tolist()
    return str(name), settings


def _from_json(file: Path) -> Mapping[str, Any]:
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file}")
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"config in {with_size(file)} must be JSON, got {error}") from error
    is_object = isinstance(content, dict)
    require(is_object, f"config in {file}", short(content), "be an object of named fields")
    return content


def _alphas_cumprod(config: DiffusionConfig, last: float) -> np.ndarray:
    """ᾱ_n in float64, from data to noise; `last` is its end where the SNR is rescaled to zero.

    Linear betas leave less than `last` in the bin before it. diffusers' ᾱ rises there; here the end
    is half of that bin's, nearer the zero that `last` stands for.
    """
    betas = _BETAS[config.beta_schedule](config)
    if config.trained_betas is not None:
        betas = np.array([real_number("config.trained_betas", b) for b in config.trained_betas])
        is_long = betas.size == config.num_train_timesteps
        expected = f"be the config's {config.num_train_timesteps} num_train_timesteps"
        require(is_long, "config.trained_betas", f"{betas.size} of them", expected)
    inside = bool(np.all((betas > 0) & (betas < 1)))
    require(inside, "config's betas", f"{betas.min():g} to {betas.max():g}", "lie in (0, 1)")
    squares = np.cumprod(1 - betas)
    if config.rescale_betas_zero_snr:
        roots = np.sqrt(squares)
        squares = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
        squares[-1] = last if last < squares[-2] else squares[-2] / 2
    stored = squares.astype(jax.dtypes.canonicalize_dtype(float))
    falls = bool(np.all(np.diff(stored) < 0) and stored[0] < 1)
    got = f"{betas.size} bins with betas from {betas.min():g} to {betas.max():g}"
    expected = f"give an alphas_cumprod that falls within [0, 1) in {stored.dtype}"
    require(falls, "config's num_train_timesteps and betas", got, expected)
    return squares
