"""Claim: more energy goes with stronger semantics, as a classifier sees them."""

from typing import Any

import numpy as np
from scipy.special import softmax

from benchmarks.claims._frames import class_means
from benchmarks.claims._runs import Run, common_noise, sampled
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import (
    Line,
    correlation,
    energy_group_series,
    groups,
    rise,
    with_interval,
    within,
)
from kinetic_jax import plotting
from kinetic_jax.transforms import cfg

PARTS = ("total", "displacement", "excess", "class frames")


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Score and margin of the asked-for class by fifth, with and without guidance."""
    field = subjects.general
    n, classes = config["samples"], subjects.data.num_classes
    labels = np.arange(n, dtype=np.int32) % classes
    x0 = common_noise(n, subjects.data.event_shape, config["seed"])
    assert subjects.data.labels is not None, "claims are measured on labelled images"
    frames = {"class frames": class_means(subjects.data.images, subjects.data.labels)[labels]}
    results: dict[str, Any] = {"samples": n, "guidance": {}}
    for scale in config["guidance"]:
        guided = None if scale == 1 else cfg(scale, null_cond=getattr(field, "null_cond", None))
        run = sampled(
            field,
            x0,
            labels,
            transform=guided,
            frames=frames,
            progress=progress,
            num_steps=config["steps"],
        )
        results["guidance"][f"{scale:g}"] = _judged(run, labels[run.is_valid], subjects)
    return results


def _judged(run: Run, labels: np.ndarray, subjects: Subjects) -> dict[str, Any]:
    logits = subjects.logits(run.images)
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    measures = {
        "score": softmax(logits, axis=1)[rows, labels],
        "margin": logits[rows, labels] - others.max(axis=1),
    }
    by: dict[str, Any] = {}
    for part in PARTS:
        amount = run.quantities[part]
        by[part] = {
            what: {
                "fifths": groups(amount, values),
                "fifths within classes": groups(within(labels, amount), values),
                "correlation": correlation(amount, values),
                "correlation within classes": correlation(within(labels, amount), values),
                "correlation given ||x1||²": correlation(amount, values, run.norm2),
            }
            for what, values in measures.items()
        }
    return {"bad": run.bad, "accuracy": float(np.mean(logits.argmax(axis=1) == labels)), "by": by}


def verdict(results: dict[str, Any]) -> str:
    """The outcome, beside what was published."""
    sentences = []
    for scale, judged in results["guidance"].items():
        margin, score = (judged["by"]["total"][what] for what in ("margin", "score"))
        within_classes = margin["fifths within classes"]
        own_frame = judged["by"]["class frames"]["margin"]
        text = "without guidance" if scale == "1" else f"with guidance {scale}"
        share = _gap(within_classes) / _gap(margin["fifths"]) if _gap(margin["fifths"]) else 0.0
        sentences.append(
            f"From the lowest to the highest fifth of energy the margin {rise(margin['fifths'])} "
            f"{text}, {_ends(margin['fifths'], '.2f')}, and the probability of the class "
            f"{rise(score['fifths'])}, {_ends(score['fifths'], '.3f')}. By fifths within each "
            f"class the margin goes {_ends(within_classes, '.2f')}, {100 * share:.0f}% of that "
            f"difference (ρ = {with_interval(margin['correlation within classes'])}): the rest is "
            "which classes have much energy. Measured in the frame of each sample's class, by "
            f"fifths within each class, it goes "
            f"{_ends(own_frame['fifths within classes'], '.2f')} (ρ = "
            f"{with_interval(own_frame['correlation within classes'])}). Given ||x1||² ρ is "
            f"{with_interval(margin['correlation given ||x1||²'])}. The samples are of the "
            f"asked-for class in {100 * judged['accuracy']:.1f}%."
        )
    published = (
        "Published (ImageNet-256, guidance 1.5, low against high energy): CLIP margin 5.66 to "
        "8.93, "
        "CLIP score 21.87 to 24.62."
    )
    return " ".join([*sentences, published])


def _gap(fifths: list[dict[str, float]]) -> float:
    return fifths[-1]["mean"] - fifths[0]["mean"]


def _ends(fifths: list[dict[str, float]], form: str) -> str:
    return " to ".join(with_interval(fifths[at], form) for at in (0, -1))


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for the README."""
    lines = []
    for scale, judged in results["guidance"].items():
        margin = judged["by"]["total"]["margin"]
        lines.append(
            Line(
                f"margin, lowest and highest fifth of E, guidance {scale}",
                "5.66, 8.93 (CLIP, ImageNet)" if scale == "1.5" else "",
                _ends(margin["fifths"], ".2f"),
            )
        )
        lines.append(
            Line(
                f"the same within each class, guidance {scale}",
                "",
                _ends(margin["fifths within classes"], ".2f"),
            )
        )
        lines.append(
            Line(
                f"the same within each class, E in the frame of the class, guidance {scale}",
                "",
                _ends(judged["by"]["class frames"]["margin"]["fifths within classes"], ".2f"),
            )
        )
    return lines


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """Margin and score by fifth, each guidance a line."""
    panels = {}
    for what, text in (("margin", "margin (logits)"), ("score", "probability of the class")):
        for kind, title in (("fifths", "all classes"), ("fifths within classes", "within classes")):
            series = {
                f"guidance {scale}": judged["by"]["total"][what][kind]
                for scale, judged in results["guidance"].items()
            }
            panels[f"{text},\n{title}"] = energy_group_series(series)
    label = "fifth of the samples by energy E, lowest to highest"
    return {"semantics": plotting.by_energy_group(panels, xlabel=label, columns=2)}
