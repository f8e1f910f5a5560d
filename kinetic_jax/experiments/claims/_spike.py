"""Claim: the exact flow of the data spends late, and that is how it copies."""

from typing import Any

import numpy as np

from kinetic_jax.experiments.claims import _plots
from kinetic_jax.experiments.claims._runs import Run, common_noise, sampled
from kinetic_jax.experiments.claims._subjects import Subjects
from kinetic_jax.experiments.claims._words import Line, bootstrap, percent, with_interval
from kinetic_jax.fields import EmpiricalField
from kinetic_jax.metrics import late_energy, memorization
from kinetic_jax.sampling import sample


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Speed over t of exact and learned flows from the same noise, and where they part."""
    n, steps = config["samples"], config["steps"]
    x0 = common_noise(n, subjects.data.event_shape, config["seed"])
    options = {"num_steps": steps, "progress": progress}
    labels = np.arange(n, dtype=np.int32) % subjects.data.num_classes
    few = f"{len(subjects.few):,} images"
    exact = EmpiricalField(subjects.few)
    runs = {
        f"exact flow of {few}": sampled(exact, x0, **options),
        f"model of {few}": sampled(subjects.memorizing, x0, **options),
        "model of all images": sampled(subjects.general, x0, labels, **options),
    }
    own = [subjects.few, subjects.few, subjects.data.images]  # what each may copy
    copied = {
        name: memorization(run.images, rows, progress=False)
        for (name, run), rows in zip(runs.items(), own, strict=True)
    }
    profiles = {
        name: {
            "ts": run.ts.tolist(),
            "speed2": run.speed2.mean(axis=0).tolist(),
            "error": (run.speed2.std(axis=0) / np.sqrt(len(run.speed2))).tolist(),
            "late share": bootstrap(_late_share, [run.quantities["late"], run.quantities["total"]]),
            "f_mem": {"value": copied[name].fraction, "low": copied[name].low,
                      "high": copied[name].high},
        }
        for name, run in runs.items()
    }  # fmt: skip
    first, *others = runs.values()
    return {
        "samples": n,
        "steps": steps,
        "profiles": profiles,
        "parting": {
            name: _parting(first, other) for name, other in zip(list(runs)[1:], others, strict=True)
        },
        "off the exact path": _off_path(exact, subjects, x0[: config["paths"]], steps),
    }


def _late_share(late: np.ndarray, total: np.ndarray) -> float:
    return float(late.sum() / total.sum())


def _parting(exact: Run, other: Run) -> dict[str, float]:
    """The first time at which the mean speeds differ by a tenth, with its interval."""

    def first(a: np.ndarray, b: np.ndarray) -> float:
        apart = np.abs(np.log(b.mean(axis=0) / a.mean(axis=0))) > np.log(1.1)
        return float(exact.ts[np.argmax(apart)]) if apart.any() else float("nan")

    both = exact.good & other.good  # the same noise
    pairs = [run.speed2[both[run.good]] for run in (exact, other)]
    return bootstrap(first, pairs, resamples=200)


def _off_path(
    exact: EmpiricalField, subjects: Subjects, x0: np.ndarray, steps: int
) -> dict[str, Any]:
    """The exact velocity along the LEARNED path, which leads to no training image."""
    run = sample(subjects.memorizing, x0, num_steps=steps, save_at=True)
    found = late_energy(exact, subjects.memorizing, run, start=0.5)
    return {
        "ts": found.ts.tolist(),
        "exact": np.nanmedian(found.empirical, axis=0).tolist(),
        "learned": np.nanmedian(found.learned, axis=0).tolist(),
        "exact growth": found.empirical_growth,
        "learned growth": found.learned_growth,
    }


def verdict(found: dict[str, Any]) -> str:
    """What came out, beside what was published."""
    exact, *others = found["profiles"].items()
    off = found["off the exact path"]
    words = [
        f"Along its own paths the exact flow spends {percent(exact[1]['late share'])} of its "
        "energy "
        f"after t = 0.8 and copies {percent(exact[1]['f_mem'])}"
    ]
    words += [
        f"the {name} spends {percent(one['late share'])} and copies {percent(one['f_mem'])}, its "
        "speed "
        f"first a tenth apart at t = {with_interval(found['parting'][name], '.2f')}"
        for name, one in others
    ]
    growth = [off[f"{name} growth"] for name in ("exact", "learned")]
    told = ["none" if one is None else f"{one:.2f}" for one in growth]
    spikes = growth[0] is not None and growth[0] > 0.25
    spike = (
        ". Along the first model's paths the exact velocity "
        f"{'spikes' if spikes else 'hardly grows'}"
        f": ||v*|| as (1 − t)^−p with p = {told[0]}, the model's own with {told[1]}. Published: "
        "the "
        "exact flow's energy spikes late, by its factor 1/(1 − t), and gives near-copies."
    )
    return "; ".join(words) + spike


def table(found: dict[str, Any]) -> list[Line]:
    """The figures for the README."""
    shares = [
        Line(f"energy after t = 0.8, {name}", "", percent(one["late share"]))
        for name, one in found["profiles"].items()
    ]
    off = found["off the exact path"]
    growth = [off[f"{name} growth"] for name in ("exact", "learned")]
    told = ", ".join("none" if one is None else f"{one:.2f}" for one in growth)
    return [
        *shares,
        Line("p of ‖v‖ ~ (1 − t)^−p along learned paths: exact flow, the model itself", "1", told),
    ]


def draw(found: dict[str, Any]) -> dict[str, bytes]:
    """Speed over t along each flow's own paths, and along the learned ones."""
    return {"spike": _plots.speeds(found["profiles"], found["off the exact path"])}
