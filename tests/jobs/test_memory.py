"""The memory of a job and of its diagnosis does not grow with the number of samples."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import jax, numpy as np
from kinetic_jax import JobSettings, diagnose_job, network_field, run_job

field = network_field("mlp", (3072,), key=jax.random.key(0), width=8, depth=0)
train = np.random.default_rng(0).normal(size=(64, 3072)).astype(np.float32)
for n in map(int, sys.argv[2:]):
    settings = JobSettings(n=n, shard_size=500, steps=2)
    diagnose_job(run_job(field, f"{sys.argv[1]}/{n}", settings, say=None), train)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def grown(folder, *numbers):
    """By how many megabytes the peak of memory rises from one job to the next, in one process."""
    command = [sys.executable, "-c", SCRIPT, str(folder), *map(str, numbers)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    few, many = (int(line) / 1e3 for line in found.stdout.split())
    return many - few


def test_memory_of_five_times_the_samples(tmp_path):
    # Kept, the 6,000 samples more would take 74 MB.
    assert grown(tmp_path, 1_500, 7_500) < 30


@pytest.mark.slow
def test_memory_of_sixty_times_the_samples(tmp_path):
    growth = grown(tmp_path, 1_500, 90_000)  # 1,088 MB more, if they were kept
    print(f"{growth:.1f} MB more memory for 90,000 samples of 3,072 numbers than for 1,500")
    assert growth < 100
