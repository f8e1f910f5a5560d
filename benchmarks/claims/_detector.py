"""Copies detected without the training data: every statistic, and a detector made of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims._guided import GUIDED
from benchmarks.claims._methods import (
    columns_of,
    line_of,
    of_detector,
    of_labels,
    of_none,
    ranked,
    without_labels,
)
from benchmarks.claims._scored import (
    Model,
    Scored,
    area,
    features_of,
    quality,
    scored,
)
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, interval, percent, share, with_interval
from kinetic_jax import plotting
from kinetic_jax.copies import STATISTICS, CopyFeatures, snap
from kinetic_jax.sampling import sample

PLAIN = tuple(name for name in STATISTICS if name not in GUIDED)
# Detectors by name, with the columns that they see; None for all.
DETECTORS = {
    "profile": "profile",
    "profile and snap": "profile, snap",
    "all features": "",
}
ALONG = ("snap", "self_consistency", "spread")


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Every method on fresh noise; settings and detectors were chosen on other noise."""
    earlier = subjects.nearest_step(config["earlier"])
    model = Model(subjects.memorizing, subjects.checkpoints[earlier])
    seeds = config["seed"], config["seed"] + 1000
    train = subjects.few

    def of(one: Model, seed: int, **options: Any) -> Scored:
        return scored(one, train, config, seed, progress, **options)

    chosen_on = of(model, seeds[0])
    usual = chosen_on.speed2[chosen_on.copied.valid & ~chosen_on.copied.memorized]
    names = PLAIN if len(usual) > 1 else tuple(name for name in PLAIN if name != "norm_rule")
    fresh = of(model, seeds[1], statistics=names, usual=usual.astype(np.float32))
    results = {
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
    }
    return results


def _detectors(chosen_on: Scored, fresh: Scored, negatives: CopyFeatures) -> dict[str, Any]:
    """Detectors of labels, of none, and of held-out negatives."""
    labels = chosen_on.copied.memorized
    table: dict[str, Any] = {}
    for name, which in DETECTORS.items():
        own = columns_of(chosen_on.features, which)
        detector = of_labels(own, labels)
        table[f"labels, {name}"] = of_detector(detector, columns_of(fresh.features, which), fresh)
    own = columns_of(chosen_on.features, "snap")
    detector = of_none(own)
    table["no labels, snap"] = of_detector(detector, columns_of(fresh.features, "snap"), fresh)
    statistics = "snap, self_consistency, spread"
    own = columns_of(chosen_on.features, statistics)
    held_out = negatives._replace(settings=own.settings)  # of paths that began later
    detector = of_none(own, held_out)
    table["no labels, held-out negatives"] = of_detector(
        detector, columns_of(fresh.features, statistics), fresh
    )
    return table


def _negatives(subjects: Subjects, model: Model, config: dict[str, Any]) -> CopyFeatures:
    """Features of held-out images, re-noised and denoised by the model."""
    t, number = config["negatives at"], min(config["samples"] // 2, len(subjects.data.held_out))
    images = jnp.asarray(subjects.data.held_out[:number])
    noisy = t * images + (1 - t) * jax.random.normal(jax.random.key(config["seed"]), images.shape)
    run = sample(model.field, noisy, t0=t, num_steps=max(1, round(config["steps"] * (1 - t))))
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
    labels = chosen_on.copied.memorized
    detector = of_labels(chosen_on.features, labels)
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
    labels = chosen_on.copied.memorized
    detector = of_labels(chosen_on.features, labels)
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


def count(config: dict[str, Any], subjects: Subjects) -> int:
    """The number of runs of `measure`, as multiples of `samples`, about."""
    first = subjects.nearest_step(config["earlier"])
    later = [step for step in subjects.checkpoints if step > first]
    along = 2 * len(later) * config["along"] / config["samples"]
    return 2 + round(along) + len(_other_runs(config)) + len(subjects.copying)


def verdict(results: dict[str, Any]) -> str:
    """The outcome, beside what others report on their own models."""
    sentences = [
        f"{percent(results['f_mem'])} of the samples are copies, by the rule that needs the "
        "training images. Scores are made without these; labels for detectors are by that rule, of "
        "other samples."
    ]
    best_first = ranked(results["statistics"])
    if best_first:
        listed = "; ".join(
            f"{name} {with_interval(own['auc'], '.3f')}" for name, own in best_first[:4]
        )
        trivial = results["statistics"]["total_variation"]["auc"]
        sentences.append(
            f"AUC of single statistics: {listed}; the image's total variation alone has "
            f"{with_interval(trivial, '.3f')}."
        )
    for name, own in results["detectors"].items():
        if own is not None and own["auc"]["value"] is not None:
            sentences.append(
                f"Detector by {name}: AUC {with_interval(own['auc'], '.3f')}, without unclear "
                f"samples {with_interval(own['clear auc'], '.3f')}; "
                f"{percent(own['tpr 1%'])} of the copies at 1% false positives."
            )
    best = results["snap"]["best"]
    if best is not None:
        sentences.append(
            f"The best setting of snap on one noise, step {best['step']:,}, t = {best['t']:g}, "
            f"{best['draws']} draws, has {with_interval(best['auc'][1], '.3f')} on the other."
        )
    for seed, own in results["transfer"].items():
        if own["transferred"] is not None:
            moved = with_interval(own["transferred"]["auc"], ".3f")
            sentences.append(f"Transferred to training {seed}: {moved}.")
    return " ".join(sentences)


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    rows = dict(ranked(results["statistics"]))
    rows |= {f"detector, {name}": own for name, own in results["detectors"].items() if own}
    for seed, own in results["transfer"].items():
        if own["transferred"] is not None:
            rows[f"detector, labels, transferred to training {seed}"] = own["transferred"]
    return [line_of(name, own) for name, own in rows.items()]


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """The AUC of every method, and those of some over the training."""
    single = {name: interval(own["auc"]) for name, own in ranked(results["statistics"])}
    made = {
        name: interval(own["auc"]) for name, own in results["detectors"].items() if own is not None
    }
    figures = {
        name: plotting.intervals(
            {"AUC for copies": {"without the training data": rows}}, xlabel="AUC for copies"
        )
        for name, rows in (("detector", made), ("detector-statistics", single))
        if rows
    }
    along = results["along"]
    if along:
        steps = np.array([one["step"] for one in along])
        curves = {
            name: {
                "AUC for copies": plotting.Curve(
                    steps, *np.array([interval(one["statistics"][name]["auc"]) for one in along]).T
                )
            }
            for name in ALONG
        }
        figures["detector-along"] = plotting.energy_by_step(curves)
    return figures
