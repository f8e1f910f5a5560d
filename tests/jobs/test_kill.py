"""Jobs that are killed or interrupted, as processes of their own, by the command itself."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from kinetic_jax._cli._sample import find_field
from kinetic_jax.jobs import JobSettings, run_job

pytestmark = pytest.mark.long

SETTINGS = {"labels": "all", "num_steps": 20, "alpha0": 0.05}
BATCH = 8
MOST = 12


def start(saved, out, n, shard_size):
    settings = SETTINGS | {"n": n, "shard_size": shard_size, "batch_size": BATCH}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    # Not a terminal: no bar may appear, whatever the surroundings ask of one.
    environment = {
        k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "TTY_COMPATIBLE")
    }
    command = [sys.executable, "-m", "kinetic_jax", "sample", f"--field={saved}", f"--out={out}"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background ignores it
    try:
        return subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


def shards(out):
    return len(list(out.glob("shard-*.npz")))


def wait_for(moment, process):
    """Waits until it has come; tells whether it did before the process ended."""
    while not moment():
        if process.poll() is not None:
            return False
        time.sleep(0.0005)
    return process.poll() is None


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def killed_until_done(saved, out, n, shard_size, kills, at_work, seed):
    """Runs a job to its end with so many kills before; how many found it at work on its shards.

    The moments are random in what has been done by then, not in time, so that a machine of any
    speed meets them: so many more shards than when the run began, and a moment more. Where they
    are random in time, no run makes more than `MOST` shards, or a fast machine is done too early.
    """
    draws, total, struck = random.Random(seed), -(-n // shard_size), 0
    for number in range(kills):
        before = shards(out)
        process = start(saved, out, n, shard_size)
        if number in at_work:
            more = draws.randint(1, 2)
            moment = lambda: shards(out) >= before + more  # noqa: B023, E731
            assert wait_for(moment, process), process.communicate()
            time.sleep(draws.uniform(0.0, 0.02))
        else:  # at any moment from the start of the process on, with shards left for the next kills
            deadline, most = time.monotonic() + draws.uniform(0.0, 4.0), before + MOST
            wait_for(lambda: time.monotonic() >= deadline or shards(out) >= most, process)  # noqa: B023
        assert process.poll() is None, "more shards are needed for so many kills"
        kill(process)
        struck += before < shards(out) < total
    process = start(saved, out, n, shard_size)
    told, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors == ""  # no bar where there is no terminal
    assert told.endswith(f"{n:,} samples in {total:,} shards, all of them finite\n")
    return struck


def assert_as_undisturbed(saved, out, n, shard_size, contents, tmp_path):
    settings = JobSettings(n=n, shard_size=shard_size, **SETTINGS)
    run_job(find_field(str(saved)), tmp_path / "whole", settings, batch_size=BATCH, say=None)
    whole = contents(tmp_path / "whole")
    assert len(whole) == 2 * (1 + -(-n // shard_size))
    assert contents(out) == whole


def test_a_killed_job_ends_as_an_undisturbed_one(saved, contents, tmp_path):
    n, shard_size, out = 990, 20, tmp_path / "killed"
    struck = killed_until_done(saved, out, n, shard_size, kills=4, at_work={0, 1, 3}, seed=0)
    assert struck >= 1
    assert_as_undisturbed(saved, out, n, shard_size, contents, tmp_path)


@pytest.mark.slow
def test_thirty_kills(saved, contents, tmp_path):
    n, shard_size, out = 9_990, 20, tmp_path / "killed"
    at_work = set(random.Random(1).sample(range(30), 20))
    struck = killed_until_done(saved, out, n, shard_size, kills=30, at_work=at_work, seed=1)
    print(f"30 kills, {struck} of them while shards were made")
    assert struck >= 20
    assert_as_undisturbed(saved, out, n, shard_size, contents, tmp_path)


def test_ctrl_c_stops_between_batches(saved, contents, tmp_path):
    n, shard_size, out = 10_000, 20, tmp_path / "interrupted"
    process = start(saved, out, n, shard_size)
    assert wait_for(lambda: shards(out) >= 2, process), process.communicate()
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    made = shards(out)
    assert errors == f"interrupted; the same command goes on from shard {made + 1} of 500 " + (
        f"(shard-{made:05d}.npz)\n"
    )
    assert 2 <= made < 500
    assert len(contents(out)) == 2 * (1 + made)  # nothing half made
