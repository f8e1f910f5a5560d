"""Grids from diffusers' configurations against its own loops (`fields/diffusers_schedulers`)."""

import json
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import sample
from kinetic_jax.fields import from_prediction, schedule_from_scheduler
from kinetic_jax.sampling import grid_from_scheduler, shifted_grid

FILE = Path(__file__).parents[1] / "fields" / "diffusers_schedulers" / "reference.json"
REFERENCE = json.loads(FILE.read_text())
FLOWS = REFERENCE["flows"]
STEPS = 8
SD3, FLUX = FLOWS["Stable Diffusion 3"]["config"], FLOWS["FLUX, 1,024 pixels"]["config"]
every_flow = pytest.mark.parametrize("case", FLOWS.values(), ids=FLOWS)


def grid_of(case):
    return grid_from_scheduler(case["config"], STEPS, mu=case["mu"])


@every_flow
def test_levels_and_clock_are_those_of_diffusers(case):
    """The model's clock too, which diffusers once shifted apart from the levels (issue 14013)."""
    grid = grid_of(case)
    schedule, _ = schedule_from_scheduler(case["config"])
    sigmas = np.array(case["sigmas"])
    is_inverted = case["config"]["invert_sigmas"]
    np.testing.assert_allclose(grid, sigmas if is_inverted else 1 - sigmas, rtol=0, atol=1e-6)
    assert (grid[0], grid[-1], grid.dtype) == (0, 1, np.float64)
    clock = schedule.time_scale * schedule.reading(grid[:-1])
    np.testing.assert_allclose(clock, case["timesteps"], rtol=1e-6, atol=2e-4)


@every_flow
def test_a_loop_of_diffusers_ends_where_sample_does(case):
    schedule, predicts = schedule_from_scheduler(case["config"])

    def model(timestep, x, cond=None):
        return jnp.sin(3 * x) + 0.001 * timestep * (1 - x)

    field = from_prediction(model, predicts=predicts, schedule=schedule)
    run = sample(field, jnp.asarray([case["start"]]), grid=grid_of(case))
    assert np.abs(np.array(case["end"]) - case["start"]).max() > 0.5
    np.testing.assert_allclose(run.x1[0], case["end"], rtol=0, atol=2e-5)
    # And no second shift on the way.
    np.testing.assert_allclose(run.profile.ts, grid_of(case)[:-1], rtol=0, atol=1e-7)


def test_the_shift_is_applied_once():
    grid = grid_from_scheduler(SD3, STEPS)
    np.testing.assert_array_equal(grid, shifted_grid(STEPS, 3.0))
    once, twice = (1 / (1 + s) for s in (3, 9))  # where t = 1/2 goes
    assert grid[STEPS // 2] == pytest.approx(once)
    assert abs(once - twice) > 0.1
    assert shifted_grid(STEPS, 9.0)[STEPS // 2] == pytest.approx(twice)


def test_the_default_levels_of_diffusers():
    """Without levels diffusers begins with a shifted least one, 3 / 1,002, and shifts it again."""
    least, sigmas = REFERENCE["shifted twice"]["least"], REFERENCE["shifted twice"]["sigmas"]
    assert least == pytest.approx(3 / 1002)
    same = grid_from_scheduler(SD3, STEPS, sigmas=np.linspace(1, least, STEPS))
    np.testing.assert_allclose(same, 1 - np.array(sigmas), rtol=0, atol=1e-6)
    once = grid_from_scheduler(SD3, STEPS, sigmas=np.linspace(1, 1 / 1000, STEPS))
    assert 1 - once[-2] == pytest.approx(3 / 1002)


def test_dynamic_shifting_by_the_length_of_the_image():
    for length, mu in ((256, 0.5), (4096, 1.15), (2176, 0.825), (6016, 1.475)):
        grid = grid_from_scheduler(FLUX, STEPS, image_seq_len=length)
        np.testing.assert_allclose(grid, shifted_grid(STEPS, math.exp(mu)), rtol=1e-12)
    linear = FLUX | {"time_shift_type": "linear"}
    grid = grid_from_scheduler(linear, STEPS, image_seq_len=4096)
    np.testing.assert_allclose(grid, shifted_grid(STEPS, 1.15), rtol=1e-12)


def test_one_step():
    np.testing.assert_array_equal(grid_from_scheduler(SD3, 1), [0, 1])
    for spacing in ("karras", "exponential", "beta"):
        config = SD3 | {f"use_{spacing}_sigmas": True}
        np.testing.assert_array_equal(grid_from_scheduler(config, 1), [0, 1])


def test_the_greatest_and_the_least_shift_leave_a_grid():
    for shift in (math.exp(-20), math.exp(20)):
        times = grid_from_scheduler(SD3 | {"shift": shift}, 4)
        assert np.all(np.diff(times) > 0)


def test_files(tmp_path):
    (tmp_path / "scheduler_config.json").write_text(json.dumps(SD3))
    np.testing.assert_array_equal(grid_from_scheduler(tmp_path, 4), shifted_grid(4, 3.0))


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        ({"_class_name": "DDPMScheduler"}, {}, "config's _class_name must be FlowMatchEuler"),
        (SD3 | {"stochastic_sampling": True}, {}, "config.stochastic_sampling must be false"),
        (SD3 | {"shift_type": 1}, {}, r"config must have no fields but .*, got \['shift_type'\]"),
        (SD3 | {"shift_terminal": 1.5}, {}, r"config.shift_terminal must lie in \(0, 1\)"),
        (SD3 | {"time_shift_type": "cubic"}, {}, "config.time_shift_type must be exponential or"),
        (SD3 | {"shift_terminal": 0.1}, {"num_steps": 1}, "num_steps must leave a step to stretch"),
        (
            SD3 | {"use_karras_sigmas": True, "use_beta_sigmas": True},
            {},
            "config must have one of use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas at",
        ),
        (SD3, {"mu": 1.0}, "mu must be left out, as the config has no use_dynamic_shifting, got 1"),
        (SD3, {"image_seq_len": 9}, "image_seq_len must be left out, as the config has no use"),
        (SD3, {"num_steps": 0}, "num_steps must be a whole number >= 1, got 0"),
        (FLUX, {}, r"image_seq_len must be the tokens of the image \(or give mu\)"),
        (FLUX, {"mu": 1.0, "image_seq_len": 9}, "image_seq_len must be left out with mu, got 9"),
        (FLUX, {"mu": 1e4}, r"mu must lie in \[-20, 20\], got 10000"),
        (
            FLUX | {"time_shift_type": "linear"},
            {"mu": -1},
            r"mu must lie in \[2.1e-09, 4.9e\+08\] where time_shift_type is linear, got -1",
        ),
        (
            FLUX,
            {"image_seq_len": 10**9},
            r"image_seq_len must give a mu in \[-20, 20\], got 1000000000, of which mu is 169",
        ),
        (
            SD3 | {"shift": 1e-30},
            {},
            r"config.shift must lie in \[2.06115e-09, 4.85165e\+08\], got 1e-30",
        ),
        (
            FLUX | {"max_image_seq_len": 256},
            {"image_seq_len": 9},
            "config.max_image_seq_len must exceed",
        ),
        (FLUX | {"base_shift": None}, {"image_seq_len": 9}, "config.base_shift must be a finite"),
        (SD3, {"sigmas": [1.0, 0.5]}, r"sigmas must be num_steps = 4 levels, got shape \(2,\)"),
        (SD3, {"sigmas": [1.0, 0.5, 0.5, 0.2]}, r"sigmas must fall in \(0, 1\]"),
        (SD3, {"sigmas": [1.0, 0.5, 0.2, 0.0]}, r"sigmas must fall in \(0, 1\]"),
        (SD3, {"sigmas": [1.2, 0.5, 0.2, 0.1]}, r"sigmas must fall in \(0, 1\]"),
    ],
)
@pytest.mark.usefixtures("own_messages")
def test_what_is_not_supported_is_named(config, settings, message):
    with pytest.raises(ValueError, match=message):
        grid_from_scheduler(config, **{"num_steps": 4} | settings)
