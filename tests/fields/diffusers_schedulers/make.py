"""Writes reference.json, the numbers of diffusers' schedulers; needs diffusers, SciPy and PyTorch.

The file is by diffusers 0.42.1 and torch 2.13.0.
"""

import json
import logging
from pathlib import Path

import diffusers.schedulers
import numpy as np
import torch

BINS = [0, 1, 2, 10, 100, 250, 500, 750, 900, 990, 997, 998, 999]
STABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
DIFFUSIONS = {
    "DDPM, all defaults": ("DDPMScheduler", {}),
    "Stable Diffusion 1.5": (
        "PNDMScheduler",
        STABLE | {"skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1},
    ),
    "Stable Diffusion XL": (
        "EulerDiscreteScheduler",
        STABLE | {"timestep_spacing": "leading", "steps_offset": 1},
    ),
    "Stable Diffusion 2.1": (
        "DDIMScheduler",
        STABLE | {"prediction_type": "v_prediction", "clip_sample": False},
    ),
    "zero SNR": (
        "DDIMScheduler",
        STABLE | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    ),
    "zero SNR, data": (
        "DDPMScheduler",
        {"prediction_type": "sample", "rescale_betas_zero_snr": True},
    ),
    "zero SNR, nearly": (
        "EulerDiscreteScheduler",
        STABLE | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    ),
    # In the last bin but one of these two there is less signal than diffusers puts in the last.
    "zero SNR, nearly, linear": (
        "EulerDiscreteScheduler",
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    ),
    "zero SNR, nearly, linear, data": (
        "DPMSolverMultistepScheduler",
        {"prediction_type": "sample", "rescale_betas_zero_snr": True},
    ),
    "cosine": (
        "DDPMScheduler",
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"},
    ),
    "sigmoid": ("DDPMScheduler", {"beta_schedule": "sigmoid"}),
    "DPM-Solver": ("DPMSolverMultistepScheduler", STABLE),
    "ancestral": ("EulerAncestralDiscreteScheduler", {"beta_end": 0.01}),
    "trained": (
        "DDIMScheduler",
        {"num_train_timesteps": 4, "trained_betas": [0.1, 0.2, 0.4, 0.7]},
    ),
}
FLUX = {
    "shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15,
    "base_image_seq_len": 256, "max_image_seq_len": 4096,
}  # fmt: skip
# Configuration, and mu, of flow matching; with sigmas from 1 to 1/N as FLUX's pipeline has them.
FLOWS = {
    "Stable Diffusion 3": ({"shift": 3.0}, None),
    "no shift": ({}, None),
    "FLUX, 1,024 pixels": (FLUX, 1.15),
    "FLUX, 256 pixels": (FLUX, 0.5),
    "linear": (FLUX | {"time_shift_type": "linear"}, 1.15),
    "LTX": (FLUX | {"shift_terminal": 0.1, "max_shift": 2.05, "base_shift": 0.95}, 1.5),
    "Karras": ({"shift": 2.0, "use_karras_sigmas": True}, None),
    "exponential": ({"shift": 2.0, "use_exponential_sigmas": True}, None),
    "beta": ({"shift": 2.0, "use_beta_sigmas": True, "shift_terminal": 0.05}, None),
    "Mochi": ({"invert_sigmas": True, "num_train_timesteps": 500, "shift": 1.5}, None),
}
STEPS = 8


def scheduler(name, config):
    return getattr(diffusers.schedulers, name)(**config)


def diffusion(name, config):
    """ᾱ in some bins, and a model's input and output in one of them by diffusers' own functions."""
    made = scheduler(name, config)
    last = made.config.num_train_timesteps - 1
    bins = [*(n for n in BINS if n < last), last]
    n = bins[len(bins) // 2]
    data, noise, timestep = torch.tensor([0.8]), torch.tensor([-1.7]), torch.tensor([n])
    ddpm = diffusers.schedulers.DDPMScheduler(trained_betas=made.betas.numpy())
    target = {
        "epsilon": lambda: noise,
        "sample": lambda: data,
        "v_prediction": lambda: ddpm.get_velocity(data, noise, timestep),
    }[made.config.prediction_type]()
    return {
        "config": {"_class_name": name, "_diffusers_version": diffusers.__version__}
        | {key: value for key, value in made.config.items() if not key.startswith("_")},
        "bins": bins,
        "alphas_cumprod": made.alphas_cumprod[bins].tolist(),
        "prediction": made.config.prediction_type,
        "bin": n,
        "input": ddpm.add_noise(data, noise, timestep).item(),
        "output": target.item(),
        "data": data.item(),
        "noise": noise.item(),
    }


def model(x, timestep):
    """Any function of a model's input and clock."""
    return torch.sin(3 * x) + 0.001 * timestep * (1 - x)


def flow(config, mu):
    """Levels and timesteps, and where a loop of the scheduler's steps ends."""
    made = scheduler("FlowMatchEulerDiscreteScheduler", config)
    made.set_timesteps(sigmas=np.linspace(1, 1 / STEPS, STEPS).tolist(), mu=mu)
    x = torch.tensor([0.3, -1.2, 2.0])
    start = x.tolist()
    for timestep in made.timesteps:
        x = made.step(model(x, timestep), timestep, x).prev_sample
    return {
        "config": json.loads(made.to_json_string()),
        "mu": mu,
        "sigmas": made.sigmas.tolist(),
        "timesteps": made.timesteps.tolist(),
        "start": start,
        "end": x.tolist(),
    }


def main():
    """Writes the file."""
    logging.disable()
    twice = scheduler("FlowMatchEulerDiscreteScheduler", {"shift": 3.0})
    least = twice.sigma_min
    twice.set_timesteps(STEPS)
    reference = {
        "diffusers": diffusers.__version__,
        "diffusions": {name: diffusion(*case) for name, case in DIFFUSIONS.items()},
        "flows": {name: flow(*case) for name, case in FLOWS.items()},
        # Its default levels: the least one is shifted when the scheduler is made, and again here.
        "shifted twice": {"least": least, "sigmas": twice.sigmas.tolist()},
    }
    file = Path(__file__).with_name("reference.json")
    file.write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main()
