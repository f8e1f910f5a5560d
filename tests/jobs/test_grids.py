"""Grids of jobs: by name with a number, listed times, and those from the profile of another job."""

import hashlib
import json

import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

from kinetic_jax import kts, noise, sample
from kinetic_jax._cli import cli
from kinetic_jax._digest import digest
from kinetic_jax.jobs import JobSettings, open_job, run_job
from kinetic_jax.jobs._description import as_owner
from kinetic_jax.jobs._plan import job_key
from kinetic_jax.sampling import grid_from_profile, shifted_grid

PLAIN = {"n": 5, "labels": None, "alpha0": 0.0, "beta0": 0.0}


def x1_of(job):
    return np.concatenate([shard.x1 for shard in job.check().shards()])


@pytest.fixture(scope="module")
def pilot(run, tmp_path_factory):
    """25 samples in shards of 10, with profiles, on [0.1, 0.9]."""
    folder = tmp_path_factory.mktemp("pilot")
    return run(folder, num_steps=16, profile=True, t0=0.1, t1=0.9)


def test_a_grid_of_a_name_and_a_number(run, tmp_path):
    """It is shifted_grid, described by its name, however the number is written."""
    job = run(tmp_path / "named", **PLAIN, grid="shifted:3")
    assert (job.about["grid"], job.about["steps"]) == ("shifted:3.0", 4)
    listed = run(tmp_path / "listed", **PLAIN, grid=shifted_grid(4, 3.0))
    np.testing.assert_array_equal(x1_of(job), x1_of(listed))
    uniform = run(tmp_path / "uniform", **PLAIN)
    assert np.abs(x1_of(uniform) - x1_of(job)).max() > 1e-3
    run(tmp_path / "named", **PLAIN, grid="shifted:3.00")
    with pytest.raises(ValueError, match=r'grid = "shifted:3\.0", got "shifted:2\.5"'):
        run(tmp_path / "named", **PLAIN, grid="shifted:2.5")


@pytest.mark.parametrize("grid", ["shifted", "shifted:", "shifted:0", "shifted:nan", "cosine:2"])
def test_names_that_make_no_sense(grid):
    with pytest.raises(
        ValueError, match=r"grid must be 'uniform', 'cosine', 'shifted:S' \(S > 0\)"
    ):
        JobSettings(n=1, grid=grid)


def test_times_are_listed_to_be_read(field, tmp_path):
    """Up to 1,024 of them; older versions, whose description has a digest, are still matched."""
    times = np.linspace(0, 1, 201) ** 2
    job = run_job(field, tmp_path, JobSettings(n=2, grid=times), say=None)
    assert job.about["grid"] == times.tolist()
    before = job.about | {"grid": {"number": 201, "sha256": digest([times])}}
    assert as_owner(before) == as_owner(job.about)
    content = json.dumps(before).encode()
    (tmp_path / "job.json").write_bytes(content)
    checksum = f"{hashlib.sha256(content).hexdigest()}  job.json\n"
    (tmp_path / "job.json.sha256").write_text(checksum)
    run_job(field, tmp_path, JobSettings(n=2, grid=times), say=None)
    with pytest.raises(ValueError, match="holds a job with grid ="):
        run_job(field, tmp_path, JobSettings(n=2, grid=np.linspace(0, 1, 201)), say=None)
    longer = JobSettings(n=1, grid=np.linspace(0, 1, 1_025))
    about = run_job(field, tmp_path / "longer", longer, say=None).about
    assert (about["grid"]["number"], about["steps"]) == (1_025, 1_024)


def test_a_grid_from_the_profiles_of_a_job(pilot, field):
    """That of all its samples in one batch."""
    x0 = noise(job_key(0), jnp.arange(25), (2,))
    direct = sample(
        kts(0.1, 0.01)(field), x0, np.arange(25, dtype=np.int32) % 3, num_steps=16, t0=0.1, t1=0.9
    )
    expected = grid_from_profile(direct, 7, t1=0.9)
    np.testing.assert_allclose(pilot.grid_from_profile(7), expected, rtol=1e-5)
    assert pilot.grid_from_profile(7)[-1] == 0.9
    high = grid_from_profile(direct, 7, t1=0.9, floor=1.0)
    np.testing.assert_allclose(pilot.grid_from_profile(7, floor=1.0), high, rtol=1e-5)
    assert np.abs(high - expected).max() > 1e-3


def test_without_profiles_there_is_none(run, tmp_path):
    job = run(tmp_path)
    with pytest.raises(ValueError, match=f"profile must be kept by the job {tmp_path}"):
        job.grid_from_profile(4)


@pytest.mark.long
def test_on_the_command_line(pilot, saved, tmp_path):
    """The description says which grid it was; repeated, the command goes on."""

    def call(*options):
        same = ["--field", str(saved), "--n=5", "--num-steps=4", "--t0=0.1", "--t1=0.9"]
        return CliRunner().invoke(cli, ["sample", *same, *options])

    out = str(tmp_path / "out")
    for _ in range(2):
        done = call("--out", out, "--grid", f"profile:{pilot.folder}")
        assert done.exit_code == 0, done.output
    times = pilot.grid_from_profile(4)
    assert open_job(out).about["grid"] == times.tolist()
    shifted = call("--out", f"{out}-shifted", "--grid", "shifted:3")
    assert shifted.exit_code == 0, shifted.output
    about = open_job(f"{out}-shifted").about
    assert (about["grid"], about["steps"]) == ("shifted:3.0", 4)
    for grid, message in (
        ("shifted:-1", "grid must be 'uniform', 'cosine', 'shifted:S' (S > 0)"),
        (f"profile:{out}", f"profile must be kept by the job {out}"),
        (f"profile:{saved}", f"there is no job in {saved}"),
        ("profile:", "grid must be uniform, cosine, shifted:S, profile:FOLDER, or a file"),
        ("steep", "grid must be uniform, cosine, shifted:S, profile:FOLDER, or a file"),
    ):
        refused = call("--out", str(tmp_path / "none"), "--grid", grid)
        assert refused.exit_code == 1
        assert message in refused.output, refused.output
    assert not (tmp_path / "none").exists()
    help_text = " ".join(CliRunner().invoke(cli, ["sample", "--help"]).output.split())
    assert "uniform, cosine, shifted:S, profile:FOLDER" in help_text
