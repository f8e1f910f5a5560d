"""Claim: the exact flow of the data spends late, and that is how it copies."""

from typing import Any

import numpy as np

from benchmarks.claims._runs import Run, common_noise, sampled
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, bootstrap, percent, share, with_interval
from kinetic_jax import plotting
from kinetic_jax.exact import EmpiricalField, late_energy
from kinetic_jax.metrics import memorization
from kinetic_jax.sampling import sample


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Speed over t of exact and learned flows from the same noise, and where they part.

    The model of all images receives no class: the exact flow and the other model know none, and a
    class alone makes the first steps longer.
    """
    n, steps = config["samples"], config["steps"]
    x0 = common_noise(n, subjects.data.event_shape, config["seed"])
    options = {"num_steps": steps, "progress": progress}
    null = getattr(subjects.general, "null_cond", None)
    unlabelled = None if null is None else np.full(n, np.asarray(null), np.int32)
    few = f"{len(subjects.few):,} images"
    exact = EmpiricalField(subjects.few)
    runs = {
        f"exact flow of {few}": sampled(exact, x0, **options),
        f"model of {few}": sampled(subjects.memorizing, x0, **options),
        "model of all images": sampled(subjects.general, x0, unlabelled, **options),
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
            "f_mem": share(copied[name]),
        }
        for name, run in runs.items()
    }
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


# Where growth is fitted: half way, and at the end.
WINDOWS = {"half way": (0.5, 0.8), "at the end": (0.9, 1.0)}
NEVER = 1.0  # the time at which two flows part that do not


def _late_share(late: np.ndarray, total: np.ndarray) -> float:
    return float(late.sum() / total.sum())


def _parting(exact: Run, other: Run) -> dict[str, float]:
    """The first time at which the mean speeds differ by a tenth, with its interval."""

    def first(a: np.ndarray, b: np.ndarray) -> float:
        apart = np.abs(np.log(b.mean(axis=0) / a.mean(axis=0))) > np.log(1.1)
        return float(exact.ts[np.argmax(apart)]) if apart.any() else NEVER

    both = exact.is_valid & other.is_valid  # the same noise
    pairs = [run.speed2[both[run.is_valid]] for run in (exact, other)]
    return bootstrap(first, pairs, resamples=200)


def _off_path(
    exact: EmpiricalField, subjects: Subjects, x0: np.ndarray, steps: int
) -> dict[str, Any]:
    """The exact velocity along the LEARNED path, which leads to no training image."""
    run = sample(subjects.memorizing, x0, num_steps=steps, save_at=True)
    late = late_energy(exact, subjects.memorizing, run, start=0.5)
    is_valid = np.isfinite(late.empirical + late.learned).all(axis=1)
    energies = {"exact": late.empirical[is_valid], "learned": late.learned[is_valid]}
    growth = {}
    for when, (start, end) in WINDOWS.items():
        inside = (late.ts >= start - 1e-9) & (late.ts < end - 1e-9)
        slopes = {
            name: _slopes(late.ts[inside], energy[:, inside]) for name, energy in energies.items()
        }
        growth[when] = {name: bootstrap(np.mean, [own]) for name, own in slopes.items()}
        growth[when]["apart"] = bootstrap(np.mean, [slopes["exact"] - slopes["learned"]])
    return {
        "ts": late.ts.tolist(),
        **{name: _medians(energy) for name, energy in energies.items()},
        "growth": growth,
    }


def _slopes(ts: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Path by path the exponent p of a speed that grows as (1 − t)^−p; NaN at rest."""
    with np.errstate(divide="ignore"):
        logs = np.log(energy) / 2
    return np.polyfit(-np.log(1 - ts), np.where(np.isfinite(logs), logs, np.nan).T, 1)[0]


def _medians(energy: np.ndarray) -> dict[str, list[float]]:
    """The median at each time, with the order statistics between which it lies at 95%."""
    n, ranked = len(energy), np.sort(energy, axis=0)
    half = 1.96 * np.sqrt(n) / 2
    low, high = max(int(n / 2 - half), 0), min(int(np.ceil(n / 2 + half)), n - 1)
    middle = np.median(energy, axis=0)
    return {"value": middle.tolist(), "low": ranked[low].tolist(), "high": ranked[high].tolist()}


def verdict(results: dict[str, Any]) -> str:
    """The outcome, beside what was published."""
    exact, *others = results["profiles"].items()
    off, model = results["off the exact path"], list(results["profiles"])[1]
    text = [
        f"Along its own paths the exact flow spends {percent(exact[1]['late share'])} of its "
        "energy after t = 0.8 (an even pace: 20%), without a spike, and copies "
        f"{percent(exact[1]['f_mem'])}"
    ]
    text += [
        f"the {name} spends {percent(one['late share'])} and copies {percent(one['f_mem'])}, "
        f"{_parts(results['parting'][name])}"
        for name, one in others
    ]
    apart = off["growth"]["at the end"]["apart"]["low"]
    ending = "spikes" if apart is not None and apart > 0 else "does not clearly outgrow the model's"
    fits = "; ".join(
        f"p = {with_interval(one['exact'], '.2f')} {when} (t in [{start:g}, {end:g})), the "
        f"model's own {with_interval(one['learned'], '.2f')}"
        for (when, one), (start, end) in zip(off["growth"].items(), WINDOWS.values(), strict=True)
    )
    spike = (
        f". Along the paths of the {model}, which lead elsewhere, the exact velocity {ending}, as "
        f"(1 − t)^−p at the times of {results['steps']} steps: {fits}. Published: the exact "
        "flow's energy spikes late, by its factor 1/(1 − t), and gives near-copies."
    )
    return "; ".join(text) + spike


def _parts(parting: dict[str, Any]) -> str:
    if parting["value"] == NEVER:
        return "its ||u||² never a tenth from the exact flow's"
    ends = " to ".join(
        "never" if end == NEVER else f"{end:.2f}" for end in (parting["low"], parting["high"])
    )
    return f"its ||u||² first a tenth from the exact flow's at t = {parting['value']:.2f} ({ends})"


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for the README."""
    shares = [
        Line(f"energy after t = 0.8 (even pace: 20%), {name}", "", percent(one["late share"]))
        for name, one in results["profiles"].items()
    ]
    off = results["off the exact path"]
    lines = [
        Line(
            f"p of ||v*|| ~ (1 − t)^−p along the model's paths, {when}",
            "1 (in the limit)",
            with_interval(one["exact"], ".2f"),
        )
        for when, one in off["growth"].items()
    ]
    return [*shares, *lines]


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """Speed over t along each flow's own paths, and along the learned ones."""
    own = {}
    for name, one in results["profiles"].items():
        ts, mean, error = (np.array(one[key]) for key in ("ts", "speed2", "error"))
        own[name] = plotting.Curve(ts, mean, mean - 1.96 * error, mean + 1.96 * error)
    off, along = results["off the exact path"], {}
    for name, text in (("exact", "exact flow"), ("learned", "the model itself")):
        ends = (np.array(off[name][key]) for key in ("value", "low", "high"))
        along[text] = plotting.Curve(np.array(off["ts"]), *ends)
    where = "median ½||v||² along the model's paths"
    pictures = {
        "spike": plotting.by_time(own, ylabel="mean ||u||² along the flow's own paths"),
        "spike-elsewhere": plotting.by_time(along, ylabel=where, log=True),
    }
    return {name: axes.figure for name, axes in pictures.items()}
