"""The checkpoint to take: the last one before copying, with and without the training images."""

from typing import Any

import jax
import numpy as np

from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, interval, percent, with_interval
from kinetic_jax import plotting
from kinetic_jax.comparison import Comparison, compare
from kinetic_jax.comparison._inputs import BEFORE_COPYING
from kinetic_jax.fields import VelocityField

# Attributes of the models' reports, by label of the picture.
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
            event_shape=subjects.data.event_shape,
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
        except ValueError as error:
            if not _is_refused(str(error)):
                raise
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
        if not _is_refused(answer)
    )
    refused = [_step(step) for step, answer in results["earliest"].items() if _is_refused(answer)]
    ending = f" Snap says {others}." if others else ""
    if refused:
        ending += f" Refused as earliest models, as they copy already: {', '.join(refused)}."
    return (
        f"The last checkpoint before copying, on {len(runs)} noises: {listed}; the two agree on "
        f"{agree}. Snap is against step {results['first']:,}.{ending} {runs[0]['reason']}"
    )


def _is_refused(answer: str | None) -> bool:
    """True for the error by which `compare` refuses an earliest model that copies already."""
    return answer is not None and BEFORE_COPYING in answer


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
    models = {model["name"]: model for model in results["table"]["models"]}
    answers = {str(results["first"]): results["runs"][0]["by_snap"], **results["earliest"]}
    lines += [
        Line(
            f"last checkpoint before copying by snap against step {int(step):,}, noise 1",
            "",
            _with_f_mem(answer, models),
        )
        for step, answer in answers.items()
    ]
    for model in models.values():
        if model["f_mem"] is not None:
            parts = [f"F_mem {percent(model['f_mem'])}"]
            if model["snapped"] is not None:
                parts += [
                    f"{percent(model['snapped'])} snap",
                    f"mean {with_interval(model['snap'], '.2f')}",
                ]
            lines.append(Line(f"checkpoint at step {model['step']:,}", "", "; ".join(parts)))
    return lines


def _with_f_mem(answer: str | None, models: dict[str, Any]) -> str:
    """An answer by snap, with F_mem of the same samples at that checkpoint."""
    if _is_refused(answer):
        return "refused: that checkpoint copies already"
    if answer is None:
        return "none"
    return f"{_step(answer)}, of F_mem {percent(models[answer]['f_mem'])}"


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
