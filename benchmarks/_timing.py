"""Timing in interleaved rounds: ratios hold where the machine's speed drifts."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np


class Timing(NamedTuple):
    """Seconds of one contender.

    Attributes:
        first: the first call: tracing, compiling and running.
        median: of the later calls.
        low: the fastest of them.
        high: the slowest.
        ratio: median over the rounds of its time by the baseline's in the same round.
        ratio_low: the first quartile of those ratios.
        ratio_high: the third quartile.
    """

    first: float
    median: float
    low: float
    high: float
    ratio: float
    ratio_low: float
    ratio_high: float


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes until its results are there."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def compare(contenders: Mapping[str, Callable[[], Any]], *, rounds: int) -> dict[str, Timing]:
    """Times all contenders in turn, `rounds` times over; the first is the baseline."""
    first = {name: seconds(call) for name, call in contenders.items()}
    taken = np.array([[seconds(call) for call in contenders.values()] for _ in range(rounds)])
    ratios = taken / taken[:, :1]
    return {
        name: Timing(
            first[name],
            float(np.median(taken[:, i])),
            float(taken[:, i].min()),
            float(taken[:, i].max()),
            *(float(np.quantile(ratios[:, i], q)) for q in (0.5, 0.25, 0.75)),
        )
        for i, name in enumerate(contenders)
    }
