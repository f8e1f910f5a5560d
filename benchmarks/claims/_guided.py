"""Statistics of guidance, and all others, on a model with labels that copies.

Not in the registry until that model of `_variants.py` is trained.
"""

from typing import Any

import numpy as np

from benchmarks.claims._methods import line_of, ranked, without_labels
from benchmarks.claims._scored import Model, quality, scored
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, interval, percent, share, with_interval
from kinetic_jax import plotting
from kinetic_jax.copies import STATISTICS
from kinetic_jax.fields import as_field
from kinetic_jax.transforms import cfg

GUIDED = ("guidance_norm", "guidance_cosine", "guided_sharpness")
NAMES = tuple(name for name in STATISTICS if name != "norm_rule")


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Each statistic for each weight of guidance, from one noise."""
    table = {}
    if subjects.labelled is not None:
        later, earlier = subjects.labelled
        cond = np.arange(config["samples"], dtype=np.int32) % subjects.data.num_classes
        for weight in config["guidance"]:
            transform = None if weight == 1 else cfg(weight, as_field(later).null_cond)
            model = Model(later, earlier, cond, transform)
            fresh = scored(model, subjects.few, config, config["seed"], progress, statistics=NAMES)
            table[f"w = {weight:g}"] = {
                "f_mem": share(fresh.copied),
                "statistics": {
                    name: quality(score, fresh.copied) for name, score in fresh.statistics.items()
                },
                "no labels": without_labels(fresh),
            }
    return {"samples": config["samples"], "table": table}


def count(config: dict[str, Any], subjects: Subjects) -> int:
    """The number of runs of `measure`."""
    return 0 if subjects.labelled is None else len(config["guidance"])


def verdict(results: dict[str, Any]) -> str:
    """The outcome, beside what others report on their own models."""
    sentences = []
    for weight, own in results["table"].items():
        best = ranked(own["statistics"])
        known = dict(best)
        guided = "; ".join(
            f"{name} {with_interval(known[name]['auc'], '.3f')}" for name in GUIDED if name in known
        )
        first = (
            f"the best is {best[0][0]}, {with_interval(best[0][1]['auc'], '.3f')}" if best else ""
        )
        sentences.append(
            f"Guidance {weight}: {percent(own['f_mem'])} of the samples are copies; AUC of the "
            f"statistics of guidance: {guided or 'unknown'}; {first or 'none is known'}."
        )
    return " ".join(sentences)


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    return [
        line_of(f"{name}, model with labels, {weight}", own)
        for weight, of in results["table"].items()
        for name, own in ranked(of["statistics"])
    ]


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """The AUC of every statistic."""
    panels = {
        weight: {name: interval(own["auc"]) for name, own in ranked(of["statistics"])}
        for weight, of in results["table"].items()
    }
    known = {weight: rows for weight, rows in panels.items() if rows}
    if not known:
        return {}
    return {"guided": plotting.intervals({"AUC for copies": known}, xlabel="AUC for copies")}
