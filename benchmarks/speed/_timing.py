"""Timing in interleaved rounds: ratios hold where the machine's speed drifts."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np


class Timing(NamedTuple):
    """Seconds of one contender.

    Attributes:
        first: the first call: tracing, compiling and running; None where it was not timed.
        rounds: the later calls, one a round.
    """

    first: float | None
    rounds: np.ndarray

    @property
    def median(self) -> float:
        """The median of the later calls."""
        return float(np.median(self.rounds))

    @property
    def compiling(self) -> float | None:
        """Tracing and compiling: the first call's time beyond that of a later one."""
        return None if self.first is None else max(self.first - self.median, 0.0)

    def ratio(self, baseline: "Timing", quantile: float = 0.5) -> float:
        """The median (or another quantile) over the rounds of this by the baseline's time."""
        return float(np.quantile(self.rounds / baseline.rounds, quantile))


def seconds(call: Callable[[], Any]) -> float:
    """The time of a call until its results are there."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def compare(contenders: Mapping[str, Callable[[], Any]], *, rounds: int) -> dict[str, Timing]:
    """Times all contenders in turn, `rounds` times over (A B A B); the first calls apart."""
    first = {name: seconds(call) for name, call in contenders.items()}
    taken = np.array([[seconds(call) for call in contenders.values()] for _ in range(rounds)])
    return {name: Timing(first[name], taken[:, i]) for i, name in enumerate(contenders)}


def compare_first_calls(
    contenders: Mapping[str, Callable[[], Any]], *, rounds: int
) -> dict[str, Timing]:
    """Times what each contender's first call takes beyond its second, in turn.

    Before each of them everything that was traced and compiled is forgotten, so that no contender
    finds another's programs.
    """

    def tracing_and_compiling(call: Callable[[], Any]) -> float:
        jax.clear_caches()
        return seconds(call) - seconds(call)

    for call in contenders.values():
        tracing_and_compiling(call)  # the very first also loads what every program needs
    calls = contenders.values()
    taken = np.array([[tracing_and_compiling(call) for call in calls] for _ in range(rounds)])
    return {name: Timing(None, taken[:, i]) for i, name in enumerate(contenders)}
