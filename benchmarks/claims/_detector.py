"""Copies detected without the training data: every statistic, and a detector made of them."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.claims._detected import ALONG
from benchmarks.claims._detected import draw as draw
from benchmarks.claims._detected import table as table
from benchmarks.claims._detected import verdict as verdict
from benchmarks.claims._guided import GUIDED
from benchmarks.claims._methods import (
    columns_of,
    of_detector,
    of_labels,
    of_none,
    without_labels,
)
from benchmarks.claims._scored import (
    Model,
    Scored,
    area,
    features_of,
    quality,
    scored,
    with_usual,
)
from benchmarks.claims._subjects import Subjects, with_shipped_models
from benchmarks.claims._words import share
from kinetic_jax.copies import STATISTICS, CopyFeatures, negatives, snap
from kinetic_jax.data import load_images

PLAIN = tuple(name for name in STATISTICS if name not in GUIDED)
# Detectors by name, with the columns that they see; "" for all.
DETECTORS = {
    "profile": "profile",
    "profile and snap": "profile, snap",
    "all features": "",
}
SHIPPED = "fashion-mnist-1024"


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Every method on fresh noise; settings and detectors were chosen on other noise."""
    earlier = subjects.nearest_step(config["earlier"])
    model = Model(subjects.memorizing, subjects.checkpoints[earlier])
    seeds = config["seed"], config["seed"] + 1000
    train = subjects.few

    def of(one: Model, seed: int, **options: Any) -> Scored:
        return scored(one, train, config, seed, progress, **options)

    chosen_on = of(model, seeds[0])
    fresh = of(model, seeds[1], **with_usual(PLAIN, chosen_on))
    return {
        "samples": config["samples"],
        "earlier": earlier,
        "f_mem": share(fresh.copied),
        "statistics": {
            name: quality(score, fresh.copied) for name, score in fresh.statistics.items()
        },
        "detectors": _detectors(chosen_on, fresh, _negatives(subjects, model, config)),
        "snap": _chosen_snap(subjects, config, chosen_on, fresh),
        "along": [
            _at_step(step, Model(field, model.earlier), seeds, of, config["along"])
            for step, field in sorted(subjects.checkpoints.items())
            if step > earlier
        ],
        "runs": {
            name: without_labels(of(model, seeds[1], **options))
            for name, options in _other_runs(config).items()
        },
        "transfer": _transferred(subjects, chosen_on, seeds, of),
        "from shipped": _from_shipped(subjects, config, fresh, progress),
    }


def _detectors(chosen_on: Scored, fresh: Scored, held_out: CopyFeatures) -> dict[str, Any]:
    """Detectors by labels, without any, and by held-out negatives."""
    table: dict[str, Any] = {}
    for name, which in DETECTORS.items():
        own = columns_of(chosen_on.features, which)
        detector = of_labels(own, chosen_on.copied.memorized)
        table[f"labels, {name}"] = of_detector(detector, columns_of(fresh.features, which), fresh)
    own = columns_of(chosen_on.features, "snap")
    detector = of_none(own)
    table["no labels, snap"] = of_detector(detector, columns_of(fresh.features, "snap"), fresh)
    statistics = "snap, self_consistency, spread"
    own = columns_of(chosen_on.features, statistics)
    detector = of_none(own, held_out)
    table["no labels, held-out negatives"] = of_detector(
        detector, columns_of(fresh.features, statistics), fresh
    )
    return table


def _negatives(subjects: Subjects, model: Model, config: dict[str, Any]) -> CopyFeatures:
    """Features of held-out images, re-noised and denoised by the model."""
    t, number = config["negatives at"], min(config["samples"] // 2, len(subjects.data.held_out))
    run = negatives(
        model.field,
        subjects.data.held_out[:number],
        key=jax.random.key(config["seed"]),
        t=t,
        num_steps=max(1, round(config["steps"] * (1 - t))),
    )
    return features_of(model, run, None, bins=0)


def _chosen_snap(
    subjects: Subjects, config: dict[str, Any], chosen_on: Scored, fresh: Scored
) -> dict[str, Any]:
    """Time, draws and checkpoint of snap with the best AUC on one noise, and its AUC on another."""
    key, rows = jax.random.key(config["seed"]), slice(0, config["search"])
    table = []
    for step, earlier in sorted(subjects.checkpoints.items())[:-1]:
        for t in config["times"]:
            for draws in config["draws"]:
                areas = []
                for group in (chosen_on, fresh):
                    images, is_copy = group.images[rows], group.copied.memorized[rows]
                    score = snap(subjects.memorizing, earlier, images, key=key, t=t, draws=draws)
                    known = np.isfinite(score)
                    areas.append(area(np.asarray(score, np.float64)[known], is_copy[known]))
                table.append({"step": step, "t": t, "draws": draws, "auc": areas})
    known_ones = [row for row in table if row["auc"][0]["value"] is not None]
    best = max(known_ones, key=lambda row: row["auc"][0]["value"], default=None)
    return {"table": table, "best": best}


def _at_step(
    step: int, model: Model, seeds: tuple[int, int], of: Callable[..., Scored], samples: int
) -> dict[str, Any]:
    """Statistics and detectors of a checkpoint."""
    chosen_on, fresh = (of(model, seed, samples=samples) for seed in seeds)
    columns = {name: fresh.features.column(name) for name in ALONG}
    detector = of_labels(chosen_on.features, chosen_on.copied.memorized)
    return {
        "step": step,
        "f_mem": share(fresh.copied),
        "statistics": {name: quality(score, fresh.copied) for name, score in columns.items()},
        "labels": of_detector(detector, fresh.features, fresh),
        "no labels": without_labels(fresh),
    }


def _other_runs(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Other numbers of steps, and another solver."""
    steps = {f"Euler, {count} steps": {"steps": count} for count in config["fewer"]}
    half = config["steps"] // 2
    return steps | {f"Heun, {half} steps": {"steps": half, "solver": "Heun"}}


def _transferred(
    subjects: Subjects, chosen_on: Scored, seeds: tuple[int, int], of: Callable[..., Scored]
) -> dict[str, Any]:
    """The detector of the main model on the same trained with other seeds."""
    detector = of_labels(chosen_on.features, chosen_on.copied.memorized)
    table = {}
    for seed, (later, earlier) in subjects.copying.items():
        fresh = of(Model(later, earlier), seeds[1])
        moved = of_detector(detector, fresh.features, fresh, is_other_model=True)
        table[seed] = {
            "f_mem": share(fresh.copied),
            "transferred": moved,
            "no labels": without_labels(fresh),
        }
    return table


def _from_shipped(
    subjects: Subjects, config: dict[str, Any], fresh: Scored, progress: Any
) -> dict[str, Any]:
    """Detectors of the included model on samples of a model of other images; {} of the same ones.

    They see log profiles and log ratios of errors, which fit images of any size.
    """
    if not subjects.trained:
        return {}
    shipped = with_shipped_models(load_images(SHIPPED), subjects.folder)
    earlier = shipped.checkpoints[shipped.nearest_step(config["earlier"])]
    model = Model(shipped.memorizing, earlier)
    fitted_on = scored(model, shipped.few, config, config["seed"], progress)
    table = {}
    for name, which in DETECTORS.items():
        own = columns_of(fitted_on.features, which)
        detector = of_labels(own, fitted_on.copied.memorized)
        table[name] = of_detector(
            detector, columns_of(fresh.features, which), fresh, is_other_model=True
        )
    return table


def count(config: dict[str, Any], subjects: Subjects) -> int:
    """The number of runs of `measure`, as multiples of `samples`, about."""
    first = subjects.nearest_step(config["earlier"])
    later = [step for step in subjects.checkpoints if step > first]
    along = 2 * len(later) * config["along"] / config["samples"]
    others = len(_other_runs(config)) + len(subjects.copying) + subjects.trained
    return 2 + round(along) + others
