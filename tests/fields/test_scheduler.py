"""Schedules from diffusers' configurations against its numbers (`diffusers_schedulers/make.py`)."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax.fields import from_prediction, schedule_from_scheduler

REFERENCE = json.loads(
    Path(__file__).with_name("diffusers_schedulers").joinpath("reference.json").read_text()
)
DIFFUSIONS, FLOWS = REFERENCE["diffusions"], REFERENCE["flows"]
PREDICTS = {"epsilon": "noise", "sample": "data", "v_prediction": "v"}
DDPM = {"_class_name": "DDPMScheduler"}


@pytest.mark.parametrize("case", DIFFUSIONS.values(), ids=DIFFUSIONS)
def test_alphas_cumprod(case):
    schedule, predicts = schedule_from_scheduler(case["config"])
    assert predicts == PREDICTS[case["prediction"]]
    bins, expected = jnp.asarray(case["bins"], jnp.float32), np.array(case["alphas_cumprod"])
    assert schedule.span.tolist() == [bins[-1], 0]
    if expected[-1] > expected[-2]:  # by diffusers' last bin, where the SNR is to be zero
        assert schedule.alpha(bins[-1]) ** 2 == pytest.approx(expected[-2] / 2, rel=0.2)
        bins, expected = bins[:-1], expected[:-1]
    # diffusers multiplies a thousand numbers in float32.
    np.testing.assert_allclose(schedule.alpha(bins) ** 2, expected, rtol=3e-5, atol=1e-9)
    np.testing.assert_allclose(schedule.sigma(bins) ** 2, 1 - expected, rtol=3e-5, atol=3e-7)


@pytest.mark.parametrize("case", DIFFUSIONS.values(), ids=DIFFUSIONS)
def test_a_model_by_diffusers_has_the_velocity_of_the_linear_path(case):
    """Input and output of a perfect model on one pair: the velocity is data − noise."""
    schedule, predicts = schedule_from_scheduler(case["config"])

    def model(timestep, x, cond=None):
        right = (timestep == case["bin"]) & (jnp.abs(x - case["input"]) < 1e-4)
        return jnp.where(right, case["output"], jnp.nan)

    field = from_prediction(model, predicts=predicts, schedule=schedule)
    r = jnp.asarray(case["bin"], jnp.float32)
    t, size = schedule.time(r), schedule.alpha(r) + schedule.sigma(r)
    velocity = field(t, jnp.asarray([case["input"]]) / size)
    np.testing.assert_allclose(velocity, [case["data"] - case["noise"]], rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in DIFFUSIONS if name.startswith("zero SNR")])
def test_at_no_signal(name):
    """t = 0 is on the path: x is the noise, and the velocity D − x, without a NaN."""
    schedule, predicts = schedule_from_scheduler(DIFFUSIONS[name]["config"])
    assert float(schedule.time(999.0)) < 3e-4

    def model(timestep, x, cond=None):  # the mean of the data is 2; v is −D at no signal
        return jnp.full_like(x, 2.0 if predicts == "data" else -2.0)

    field = from_prediction(model, predicts=predicts, schedule=schedule)
    velocity = field(jnp.asarray(0.0), jnp.asarray([0.5, -1.0]))
    np.testing.assert_allclose(velocity, [1.5, 3.0], atol=1e-3)


def test_flow_matching():
    schedule, predicts = schedule_from_scheduler(FLOWS["Stable Diffusion 3"]["config"])
    assert (predicts, schedule.span.tolist(), float(schedule.time_scale)) == (
        "velocity",
        [1, 0],
        1000,
    )
    mochi, _ = schedule_from_scheduler(FLOWS["Mochi"]["config"])
    assert (mochi.span.tolist(), float(mochi.time_scale)) == ([0, 1], 500)


def test_files(tmp_path):
    config = DIFFUSIONS["Stable Diffusion XL"]["config"]
    file = tmp_path / "scheduler_config.json"
    file.write_text(json.dumps(config))
    expected = schedule_from_scheduler(config)
    for place in (file, str(tmp_path)):
        schedule, predicts = schedule_from_scheduler(place)
        assert predicts == expected[1]
        for leaf, other in zip(*map(jax.tree.leaves, (schedule, expected[0])), strict=True):
            np.testing.assert_array_equal(leaf, other)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        schedule_from_scheduler(tmp_path / "none")
    file.write_text("{")
    with pytest.raises(ValueError, match=r"config in .*scheduler_config.json \(1 bytes\) must be"):
        schedule_from_scheduler(file)
    file.write_text("[1]")
    with pytest.raises(ValueError, match=r"config in .* must be an object of named fields, got"):
        schedule_from_scheduler(file)


def test_numbers_of_a_scheduler_in_memory():
    config = DDPM | {"num_train_timesteps": 3, "trained_betas": np.array([0.1, 0.2, 0.9])}
    schedule, _ = schedule_from_scheduler(config)
    np.testing.assert_allclose(schedule.alpha(jnp.arange(3.0)) ** 2, [0.9, 0.72, 0.072], rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "config must be the configuration of a diffusers scheduler, with its _class_name"),
        ({"_class_name": "KDPM2DiscreteScheduler"}, "config's _class_name must be one of Flow"),
        (DDPM | {"beta_sart": 0.1}, r"config must have no fields but .*, got \['beta_sart'\]"),
        (DDPM | {"beta_schedule": "laplace"}, "config.beta_schedule must be one of linear, scaled"),
        (DDPM | {"prediction_type": "flow_prediction"}, "config.prediction_type must be one of"),
        (DDPM | {"beta_start": -0.1}, r"config.beta_start must lie in \(0, 1\), got -0.1"),
        (DDPM | {"beta_end": "much"}, "config.beta_end must be a finite number"),
        (DDPM | {"num_train_timesteps": 1}, r"config.num_train_timesteps must be a whole number"),
        (DDPM | {"trained_betas": [0.1, 0.2]}, "config.trained_betas must be the config's 1000"),
        (
            DDPM | {"trained_betas": [0.1, 1.0], "num_train_timesteps": 2},
            r"config's betas must lie in \(0, 1\), got 0.1 to 1",
        ),
        (DDPM | {"timestep_type": "continuous"}, "config.timestep_type must be discrete"),
        (DDPM | {"use_flow_sigmas": True}, "config.use_flow_sigmas must be false"),
        (
            DDPM | {"rescale_betas_zero_snr": True},
            "config.prediction_type must be v_prediction or sample where rescale_betas_zero_snr",
        ),
        (DDPM | {"rescale_betas_zero_snr": 1}, "config.rescale_betas_zero_snr must be true or"),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 0},
            r"config.shift must lie in \[2.06115e-09, 4.85165e\+08\], got 0",
        ),
        (
            DDPM | {"num_train_timesteps": 10**6},
            r"config's num_train_timesteps and betas must give an alphas_cumprod that falls within "
            r"\[0, 1\) in float32, got 1000000 bins with betas from 0.0001 to 0.02",
        ),
    ],
)
def test_what_is_not_supported_is_named(config, message):
    with pytest.raises(ValueError, match=message):
        schedule_from_scheduler(config)
