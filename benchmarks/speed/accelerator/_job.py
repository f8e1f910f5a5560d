"""A job of 50,000 samples on disk, against `sample` alone on the same batches.

Estimate for an H200: 50,000 images, 25 steps, 1.05 GFlop: 1.3 PFlop, 15 to 30 s in bfloat16, and a
fifth of it for `sample` alone.
"""

import contextlib
import functools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.speed._record import Claim, Recorder
from benchmarks.speed.accelerator._unet import field_of
from kinetic_jax import noise, sample
from kinetic_jax.jobs import JobSettings, _run, run_job
from kinetic_jax.networks import NetworkField

ALONE, JOB = "sample alone", "run_job"
LIMIT = 1 / 0.95  # at least 95% of the rate of `sample`


@contextlib.contextmanager
def timed(module: Any, name: str) -> Iterator[list[float]]:
    """The seconds of each call of a module's function."""
    function, spent = getattr(module, name), list[float]()

    def call(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            spent.append(time.perf_counter() - start)

    setattr(module, name, call)
    try:
        yield spent
    finally:
        setattr(module, name, function)


def run(recorder: Recorder) -> None:
    """Samples per second, and the share of time in which the device waits."""
    field, name = field_of(recorder)
    n, batch, steps, shard = recorder.pick((50_000, 512, 25, 4096), (24, 4, 3, 8))
    settings = functools.partial(JobSettings, num_steps=steps, shard_size=shard)
    quiet: dict[str, Any] = {"batch_size": batch, "say": None, "progress": False}
    with tempfile.TemporaryDirectory() as folder:
        run_job(field, Path(folder) / "compiling", settings(n=batch), **quiet)
        part = max(n // batch // 10, 1)
        before = _alone(field, batch, steps, range(part))
        with timed(_run, "write_shard") as writing, timed(_run, "_sample_batch") as sampling:
            start = time.perf_counter()
            run_job(field, Path(folder) / "job", settings(n=n), **quiet)
            total = time.perf_counter() - start
        after = _alone(field, batch, steps, range(part, 2 * part))
    title = f"a job of {n:,} samples, {name}, Euler {steps}, batch {batch}"
    rates = {ALONE: 2 * part * batch / (before + after), JOB: n / total}
    # The slower one is the divisor, so that the limit is one of times.
    claim = Claim(ALONE, LIMIT, against=JOB)
    recorder.figures(f"rate, {title}", "samples/s", rates, claim, dtype="bfloat16")
    shares = {
        "outside the sampling of batches": 100 * (1 - sum(sampling) / total),
        "writing files": 100 * sum(writing) / total,
    }
    recorder.figures(f"share of the time, {title}", "%", shares, dtype="bfloat16")


def _alone(field: NetworkField, batch: int, steps: int, batches: range) -> float:
    """Seconds of `sample` on some of the job's batches, with their noise."""

    def once(number: int) -> None:
        index = jnp.arange(number * batch, (number + 1) * batch, dtype=jnp.uint32)
        x0 = noise(jax.random.key(0), index, field.event_shape)
        jax.block_until_ready(sample(field, x0, num_steps=steps))

    once(batches.start)
    start = time.perf_counter()
    for number in batches:
        once(number)
    return time.perf_counter() - start
