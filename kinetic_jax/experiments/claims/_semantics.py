"""Claim: more energy goes with stronger semantics, as a classifier sees them."""

from typing import Any

import numpy as np
from scipy.special import softmax

from kinetic_jax.experiments.claims import _plots
from kinetic_jax.experiments.claims._runs import Run, common_noise, sampled
from kinetic_jax.experiments.claims._subjects import Subjects
from kinetic_jax.experiments.claims._words import (
    Line,
    correlation,
    groups,
    rise,
    with_interval,
    within,
)
from kinetic_jax.transforms import cfg

PARTS = ("total", "displacement", "excess")


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Score and margin of the asked-for class by fifth, with and without guidance."""
    field = subjects.general
    n, classes = config["samples"], subjects.data.num_classes
    labels = np.arange(n, dtype=np.int32) % classes
    x0 = common_noise(n, subjects.data.event_shape, config["seed"])
    found: dict[str, Any] = {"samples": n, "guidance": {}}
    for scale in config["guidance"]:
        guided = None if scale == 1 else cfg(scale, null_cond=getattr(field, "null_cond", None))
        run = sampled(field, x0, labels, transform=guided, progress=progress,
                      num_steps=config["steps"])  # fmt: skip
        found["guidance"][f"{scale:g}"] = _judged(run, labels[run.good], subjects)
    return found


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


def verdict(found: dict[str, Any]) -> str:
    """What came out, beside what was published."""
    sentences = []
    for scale, judged in found["guidance"].items():
        margin = judged["by"]["total"]["margin"]
        fifths = margin["fifths"]
        score = judged["by"]["total"]["score"]["fifths"]
        words = "without guidance" if scale == "1" else f"with guidance {scale}"
        sentences.append(
            f"From the lowest to the highest fifth of energy the margin {rise(fifths)} {words}: "
            f"{with_interval(fifths[0], '.2f')} to {with_interval(fifths[-1], '.2f')}, and the "
            f"probability of the class {rise(score)}: {with_interval(score[0], '.3f')} to "
            f"{with_interval(score[-1], '.3f')}; within classes "
            f"the margin {rise(margin['fifths within classes'])} (ρ = "
            f"{with_interval(margin['correlation within classes'])}), and given ||x1||² the "
            f"correlation is {with_interval(margin['correlation given ||x1||²'])}. The samples "
            "are of "
            f"the asked-for class in {100 * judged['accuracy']:.1f}%."
        )
    published = (
        "Published (ImageNet-256, guidance 1.5, low against high energy): CLIP margin 5.66 to "
        "8.93, "
        "CLIP score 21.87 to 24.62."
    )
    return " ".join([*sentences, published])


def table(found: dict[str, Any]) -> list[Line]:
    """The figures for the README."""
    lines = []
    for scale, judged in found["guidance"].items():
        margin = judged["by"]["total"]["margin"]
        ends = [with_interval(margin["fifths"][at], ".2f") for at in (0, -1)]
        lines.append(Line(
            f"margin, lowest and highest fifth of E, guidance {scale}",
            "5.66, 8.93 (CLIP, ImageNet)" if scale == "1.5" else "",
            ", ".join(ends),
        ))  # fmt: skip
        within_classes = with_interval(margin["correlation within classes"])
        lines.append(Line("its ρ with E within classes", "", within_classes))
    return lines


def draw(found: dict[str, Any]) -> dict[str, bytes]:
    """Margin and score by fifth, each guidance a line."""
    panels = {}
    for what, words in (("margin", "margin (logits)"), ("score", "probability of the class")):
        for kind, title in (("fifths", "all classes"), ("fifths within classes", "within classes")):
            panels[f"{words}\n{title}"] = {
                f"guidance {scale}": judged["by"]["total"][what][kind]
                for scale, judged in found["guidance"].items()
            }
    label = "fifth of the samples by energy E, lowest to highest"
    return {"semantics": _plots.by_group(panels, label, columns=2)}
