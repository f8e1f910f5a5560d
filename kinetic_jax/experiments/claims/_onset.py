"""Claim past the published ones: kinetic quantities announce memorisation without the data."""

from typing import Any

import numpy as np

from kinetic_jax.experiments.claims import _plots
from kinetic_jax.experiments.claims._runs import QUANTITIES, common_noise, sampled
from kinetic_jax.experiments.claims._subjects import Subjects
from kinetic_jax.experiments.claims._words import percent
from kinetic_jax.metrics import memorization


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Every kinetic quantity along the training of the model that copies, beside F_mem."""
    n = config["samples"]
    x0 = common_noise(n, subjects.data.event_shape, config["seed"])
    held_out = subjects.held_out_memorization
    steps = sorted(subjects.checkpoints)
    table: list[dict[str, Any]] = []
    for step in steps:
        run = sampled(subjects.checkpoints[step], x0, progress=progress, num_steps=config["steps"])
        copied = memorization(run.images, subjects.few, progress=False)
        table.append({
            "step": step,
            "bad": run.bad,
            "f_mem": {"value": copied.fraction, "low": copied.low, "high": copied.high},
            "frechet": subjects.frechet(subjects.features(run.images)),
            "quantities": {name: _mean(amount) for name, amount in run.quantities.items()},
        })  # fmt: skip
    copies = [one["f_mem"]["low"] > held_out.high for one in table]
    onset = steps[copies.index(True)] if any(copies) else None
    return {
        "samples": n,
        "table": table,
        "held out": {"value": held_out.fraction, "low": held_out.low, "high": held_out.high},
        "onset": onset,
        "announced": {name: _turn(steps, [one["quantities"][name] for one in table])
                      for name in QUANTITIES},
    }  # fmt: skip


def _mean(values: np.ndarray) -> dict[str, float]:
    half = 1.96 * float(values.std()) / np.sqrt(len(values))
    mean = float(values.mean())
    return {"value": mean, "low": mean - half, "high": mean + half}


def _turn(steps: list[int], curve: list[dict[str, float]]) -> int | None:
    """The step at which a quantity turns: its extreme inside the training, clear of both ends.

    None where it only rises or only falls: such a quantity gives no sign of its own. No image is
    looked at.
    """
    for sign in (1, -1):
        values = [sign * one["value"] for one in curve]
        top = int(np.argmax(values))
        ends = (curve[0], curve[-1])
        inner = 0 < top < len(curve) - 1
        low = min(sign * curve[top]["low"], sign * curve[top]["high"])
        if inner and all(low > max(sign * end["low"], sign * end["high"]) for end in ends):
            return steps[top]
    return None


def verdict(found: dict[str, Any]) -> str:
    """What came out: nothing was published on this."""
    last = found["table"][-1]
    onset, turned = found["onset"], {k: v for k, v in found["announced"].items() if v is not None}
    if onset is None:
        start = "F_mem never rises clearly above what held-out images score"
    else:
        start = f"F_mem is first clearly above what held-out images score at step {onset:,}"
    ahead = {name: step for name, step in turned.items() if onset is not None and step < onset}
    late = {name: step for name, step in turned.items() if name not in ahead}
    listed = ", ".join(f"{QUANTITIES[name]} at step {step:,}" for name, step in ahead.items())
    words = f"Ahead of it turn, without a look at the data: {listed}." if ahead else (
        "No kinetic quantity turns ahead of it."
    )  # fmt: skip
    if late:
        words += " Not ahead turn " + ", ".join(
            f"{QUANTITIES[name]} at step {step:,}" for name, step in late.items()
        ) + "."  # fmt: skip
    alone = [QUANTITIES[name] for name, step in found["announced"].items() if step is None]
    if alone:
        words += f" Without a turn: {', '.join(alone)}."
    return f"{start}, and ends at {percent(last['f_mem'])}. {words}"


def draw(found: dict[str, Any]) -> dict[str, bytes]:
    """F_mem and each kinetic quantity over the steps of training."""
    return {"onset": _plots.training(found["table"], found["onset"], QUANTITIES)}
