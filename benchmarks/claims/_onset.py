"""Claim past the published ones: kinetic quantities announce memorisation without the data."""

from typing import Any

import numpy as np

from benchmarks.claims._rows import about, measured
from benchmarks.claims._runs import QUANTITIES, common_noise, sampled
from benchmarks.claims._subjects import Subjects, with_control
from benchmarks.claims._words import Line, interval, percent, share
from kinetic_jax import plotting


def prepare(subjects: Subjects, config: dict[str, Any]) -> Subjects:
    """Trains the control: the same network on all images, which are too many to be copied."""
    return subjects if subjects.control else with_control(subjects, config["control_steps"])


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Every kinetic quantity along the training of the model that copies, and of the control."""
    x0 = common_noise(config["samples"], subjects.data.event_shape, config["seed"])
    held_out = subjects.held_out_memorization

    def along(fields: dict[int, Any]) -> list[dict[str, Any]]:
        return [_at(step, fields[step], x0, subjects, config, progress) for step in sorted(fields)]

    table, control = along(subjects.checkpoints), along(subjects.control or {})
    return {
        "samples": config["samples"],
        "table": table,
        "control": control,
        "held out": share(held_out),
        "onset": _onset(table, held_out.high),
        "announced": {name: _turn(table, name) for name in QUANTITIES},
        "control turns": {name: _turn(control, name) for name in QUANTITIES},
    }


def _at(
    step: int, field: Any, x0: np.ndarray, subjects: Subjects, config: dict[str, Any], progress: Any
) -> dict[str, Any]:
    row = measured(sampled(field, x0, progress=progress, num_steps=config["steps"]), subjects)
    return {
        "step": step,
        "bad": row.run.bad,
        "f_mem": share(row.copied),
        "frechet": about(row.frechet, row.spread),
        "quantities": {name: _mean(amount) for name, amount in row.run.quantities.items()},
    }


def _onset(table: list[dict[str, Any]], floor: float) -> int | None:
    """The step from which on F_mem is clearly above the floor at every checkpoint."""
    first = None
    for one in reversed(table):
        if one["f_mem"]["low"] <= floor:
            break
        first = one["step"]
    return first


def _mean(values: np.ndarray) -> dict[str, float]:
    half = 1.96 * float(values.std()) / np.sqrt(len(values))
    mean = float(values.mean())
    return {"value": mean, "low": mean - half, "high": mean + half}


def _turn(table: list[dict[str, Any]], name: str) -> dict[str, int] | None:
    """Where a quantity turns, and the first step at which that is seen.

    Its extreme so far, once a later checkpoint lies clear of it on the side it came from: nothing
    later and no image is looked at. None where it only rises or only falls.
    """
    steps, curve = [one["step"] for one in table], [one["quantities"][name] for one in table]
    for now in range(2, len(curve)):
        for sign in (1, -1):
            peak = max(range(now), key=lambda at: sign * curve[at]["value"])
            ends = ("low", "high") if sign > 0 else ("high", "low")
            least = sign * curve[peak][ends[0]]
            if peak > 0 and all(sign * curve[at][ends[1]] < least for at in (0, now)):
                return {"at": steps[peak], "told": steps[now]}
    return None


def verdict(results: dict[str, Any]) -> str:
    """The outcome; nothing was published on this."""
    last, onset = results["table"][-1], results["onset"]
    turns = {name: turn for name, turn in results["announced"].items() if turn is not None}
    if onset is None:
        start = (
            "F_mem does not stay clearly above what held-out images score, and ends at "
            f"{percent(last['f_mem'])}: there is nothing to announce. "
        )
    else:
        start = (
            f"From step {onset:,} on F_mem is clearly above what held-out images score, and it "
            f"ends at {percent(last['f_mem'])}. "
        )
    listed = "; ".join(_sentence(name, turn, results) for name, turn in turns.items())
    text = f"Without a look at the data: {listed}." if turns else "No kinetic quantity turns."
    alone = [QUANTITIES[name] for name in results["announced"] if name not in turns]
    rest = f" Without a turn: {', '.join(alone)}." if turns and alone else ""
    return f"{start}{text}{rest} {_controlled(results, set(turns))}"


def _sentence(name: str, turn: dict[str, int], results: dict[str, Any]) -> str:
    text = f"{QUANTITIES[name]} turns at step {turn['at']:,}, seen at {turn['told']:,}"
    onset = results["onset"]
    if onset is None:
        return text
    ahead = onset - turn["told"]
    if ahead == 0:
        return f"{text}, at the onset"
    return f"{text}, {abs(ahead):,} steps {'ahead of' if ahead > 0 else 'after'} the onset"


def _controlled(results: dict[str, Any], turned: set[str]) -> str:
    control = results["control"]
    if not control:
        return "There are too few other images for a control that cannot copy."
    if not turned:
        return ""
    also = [QUANTITIES[name] for name in turned if results["control turns"][name] is not None]
    end = control[-1]
    start = (
        f"In one training of the same network on all images, followed to step {end['step']:,}, "
        f"where it copies {percent(end['f_mem'])} from the same few, "
    )
    if not also:
        return f"{start}none of these turns by then."
    only = sorted(QUANTITIES[name] for name in turned if QUANTITIES[name] not in also)
    ending = f"; {', '.join(only)} does not" if only else ": they announce no memorisation"
    return f"{start}{', '.join(sorted(also))} turns as well{ending}."


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for the README."""
    lines = [
        Line(
            "training step from which F_mem is clearly above held-out images",
            "",
            "never" if results["onset"] is None else f"{results['onset']:,}",
        )
    ]
    for name, turn in results["announced"].items():
        if turn is not None:
            other, end = results["control turns"][name], results["control"]
            control = "none" if not end else f"no turn by {end[-1]['step']:,}"
            control = control if other is None else f"{other['told']:,}"
            what = f"step at which {QUANTITIES[name]} is seen to turn; in a model of all images"
            lines.append(Line(what, "", f"{turn['told']:,}; {control}"))
    return lines


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """F_mem and each kinetic quantity over the steps of training."""
    panels: dict[str, dict[str, plotting.Curve]] = {}
    trainings = {"model of few images, which it copies": "table", "model of all images": "control"}
    for training, key in trainings.items():
        steps = np.array([one["step"] for one in results[key]])
        curves = {
            "F_mem in %": [interval(one["f_mem"], 100) for one in results[key]],
            "Fréchet distance": [interval(one["frechet"]) for one in results[key]],
        } | {
            text: [interval(one["quantities"][name]) for one in results[key]]
            for name, text in QUANTITIES.items()
        }
        for text, estimates in curves.items():
            if estimates:
                curve = plotting.Curve(steps, *np.array(estimates).T)
                panels.setdefault(text, {})[training] = curve
    return {"onset": plotting.energy_by_step(panels, onset=results["onset"])}
