"""The headline figures over trainings that differ in their seed alone."""

from typing import Any

import numpy as np

from benchmarks.claims._frames import class_means
from benchmarks.claims._methods import columns_of, of_detector, of_labels, of_none
from benchmarks.claims._rows import Row, measured
from benchmarks.claims._runs import Run, common_noise, sampled
from benchmarks.claims._scored import NONE, Model, scored
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import (
    Line,
    auc,
    bootstrap,
    correlation,
    interval,
    share,
    with_interval,
)
from kinetic_jax import plotting
from kinetic_jax.fields import VelocityField
from kinetic_jax.metrics import knn_support
from kinetic_jax.transforms import kts

# By name of the figure, in words.
FIGURES = {
    "energy": "ρ of E with kNN support in pixels, model of all images",
    "excess": "ρ of the excess with the same",
    "class frames": "ρ of E in the frames of the classes with the same",
    "class frames, few": "ρ of E in the frames of the classes, model of few images",
    "f_mem": "F_mem, model of few images",
    "shaped f_mem": "F_mem by KTS, landing only",
    "completed f_mem": "F_mem by KTS, completed",
    "auc of energy": "AUC of E for copies",
    "auc of early bending": "AUC of early bending for copies",
    "auc of labels": "AUC of a detector with labels for copies",
    "auc without labels": "AUC of a detector without labels for copies",
}


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Each figure for each training, on one noise."""
    figures: dict[str, dict[str, Any]] = {name: {} for name in FIGURES}
    for seed, (general, memorizing, earlier) in _trainings(subjects, config).items():
        own = {
            **_of_all_images(general, subjects, config, progress),
            **_of_few_images(memorizing, subjects, config, progress),
            **_of_detectors(Model(memorizing, earlier), subjects, config, progress),
        }
        for name in FIGURES:
            figures[name][seed] = own[name]
    return {"samples": config["samples"], "beta0": config["beta0"], "figures": figures}


def _trainings(
    subjects: Subjects, config: dict[str, Any]
) -> dict[str, tuple[VelocityField, VelocityField, VelocityField]]:
    """The two models and the second one's early checkpoint, by seed, the main ones first."""
    earlier = subjects.checkpoints[subjects.nearest_step(config["earlier"])]
    return {"0": (subjects.general, subjects.memorizing, earlier), **subjects.seeds}


def _of_all_images(
    field: VelocityField, subjects: Subjects, config: dict[str, Any], progress: Any
) -> dict[str, Any]:
    images, classes = subjects.data.images, subjects.data.labels
    assert classes is not None, "claims are measured on labelled images"
    x0 = _noise(subjects, config)
    labels = np.arange(config["samples"], dtype=np.int32) % subjects.data.num_classes
    frames = {"class frames": class_means(images, classes)[labels]}
    run = sampled(field, x0, labels, frames=frames, num_steps=config["steps"], progress=progress)
    parts = {"energy": "total", "excess": "excess", "class frames": "class frames"}
    return _with_support(run, images, parts)


def _of_few_images(
    field: VelocityField, subjects: Subjects, config: dict[str, Any], progress: Any
) -> dict[str, Any]:
    few, classes, x0 = subjects.few, subjects.data.labels, _noise(subjects, config)
    assert classes is not None, "claims are measured on labelled images"
    means = class_means(few, classes[: len(few)])
    # The class of a sample without a label is the one that the classifier sees.
    frames = {"class frames": lambda x: means[subjects.logits(x).argmax(1)]}
    options = {"num_steps": config["steps"], "progress": progress}
    plain = measured(sampled(field, x0, frames=frames, **options), subjects)
    shaping = kts(0.0, config["beta0"])
    shaped = measured(sampled(field, x0, transform=shaping, **options), subjects)
    assert shaped.copied.completed is not None, "measured gives the completed samples"
    return {
        **_with_support(plain.run, few, {"class frames, few": "class frames"}),
        "f_mem": share(plain.copied),
        "shaped f_mem": share(shaped.copied),
        "completed f_mem": share(shaped.copied.completed),
        "auc of energy": _auc(plain, "total"),
        "auc of early bending": _auc(plain, "early bending"),
    }


def _of_detectors(
    model: Model, subjects: Subjects, config: dict[str, Any], progress: Any
) -> dict[str, Any]:
    """Detectors fitted on samples of one noise, measured on another's."""
    fitted_on, fresh = (
        scored(model, subjects.few, config, config["seed"] + more, progress) for more in (0, 1000)
    )
    detectors = {
        "auc of labels": (of_labels(fitted_on.features, fitted_on.copied.memorized), ""),
        "auc without labels": (of_none(columns_of(fitted_on.features, "snap")), "snap"),
    }
    figures = {}
    for name, (detector, which) in detectors.items():
        own = of_detector(detector, columns_of(fresh.features, which), fresh)
        figures[name] = dict(NONE) if own is None else own["auc"]
    return figures


def _noise(subjects: Subjects, config: dict[str, Any]) -> np.ndarray:
    return common_noise(config["samples"], subjects.data.event_shape, config["seed"])


def _with_support(run: Run, rows: np.ndarray, parts: dict[str, str]) -> dict[str, Any]:
    """The correlation of quantities with the support of the rows, by name of the figure."""
    support = np.asarray(knn_support(run.images, rows, 10, progress=False), np.float64)
    return {name: correlation(run.quantities[part], support) for name, part in parts.items()}


def _auc(row: Row, name: str) -> dict[str, float]:
    return bootstrap(auc, [row.run.quantities[name], row.copied.memorized.astype(float)])


def count(subjects: Subjects) -> int:
    """The number of runs of `measure`."""
    return 5 * (1 + len(subjects.seeds))


def ranges(results: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """The least and the greatest value of each figure over the trainings."""
    return {
        name: (min(values), max(values))
        for name, by_seed in results["figures"].items()
        for values in ([one["value"] for one in by_seed.values() if one["value"] is not None],)
        if values
    }


def verdict(results: dict[str, Any]) -> str:
    """The outcome; nothing was published on this."""
    number = len(next(iter(results["figures"].values())))
    listed = "; ".join(
        f"{FIGURES[name]} {low:.2f} to {high:.2f}" for name, (low, high) in ranges(results).items()
    )
    return f"Over {number} trainings with seeds of their own, on one noise: {listed}."


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    return [
        Line(
            f"{FIGURES[name]}, by seed of the training",
            "",
            "; ".join(f"{seed}: {with_interval(one, '.2f')}" for seed, one in by_seed.items()),
        )
        for name, by_seed in results["figures"].items()
    ]


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """A dot for every training and figure."""
    panels = {
        "trainings": {
            f"seed {seed}": {
                FIGURES[name]: interval(by_seed[seed])
                for name, by_seed in results["figures"].items()
            }
            for seed in next(iter(results["figures"].values()))
        }
    }
    return {"seeds": plotting.intervals(panels, xlabel="value of the figure")}
