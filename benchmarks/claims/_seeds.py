"""The headline figures over trainings that differ in their seed alone."""

from typing import Any

import numpy as np

from benchmarks.claims._rows import Row, measured
from benchmarks.claims._runs import common_noise, sampled
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, auc, bootstrap, correlation, share, with_interval
from kinetic_jax import plotting
from kinetic_jax.fields import VelocityField
from kinetic_jax.metrics import knn_support
from kinetic_jax.transforms import kts

# By name of the figure, in words.
FIGURES = {
    "energy and support": "ρ of E with kNN support in pixels, model of all images",
    "excess and support": "ρ of the excess with the same",
    "f_mem": "F_mem, model of few images",
    "shaped f_mem": "F_mem by KTS",
    "completed f_mem": "F_mem by KTS, completed",
    "auc of energy": "AUC of E for copies",
    "auc of early bending": "AUC of early bending for copies",
}


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Each figure for each training, on one noise."""
    n = config["samples"]
    x0 = common_noise(n, subjects.data.event_shape, config["seed"])
    labels = np.arange(n, dtype=np.int32) % subjects.data.num_classes
    options = {"num_steps": config["steps"], "progress": progress}
    shaping = kts(config["strength"], config["strength"])
    figures: dict[str, dict[str, Any]] = {name: {} for name in FIGURES}
    for seed, (general, memorizing) in _trainings(subjects).items():
        run = sampled(general, x0, labels, **options)
        support = np.asarray(
            knn_support(run.images, subjects.data.images, 10, progress=False), np.float64
        )
        for name, part in (("energy", "total"), ("excess", "excess")):
            figures[f"{name} and support"][seed] = correlation(run.quantities[part], support)
        plain = measured(sampled(memorizing, x0, **options), subjects)
        shaped = measured(sampled(memorizing, x0, transform=shaping, **options), subjects)
        assert shaped.copied.completed is not None, "measured gives the completed samples"
        figures["f_mem"][seed] = share(plain.copied)
        figures["shaped f_mem"][seed] = share(shaped.copied)
        figures["completed f_mem"][seed] = share(shaped.copied.completed)
        figures["auc of energy"][seed] = _auc(plain, "total")
        figures["auc of early bending"][seed] = _auc(plain, "early bending")
    return {"samples": n, "strength": config["strength"], "figures": figures}


def _trainings(subjects: Subjects) -> dict[str, tuple[VelocityField, VelocityField]]:
    """The two models by seed, the main ones first."""
    return {"0": (subjects.general, subjects.memorizing), **subjects.seeds}


def _auc(row: Row, name: str) -> dict[str, float]:
    return bootstrap(auc, [row.run.quantities[name], row.copied.memorized.astype(float)])


def count(subjects: Subjects) -> int:
    """The number of runs of `measure`."""
    return 3 * len(_trainings(subjects))


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
                FIGURES[name]: plotting.Interval(
                    *(
                        float("nan") if v is None else v
                        for v in (one["value"], one["low"], one["high"])
                    )
                )
                for name, by_seed in results["figures"].items()
                for one in (by_seed[seed],)
            }
            for seed in next(iter(results["figures"].values()))
        }
    }
    return {"seeds": plotting.intervals(panels, xlabel="value of the figure")}
