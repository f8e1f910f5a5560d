"""The measurements in their order: the most important and the cheapest first.

Limits are judged at full scale on a GPU or TPU: energy at most 1.03 of a bare scan, adaptive steps
1.05 of Diffrax alone, the U-Net 1.0 of compiled PyTorch, the exact flow and neighbours at least 70%
of the matrix rate, a job 95% of the rate of `sample`. The estimates add up to about the budget.
"""

import functools

from benchmarks.speed import _rates, sweep
from benchmarks.speed._record import Recorder
from benchmarks.speed.accelerator import _energy, _exact, _job, _neighbors, _unet
from benchmarks.speed.accelerator._preset import Part


def _sweep(recorder: Recorder) -> None:
    """8 x 8 settings of KTS: 0.12 PFlop for the 64 calls, a second, and half of it for `sweep`."""
    sizes = recorder.pick((2048, 4, 784, 256, 8), (16, 1, 8, 4, 2))
    tolerance = _energy.tolerance("bfloat16")  # 100 steps in a device's own float32
    sweep.both_ways(recorder, *sizes, rounds=recorder.fewer(2), tolerance=tolerance)


PARTS = (
    Part("rates", 10, _rates.run),
    Part("energy-mlp", 25, _energy.mlp),
    Part("exact-flow", 20, _exact.small),
    Part("neighbors", 25, _neighbors.small),
    Part("energy-transformer-euler", 35, functools.partial(_energy.dit, solver="Euler")),
    Part("unet", 60, _unet.run),
    Part("adaptive", 25, _energy.adaptive),
    Part("job", 45, _job.run),
    Part("exact-flow-large", 15, _exact.large),
    Part("neighbors-large", 25, _neighbors.large),
    Part("energy-transformer-heun", 30, functools.partial(_energy.dit, solver="Heun")),
    Part("sweep", 15, _sweep),
    Part("first-calls", 15, _energy.mlp_first_calls),
)
