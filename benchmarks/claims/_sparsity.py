"""Claim: more energy goes with sparser regions of the data."""

from typing import Any

import numpy as np

from benchmarks.claims._runs import QUANTITIES, Run, common_noise, sampled
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, correlation, interval, with_interval
from kinetic_jax import plotting
from kinetic_jax.metrics import kde_support, knn_support

PARTS = ("total", "displacement", "excess", "length", "bending")


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Correlations of kinetic quantities with support, for both models."""
    n = config["samples"]
    x0 = common_noise(n, subjects.data.event_shape, config["seed"])
    labels = np.arange(n, dtype=np.int32) % subjects.data.num_classes
    steps = {"num_steps": config["steps"], "progress": progress}
    runs = {
        "all images": (sampled(subjects.general, x0, labels, **steps), subjects.data.images),
        f"{len(subjects.few):,} images": (sampled(subjects.memorizing, x0, **steps), subjects.few),
    }
    return {
        "samples": n,
        "models": {name: _correlated(run, rows, subjects) for name, (run, rows) in runs.items()},
    }


def _correlated(run: Run, rows: np.ndarray, subjects: Subjects) -> dict[str, Any]:
    spaces = {
        "pixels": (run.images, rows),
        "features": (subjects.features(run.images), subjects.features(rows)),
    }
    supports = {}
    for space, (samples, reference) in spaces.items():
        supports[f"kNN, {space}"] = np.asarray(knn_support(samples, reference, 10, progress=False))
        supports[f"KDE, {space}"] = np.asarray(kde_support(samples, reference, progress=False))
    # In many dimensions Scott's width is near the spread of all data: is it local at all?
    away = (run.images - rows.mean(axis=0)).reshape(len(run.images), -1)
    nearness = -np.linalg.norm(away, axis=1)
    return {
        "bad": run.bad,
        "support": {
            name: {
                part: {
                    "plain": correlation(run.quantities[part], support),
                    "given ||x1||²": correlation(run.quantities[part], support, run.norm2),
                }
                for part in PARTS
            }
            for name, support in supports.items()
        },
        "E and ||x1||²": correlation(run.quantities["total"], run.norm2),
        "KDE and the mean image": correlation(supports["KDE, pixels"], nearness),
    }


def verdict(results: dict[str, Any]) -> str:
    """The outcome, beside what was published."""
    sentences = []
    for name, model in results["models"].items():
        of = model["support"]
        near = of["kNN, pixels"]
        sentences.append(
            f"Model of {name}: that energy is higher where the data are sparser, by kNN in pixels, "
            f"{_holds(near['total']['plain'])} for E itself (ρ with support "
            f"{_rho(near, 'total')}; in features {_rho(of['kNN, features'], 'total')}, by KDE "
            f"{_rho(of['KDE, pixels'], 'total')} in pixels and "
            f"{_rho(of['KDE, features'], 'total')}; kNN in pixels given ||x1||² "
            f"{with_interval(near['total']['given ||x1||²'])}), and "
            f"{_holds(near['excess']['plain'])} for the excess (kNN {_rho(near, 'excess')} and "
            f"{_rho(of['kNN, features'], 'excess')}, KDE {_rho(of['KDE, pixels'], 'excess')} and "
            f"{_rho(of['KDE, features'], 'excess')}). E goes with ||x1||² at ρ = "
            f"{with_interval(model['E and ||x1||²'])}, and KDE in pixels, of Scott's width, with "
            f"nearness to the mean image at {with_interval(model['KDE and the mean image'])}."
        )
    published = "Published (CIFAR-10): kNN −0.65, KDE −0.64 for E."
    return " ".join([*sentences, published])


def _rho(support: dict[str, Any], part: str) -> str:
    return with_interval(support[part]["plain"])


def _holds(results: dict[str, Any]) -> str:
    if results["high"] >= 0:
        return "does not hold"
    return "holds" if results["value"] <= -0.3 else "holds weakly"


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for the README."""
    return [
        Line(
            f"ρ of {words} with kNN support in pixels, model of {name}",
            "−0.65 (CIFAR-10)" if part == "total" else "",
            with_interval(model["support"]["kNN, pixels"][part]["plain"]),
        )
        for part, words in (("total", "E"), ("excess", "the excess"))
        for name, model in results["models"].items()
    ]


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """A dot for every correlation."""
    panels = {}
    for name, model in results["models"].items():
        panels[f"model of {name}"] = {
            support: {QUANTITIES[part]: interval(both["plain"]) for part, both in parts.items()}
            for support, parts in model["support"].items()
        }
    words = "Spearman's ρ with support (negative: more of it where data are sparser)"
    return {"sparsity": plotting.intervals(panels, xlabel=words)}
