"""Comparisons as tables."""

import csv
import functools
import io
from collections.abc import Callable, Sequence

from kinetic_jax.comparison._report import ModelReport
from kinetic_jax.metrics import Estimate

ENERGIES = {
    "total": "energy E",
    "launch": "launch",
    "landing": "landing",
    "displacement": "displacement",
    "straightness": "straightness S",
    "length": "path length",
    "bending": "bending",
}
UNKNOWN = "–"


def as_markdown(models: Sequence[ModelReport], recommended: str | None, tolerance: float) -> str:
    """The measured quantities, a line for each model, in Markdown."""
    columns = _columns(models, tolerance)
    rows = [["model", *columns], ["---", *["---:"] * len(columns)]]
    for model in models:
        name = f"**{label(model)}**" if model.name == recommended else label(model)
        rows.append([name, *(column(model) or UNKNOWN for column in columns.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def as_csv(models: Sequence[ModelReport]) -> str:
    """All numbers, a line for each model."""
    lines = [_flat(model) for model in models]
    buffer = io.StringIO()
    names = dict.fromkeys(name for line in lines for name in line)
    writer = csv.DictWriter(buffer, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def percent(share: float) -> str:
    """A share as text."""
    return f"{100 * share:.1f}%"


def _columns(
    models: Sequence[ModelReport], tolerance: float
) -> dict[str, Callable[[ModelReport], str]]:
    """Columns with an entry, by heading: the text of a model, or ""."""
    energies: dict[str, Callable[[ModelReport], str]] = {
        heading: functools.partial(_of_energy, name) for name, heading in ENERGIES.items()
    }
    most = max((one.num_steps for model in models for one in model.few_steps), default=0)
    columns: dict[str, Callable[[ModelReport], str]] = {
        "valid": lambda model: f"{model.num_valid:,}/{model.num_samples:,}",
        **energies,
        f"steps for {100 * tolerance:g}%": lambda model: _needed(model, most),
        "efficiency": lambda model: _interval(model.efficiency, "{:.3f}".format),
        "snap": lambda model: _interval(model.snap, "{:.2f}".format),
        "snapped": lambda model: _interval(model.snapped, percent),
        "F_mem": lambda model: _interval(model.f_mem, percent),
        "distance": lambda model: "" if model.distance is None else f"{model.distance:.4g}",
    }
    return {
        heading: column
        for heading, column in columns.items()
        if any(column(model) for model in models)
    }


def label(model: ModelReport) -> str:
    """The name of a model, with separators in the number of a step."""
    return model.name if model.step is None else f"{model.step:,}"


def _of_energy(name: str, model: ModelReport) -> str:
    return "" if model.energy is None else _interval(getattr(model.energy, name), "{:.4g}".format)


def _needed(model: ModelReport, most: int) -> str:
    """The steps needed, or that they are more than `most`, the largest number that was tried."""
    if model.energy is None or not model.few_steps:
        return ""
    return f"> {most}" if model.steps_needed is None else f"{model.steps_needed}"


def _interval(estimate: Estimate | None, write: Callable[[float], str]) -> str:
    if estimate is None:
        return ""
    return f"{write(estimate.value)} [{write(estimate.low)}, {write(estimate.high)}]"


def _flat(model: ModelReport) -> dict[str, object]:
    """The numbers of a report by column."""
    line: dict[str, object] = {
        name: getattr(model, name)
        for name in ("name", "step", "num_samples", "num_valid", "steps_needed")
    }
    estimates = {name: getattr(model.energy, name, None) for name in ENERGIES}
    others = ("efficiency", "snap", "snapped", "f_mem", "over_held_out")
    estimates |= {name: getattr(model, name) for name in others}
    for name, estimate in estimates.items():
        line[name] = getattr(estimate, "value", None)
        line |= {f"{name}_{end}": getattr(estimate, end, None) for end in ("low", "high")}
    line |= {"distance": model.distance, "distance_std": model.distance_std}
    return line | {f"error_{one.num_steps}": one.error for one in model.few_steps}
