"""A job's memory does not grow with the number of its samples."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import jax
from kinetic_jax import JobSettings, network_field, run_job

field = network_field("mlp", (3072,), key=jax.random.key(0), width=8, depth=0)
for n in map(int, sys.argv[2:]):
    settings = JobSettings(n=n, shard_size=500, steps=2)
    run_job(field, f"{sys.argv[1]}/{n}", settings, say=None)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def grown(folder, *numbers):
    """By how many megabytes the peak of memory rises from one job to the next, in one process."""
    command = [sys.executable, "-c", SCRIPT, str(folder), *map(str, numbers)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    few, many = (int(line) / 1e3 for line in found.stdout.split())
    return many - few


def test_memory_of_eight_times_the_samples(tmp_path):
    # Kept, the 7,000 samples more would take 86 MB.
    assert grown(tmp_path, 1_000, 8_000) < 30


@pytest.mark.slow
def test_memory_of_a_hundred_times_the_samples(tmp_path):
    growth = grown(tmp_path, 1_000, 100_000)  # 1,217 MB more, if they were kept
    print(f"{growth:.1f} MB more memory for 100,000 samples of 3,072 numbers than for 1,000")
    assert growth < 30
