"""Gains on the model of all images, beside guidance: margin of the class and distance."""

from typing import Any

import numpy as np

from benchmarks.claims._candidates import margins
from benchmarks.claims._rows import Distance, about, distance
from benchmarks.claims._runs import common_noise, sampled
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, as_json, bootstrap, interval, with_interval
from kinetic_jax import plotting
from kinetic_jax.metrics import paired_difference
from kinetic_jax.transforms import Transform, cfg, identity, ssc

NONE = "no gain"


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Margin and Fréchet distance of each setting at each number of steps, on one noise."""
    n = config["samples"]
    x0 = common_noise(n, subjects.data.event_shape, config["seed"])
    labels = np.arange(n, dtype=np.int32) % subjects.data.num_classes
    rows = []
    for steps in config["numbers of steps"]:
        measured = {}
        for name, transform in _settings(subjects, config).items():
            options = {"transform": transform, "num_steps": steps, "progress": progress}
            run = sampled(subjects.general, x0, labels, **options)
            margin = np.full(n, np.nan)
            margin[run.is_valid] = margins(subjects.logits(run.images), labels[run.is_valid])
            own = distance(subjects.features(run.images), run.is_valid, subjects)
            measured[name] = margin, own
            rows.append({"steps": steps, "name": name, "bad": run.bad} | _compared(measured, name))
    return {"samples": n, "rows": rows}


def _settings(subjects: Subjects, config: dict[str, Any]) -> dict[str, Transform]:
    null = getattr(subjects.general, "null_cond", None)
    return {
        NONE: identity(),
        **{f"SSC, a = {a:g}": ssc(a, 1.0) for a in config["ssc"]},
        **{f"guidance, w = {w:g}": cfg(w, null_cond=null) for w in config["guidance"]},
    }


def _compared(measured: dict[str, tuple[np.ndarray, Distance]], name: str) -> dict[str, Any]:
    """Margin and distance of a setting, with their differences from no gain on the same noise."""
    (margin, own), (plain, without) = measured[name], measured[NONE]
    change = paired_difference(margin, plain, interval="bootstrap")
    moved = own.frechet - without.frechet, own.spread - without.spread
    return {
        "margin": bootstrap(np.mean, [margin[np.isfinite(margin)]]),
        "margin change": as_json(change),
        "frechet": about(*own),
        "frechet change": about(*moved),
    }


def count(config: dict[str, Any], subjects: Subjects) -> int:
    """The number of runs of `measure`."""
    return len(config["numbers of steps"]) * len(_settings(subjects, config))


def verdict(results: dict[str, Any]) -> str:
    """The outcome; nothing was published on this."""
    names = list(dict.fromkeys(row["name"] for row in results["rows"] if row["name"] != NONE))
    return " ".join(_outcome(results, name) for name in names)


def _outcome(results: dict[str, Any], name: str) -> str:
    own = [row for row in results["rows"] if row["name"] == name]
    ups = [sum(row[f"{what} change"]["low"] > 0 for row in own) for what in ("margin", "frechet")]
    listed = "; ".join(
        f"{row['steps']} steps {with_interval(row['margin change'])} and "
        f"{with_interval(row['frechet change'])}"
        for row in own
    )
    return (
        f"{name}: the margin is clearly higher at {ups[0]} of {len(own)} numbers of steps, the "
        f"Fréchet distance at {ups[1]} (changes of both: {listed})."
    )


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    return [
        Line(
            f"margin and Fréchet distance, all images, {row['name']}, {row['steps']} steps",
            "",
            "; ".join(with_interval(row[what], ".2f") for what in ("margin", "frechet")),
        )
        for row in results["rows"]
    ]


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """The changes of margin and distance by setting and number of steps."""
    others = [row for row in results["rows"] if row["name"] != NONE]
    panels = {
        title: {
            f"{steps} steps": {
                row["name"]: interval(row[f"{what} change"])
                for row in others
                if row["steps"] == steps
            }
            for steps in dict.fromkeys(row["steps"] for row in others)
        }
        for title, what in (("margin", "margin"), ("Fréchet distance", "frechet"))
    }
    return {"gains": plotting.intervals(panels, xlabel="change from no gain, same noise")}
