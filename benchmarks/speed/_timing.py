"""Timing in interleaved rounds, so that ratios hold while the machine's speed drifts."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np


class Timing(NamedTuple):
    """Seconds of one contender.

    Attributes:
        first: the first call, with tracing and compiling; None if it was not timed.
        rounds: the later calls, one in each round.
    """

    first: float | None
    rounds: np.ndarray

    @property
    def median(self) -> float:
        """The median of the later calls."""
        return float(np.median(self.rounds))

    @property
    def compiling(self) -> float | None:
        """Tracing and compiling: the first call's time minus that of a later one."""
        return None if self.first is None else max(self.first - self.median, 0.0)

    def ratio(self, baseline: "Timing", quantile: float = 0.5) -> float:
        """The median (or another quantile) over the rounds of this time by the baseline's."""
        return float(np.quantile(self.rounds / baseline.rounds, quantile))


def seconds(call: Callable[[], object]) -> float:
    """The time of a call until its results are ready."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def compare(contenders: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, Timing]:
    """Times all contenders in turn, `rounds` times (A B A B), after their first calls."""
    first = {name: seconds(call) for name, call in contenders.items()}
    times = np.array([[seconds(call) for call in contenders.values()] for _ in range(rounds)])
    return {name: Timing(first[name], times[:, i]) for i, name in enumerate(contenders)}


def compare_first_calls(
    contenders: Mapping[str, Callable[[], object]], *, rounds: int
) -> dict[str, Timing]:
    """Times each contender's first call minus its second, in turn.

    All compiled programs are dropped before each, so that contenders share none.
    """

    def tracing_and_compiling(call: Callable[[], object]) -> float:
        jax.clear_caches()
        return seconds(call) - seconds(call)

    for call in contenders.values():
        tracing_and_compiling(call)  # the very first loads what every program needs
    calls = contenders.values()
    times = np.array([[tracing_and_compiling(call) for call in calls] for _ in range(rounds)])
    return {name: Timing(None, times[:, i]) for i, name in enumerate(contenders)}
