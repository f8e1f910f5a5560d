"""The checkpoint to take: the last one before copying, with and without the training images."""

from typing import Any

import jax
import numpy as np

from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, interval, percent, with_interval
from kinetic_jax import plotting
from kinetic_jax.comparison import Comparison, compare
from kinetic_jax.fields import VelocityField

# Of the models' reports, by label of the picture.
DRAWN = {"F_mem": "f_mem", "share that snaps": "snapped", "snap against the earliest": "snap"}


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """The comparison on several noises, and against other earliest models."""
    key = jax.random.key(config["seed"])
    models = dict[int | str, VelocityField](subjects.checkpoints.items())

    def of(number: int, **options: Any) -> Comparison:
        compared = compare(
            models,
            key=jax.random.fold_in(key, number),
            num_samples=config["samples"],
            num_steps=config["steps"],
            limit=config["limit"],
            progress=False,
            **options,
        )
        progress(config["samples"] * len(compared.models))
        return compared

    data = {"train": subjects.few, "held_out": subjects.data.held_out}
    runs = [of(number, fewer=(), **data) for number in range(config["noises"])]
    steps = sorted(subjects.checkpoints)
    earliest = {}
    for step in steps[1 : 1 + config["others"]]:
        try:
            earliest[str(step)] = of(0, fewer=(), earliest=step).by_snap
        except ValueError as error:  # it copies already
            earliest[str(step)] = str(error)
    return {
        "limit": config["limit"],
        "first": steps[0],
        "table": runs[0].as_json(),
        "runs": [
            {name: getattr(run, name) for name in ("recommended", "by_data", "by_snap", "reason")}
            for run in runs
        ],
        "earliest": earliest,
    }


def count(config: dict[str, Any], subjects: Subjects) -> int:
    """The number of runs of `measure`."""
    others = min(config["others"], len(subjects.checkpoints) - 1)
    return (config["noises"] + others) * len(subjects.checkpoints)


def verdict(results: dict[str, Any]) -> str:
    """The outcome; nothing was published on this."""
    runs = results["runs"]
    agree = sum(run["by_data"] == run["by_snap"] for run in runs)
    listed = "; ".join(
        f"{_step(run['by_data'])} by the data, {_step(run['by_snap'])} by snap" for run in runs
    )
    others = ", ".join(
        f"{_step(answer)} against step {int(step):,}"
        for step, answer in results["earliest"].items()
        if answer is None or answer.isdecimal()
    )
    refused = [step for step, answer in results["earliest"].items() if answer and " " in answer]
    ending = f" Snap says {others}." if others else ""
    if refused:
        ending += f" As earliest models, steps {', '.join(refused)} are refused: they copy already."
    return (
        f"The last checkpoint before copying, on {len(runs)} noises: {listed}; the two agree on "
        f"{agree}. Snap is against step {results['first']:,}.{ending} {runs[0]['reason']}"
    )


def _step(name: str | None) -> str:
    return "none" if name is None else f"{int(name):,}"


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    lines = [
        Line(
            f"last checkpoint before copying, noise {number + 1}",
            "",
            f"{_step(run['by_data'])} by F_mem; {_step(run['by_snap'])} by snap",
        )
        for number, run in enumerate(results["runs"])
    ]
    for model in results["table"]["models"]:
        if model["f_mem"] is not None:
            parts = [f"F_mem {percent(model['f_mem'])}"]
            if model["snapped"] is not None:
                parts += [
                    f"{percent(model['snapped'])} snap",
                    f"mean {with_interval(model['snap'], '.2f')}",
                ]
            lines.append(Line(f"checkpoint at step {model['step']:,}", "", "; ".join(parts)))
    return lines


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """Copies and snap over the steps of training."""
    panels = {}
    for label, name in DRAWN.items():
        known = [model for model in results["table"]["models"] if model[name] is not None]
        if known:
            steps = np.array([model["step"] for model in known])
            ends = np.array([interval(model[name]) for model in known]).T
            panels[label] = {"checkpoints": plotting.Curve(steps, *ends)}
    recommended = results["runs"][0]["recommended"]
    onset = None if recommended is None else int(recommended)
    return {"compare": plotting.energy_by_step(panels, onset=onset)} if panels else {}
