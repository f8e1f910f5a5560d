"""Claim past the published ones: kinetic quantities announce memorisation without the data."""

from typing import Any

import numpy as np

from kinetic_jax.experiments.claims import _plots
from kinetic_jax.experiments.claims._runs import QUANTITIES, common_noise, sampled
from kinetic_jax.experiments.claims._subjects import Subjects
from kinetic_jax.experiments.claims._words import Line, percent
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


def _turn(steps: list[int], curve: list[dict[str, float]]) -> dict[str, int] | None:
    """Where a quantity turns, and the first step at which that can be told.

    Its extreme so far, once a later checkpoint lies clear of it on the side it came from: nothing
    later and no image is looked at. None where it only rises or only falls.
    """
    for now in range(2, len(curve)):
        for sign in (1, -1):
            peak = max(range(now), key=lambda at: sign * curve[at]["value"])
            ends = ("low", "high") if sign > 0 else ("high", "low")
            least = sign * curve[peak][ends[0]]
            if peak > 0 and all(sign * curve[at][ends[1]] < least for at in (0, now)):
                return {"at": steps[peak], "told": steps[now]}
    return None


def verdict(found: dict[str, Any]) -> str:
    """What came out: nothing was published on this."""
    last, onset = found["table"][-1], found["onset"]
    turns = {name: turn for name, turn in found["announced"].items() if turn is not None}

    def listed(some: list[str]) -> str:
        return ", ".join(
            f"{QUANTITIES[name]} turns at step {turns[name]['at']:,}, told at "
            f"{turns[name]['told']:,}"
            for name in some
        )

    if onset is None:
        return (
            f"F_mem never rises clearly above what held-out images score, and ends at "
            f"{percent(last['f_mem'])}: there is nothing to announce. {listed(list(turns))}"
        ).strip()
    ahead = [name for name, turn in turns.items() if turn["told"] < onset]
    late = [name for name in turns if name not in ahead]
    words = (
        f"F_mem is first clearly above what held-out images score at step {onset:,}, and ends at "
        f"{percent(last['f_mem'])}. "
    )
    words += (
        f"Ahead of it, without a look at the data: {listed(ahead)}."
        if ahead
        else "No kinetic quantity is seen to turn ahead of it."
    )
    if late:
        words += f" Not ahead: {listed(late)}."
    alone = [QUANTITIES[name] for name in found["announced"] if name not in turns]
    return words + (f" Without a turn: {', '.join(alone)}." if alone else "")


def table(found: dict[str, Any]) -> list[Line]:
    """The figures for the README."""
    none = {"at": "none", "told": "none"}
    turns = {name: turn or none for name, turn in found["announced"].items()}
    first = min(
        (name for name, turn in turns.items() if turn is not none),
        key=lambda name: turns[name]["told"],
        default=None,
    )
    lines = [Line("training step from which F_mem is clearly above held-out images", "",
                  f"{found['onset'] or 'never'}")]  # fmt: skip
    if first is not None:
        what = f"step at which {QUANTITIES[first]} is seen to turn, without the data"
        lines.append(Line(what, "", f"{turns[first]['told']}"))
    return lines


def draw(found: dict[str, Any]) -> dict[str, bytes]:
    """F_mem and each kinetic quantity over the steps of training."""
    return {"onset": _plots.training(found["table"], found["onset"], QUANTITIES)}
