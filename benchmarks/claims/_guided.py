"""Statistics of guidance, all others and detectors, on a model with labels that copies."""

from typing import Any

import numpy as np

from benchmarks.claims._methods import line_of, of_detector, of_labels, ranked, without_labels
from benchmarks.claims._scored import Model, quality, scored, with_usual
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, interval, percent, share, with_interval
from kinetic_jax import plotting
from kinetic_jax.copies import STATISTICS
from kinetic_jax.fields import as_field
from kinetic_jax.transforms import cfg

# Statistics of the velocities under a label and under none.
GUIDED = tuple(name for name, own in STATISTICS.items() if "cond" in own.needs)
DETECTORS = ("labels, all features", "no labels, snap")


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Each method for each weight of guidance, on fresh noise; detectors are fitted on other."""
    table = {}
    if subjects.labelled is not None:
        for weight in config["guidance"]:
            table[f"w = {weight:g}"] = _at_weight(weight, subjects, config, progress)
    return {"samples": config["samples"], "table": table}


def _at_weight(
    weight: float, subjects: Subjects, config: dict[str, Any], progress: Any
) -> dict[str, Any]:
    assert subjects.labelled is not None, "measure asks only for a model that is there"
    later, earlier = subjects.labelled
    cond = np.arange(config["samples"], dtype=np.int32) % (subjects.data.num_classes or 1)
    transform = None if weight == 1 else cfg(weight, as_field(later).null_cond)
    model, seed = Model(later, earlier, cond, transform), config["seed"]
    chosen_on = scored(model, subjects.few, config, seed, progress)
    options = with_usual(tuple(STATISTICS), chosen_on)
    fresh = scored(model, subjects.few, config, seed + 1000, progress, **options)
    detector = of_labels(chosen_on.features, chosen_on.copied.memorized)
    by_labels = of_detector(detector, fresh.features, fresh)
    return {
        "f_mem": share(fresh.copied),
        "statistics": {
            name: quality(score, fresh.copied) for name, score in fresh.statistics.items()
        },
        "detectors": dict(zip(DETECTORS, (by_labels, without_labels(fresh)), strict=True)),
    }


def count(config: dict[str, Any], subjects: Subjects) -> int:
    """The number of runs of `measure`."""
    return 0 if subjects.labelled is None else 2 * len(config["guidance"])


def verdict(results: dict[str, Any]) -> str:
    """The outcome; the authors of these statistics report on other models."""
    if not results["table"]:
        return "No model with labels that copies has been trained."
    return " ".join(_outcome(weight, own) for weight, own in results["table"].items())


def _outcome(weight: str, own: dict[str, Any]) -> str:
    best_first = ranked(own["statistics"])
    title = f"Guidance {weight}: {percent(own['f_mem'])} of the samples are copies"
    if not best_first:
        return f"{title}, too few of them or of others for an AUC."
    guided = [(name, of) for name, of in best_first if name in GUIDED]
    others = [(name, of) for name, of in best_first if name not in GUIDED]
    parts = [
        f"AUC of the statistics of guidance: {_listed(guided) or 'unknown'}",
        f"of the best others: {_listed(others[:3]) or 'unknown'}",
    ]
    trivial = dict(others).get("total_variation")
    if trivial is not None:
        floor = with_interval(trivial["auc"], ".3f")
        parts.append(f"the image's total variation alone has {floor}")
    detectors = [(name, of) for name, of in own["detectors"].items() if of is not None]
    parts.append(f"detectors: {_listed(detectors) or 'none'}")
    return f"{title}; {'; '.join(parts)}."


def _listed(rows: list[tuple[str, dict[str, Any]]]) -> str:
    return ", ".join(f"{name} {with_interval(own['auc'], '.3f')}" for name, own in rows)


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`: every method, for each weight of guidance."""
    lines = []
    for weight, own in results["table"].items():
        title = f"model with labels, {weight}"
        lines.append(Line(f"F_mem, {title}", "", percent(own["f_mem"])))
        rows = dict(ranked(own["statistics"]))
        rows |= {f"detector, {name}": of for name, of in own["detectors"].items()}
        lines += [line_of(f"{name}, {title}", of) for name, of in rows.items() if of is not None]
    return lines


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """The AUC of every method."""
    panels = {
        weight: {
            name: interval(own["auc"])
            for name, own in [
                *ranked(of["statistics"]),
                *((f"detector, {name}", own) for name, own in of["detectors"].items() if own),
            ]
        }
        for weight, of in results["table"].items()
    }
    known = {weight: rows for weight, rows in panels.items() if rows}
    if not known:
        return {}
    return {"guided": plotting.intervals({"": known}, xlabel="AUC for copies", centre=0.5)}
