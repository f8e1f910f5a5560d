"""Runs the parts of a preset within a time; the file is written after each figure."""

import datetime
import gc
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import jax

from benchmarks.speed._machine import machine, summary
from benchmarks.speed._record import Recorder
from benchmarks.speed._results import results_file, write_suite

SUITE = "accelerator: {}"
# Seconds beyond the budget in which a part that has begun may end.
GRACE = 30.0
# JAX takes three quarters of a GPU by default; PyTorch needs room beside it.
MEMORY = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.6"}


class LeftOutError(Exception):
    """A measurement that this machine cannot make; the message says why."""


class Part(NamedTuple):
    """A measurement.

    Attributes:
        name: as given to `--part`.
        seconds: an estimate at full scale on an H200, with compiling.
        run: records its figures.
    """

    name: str
    seconds: float
    run: Callable[[Recorder], None]


def run_parts(
    parts: Sequence[Part],
    out: Path,
    *,
    small: bool = False,
    budget: float = 330.0,
    rounds: int = 5,
) -> Path:
    """Runs parts in their order and returns the file of their results, a suite for each.

    A part that fails is left out with its reason, and so is one that has not begun when the budget
    is used up, or that would end too far beyond it by its estimate.

    Args:
        parts: what to measure, the most important first.
        out: folder of the results.
        small: tiny sizes, whose ratios are not judged.
        budget: seconds.
        rounds: interleaved rounds of calls that take long.
    """
    for name, value in MEMORY.items():
        os.environ.setdefault(name, value)
    began, this_machine = time.monotonic(), machine()
    click.echo(summary(this_machine))
    path = results_file(out, this_machine, datetime.date.today(), quick=small)
    left_out: dict[str, str] = {}
    for part in parts:
        recorder = Recorder(rounds, quick=small, judges=this_machine["platform"] != "cpu")

        def keep(name: str = part.name, recorder: Recorder = recorder) -> None:
            write_suite(
                path,
                SUITE.format(name),
                recorder.records,
                machine=this_machine,
                rounds=rounds,
                at=datetime.datetime.now(),
                left_out=left_out.get(name),
            )

        recorder.kept = keep
        spent = time.monotonic() - began
        click.echo(f"\n{part.name}: at {spent:.0f} s of {budget:g} s")
        reason = _no_time(part, spent, budget, small=small) or _failure(part, recorder)
        if reason is not None:
            left_out[part.name] = reason
            click.echo(f"left out: {part.name}: {reason}")
            keep()
    click.echo(f"\n{time.monotonic() - began:.0f} s; {len(left_out)} of {len(parts)} left out")
    for name, reason in left_out.items():
        click.echo(f"left out: {name}: {reason}")
    click.echo(f"results: {path}")
    return path


def _no_time(part: Part, spent: float, budget: float, *, small: bool) -> str | None:
    """Why there is no time for a part; None if there is."""
    if spent >= budget:
        return f"the budget of {budget:g} s was used up"
    if not small and spent + part.seconds > budget + GRACE:
        return f"{budget - spent:.0f} s of the budget are left, and it takes about {part.seconds:g}"
    return None


def _failure(part: Part, recorder: Recorder) -> str | None:
    """Runs a part and returns why it failed; None if it did not."""
    reason = None
    try:
        part.run(recorder)
    except Exception as error:
        text = str(error).strip().partition("\n")[0][:300]
        reason = text if isinstance(error, LeftOutError) else f"{type(error).__name__}: {text}"
        jax.clear_caches()
    # After the traceback is gone, which holds arrays whose room the next part needs.
    gc.collect()
    return reason
