"""Does a landing prevent copies or hide them? Samples completed by one evaluation."""

from typing import Any

import jax
import numpy as np

from benchmarks.claims import _controls
from benchmarks.claims._rows import Row, compared, measured
from benchmarks.claims._runs import Run, common_noise, sampled
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, interval, percent, with_interval
from kinetic_jax import plotting
from kinetic_jax.transforms import guide, kts, smooth

PLAIN, LANDING = "no gain", "KTS, landing only"
HIDING = (LANDING, "early stop", "copy plus noise")  # families that leave noise on a sample


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """F_mem and Fréchet distance of the samples and of the completed ones, from one noise."""
    n, steps, seed = config["samples"], config["steps"], config["seed"]
    shape, field = subjects.data.event_shape, subjects.memorizing

    def sampling(x0: np.ndarray, **options: Any) -> Run:
        return sampled(field, x0, progress=progress, **({"num_steps": steps} | options))

    x0 = common_noise(n, shape, seed)
    baseline = measured(sampling(x0), subjects)
    rows = [compared(PLAIN, PLAIN, baseline, baseline)]

    def keep(name: str, family: str, row: Row) -> None:
        rows.append(compared(name, family, row, baseline))

    for family, name, options in _settings(config, subjects):
        keep(name, family, measured(sampling(x0, **options), subjects))
    for sigma in config["noise"]:
        images = _controls.with_noise(baseline.run.images, sigma)
        ends = _controls.without_noise(field, images, baseline.run.residual, sigma)
        noisy = baseline.run._replace(images=images, completed=ends)
        keep(f"σ = {sigma:g}", "copy plus noise", measured(noisy, subjects))
    others = sampling(common_noise(n, shape, seed + 2000))
    picked = _controls.one_of_two(baseline.run, others, "early bending")
    keep("one of two, the less bent", "rejection by early bending", measured(picked, subjects))
    return {"samples": n, "rows": rows, "lower": _lower(rows[1:])}


def _lower(rows: list[dict[str, Any]]) -> list[str]:
    """The settings whose completed samples have clearly fewer copies and are no farther off."""
    return [
        f"{row['family']}: {row['name']}"
        for row in rows
        if row["completed"]["f_mem change"]["high"] < 0
        and row["completed"]["frechet change"]["value"] <= 0
    ]


def count(config: dict[str, Any], subjects: Subjects) -> int:
    """The number of runs of `measure`."""
    return 2 + len(_settings(config, subjects))


def _settings(config: dict[str, Any], subjects: Subjects) -> list[tuple[str, str, dict[str, Any]]]:
    """Family, name and options of `sampled` of every row that is sampled."""
    tau, steps = config["tau_split"], config["steps"]
    settings: list[tuple[str, str, dict[str, Any]]] = []
    for s in config["strengths"]:
        settings.append((LANDING, f"β0 = {s:g}", {"transform": kts(0.0, s, tau)}))
    for s in config["strengths"]:
        settings.append(("KTS, both", f"α0 = β0 = {s:g}", {"transform": kts(s, s, tau)}))
    for end in config["stops"]:
        early = {"num_steps": round(steps * end), "t1": end}
        settings.append(("early stop", f"t = {end:g}", early))
    step = subjects.nearest_step(config["earlier"])
    for w in config["guide"]:
        guided = guide(subjects.checkpoints[step], w)
        settings.append((f"guided by step {step:,}", f"w = {w:g}", {"transform": guided}))
    for sigma in config["smooth"]:
        smoothed = smooth(sigma, config["points"], jax.random.key(config["seed"]))
        settings.append(("smoothed velocity", f"σ = {sigma:g}", {"transform": smoothed}))
    return settings


def hidden(row: dict[str, Any], plain: dict[str, Any]) -> float | None:
    """The share of a fall of F_mem that is gone once the samples are completed; None of no fall."""
    fall = plain["f_mem"]["value"] - row["f_mem"]["value"]
    left = plain["completed"]["f_mem"]["value"] - row["completed"]["f_mem"]["value"]
    return (fall - left) / fall if row["f_mem change"]["high"] < 0 else None


def verdict(results: dict[str, Any]) -> str:
    """The outcome; nothing was published on this."""
    rows, lower = results["rows"], results["lower"]
    plain = rows[0]
    sentences = [
        f"Completed by one evaluation, samples without a gain score "
        f"{percent(plain['completed']['f_mem'])} in place of {percent(plain['f_mem'])}."
    ]
    for family in HIDING:
        listed = []
        for row in (row for row in rows if row["family"] == family):
            share = hidden(row, plain)
            note = "no clear fall" if share is None else f"{100 * share:.0f}% of the fall is noise"
            listed.append(
                f"{row['name']}: {percent(row['f_mem'])}, completed "
                f"{percent(row['completed']['f_mem'])} ({note}); of the copies without a gain "
                f"{percent(row['completed']['kept copies'])} keep their image"
            )
        sentences.append(f"{family[0].upper()}{family[1:]}: {'; '.join(listed)}.")
    names = f" ({'; '.join(lower)})" if lower else ""
    fewer = [row for row in rows[1:] if row["completed"]["f_mem change"]["high"] < 0]
    least = min(fewer, key=lambda row: row["completed"]["f_mem"]["value"], default=None)
    sentences.append(
        f"Of {len(rows) - 1} settings {len(fewer)} have clearly fewer copies among the completed "
        f"samples, {len(lower)} of them at no greater Fréchet distance of those{names}."
    )
    if least is not None:
        sentences.append(
            f"The fewest are {percent(least['completed']['f_mem'])}, by {least['family']}, "
            f"{least['name']}, at a distance changed by "
            f"{with_interval(least['completed']['frechet change'], '+.2f')}."
        )
    return " ".join(sentences)


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    lines = []
    for row in results["rows"]:
        if row["family"] != "KTS, both":
            name = row["family"] if row["family"] == PLAIN else f"{row['family']}, {row['name']}"
            both = f"{percent(row['f_mem'])}; {percent(row['completed']['f_mem'])}"
            lines.append(Line(f"F_mem, and that of completed samples: {name}", "", both))
    number = len(results["rows"]) - 1
    what = "settings with fewer copies among completed samples, those no farther off"
    return [*lines, Line(what, "", f"{len(results['lower'])} of {number}")]


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """The front as published, and that of the completed samples."""
    rows, figures = results["rows"], {}
    for picture, own in (
        ("completion", rows),
        ("completion-completed", [row | row["completed"] for row in rows]),
    ):
        settings = [
            plotting.FrontSetting(
                row["family"],
                interval(row["f_mem"]),
                interval(row["frechet change"]),
                is_control=not row["family"].startswith(("KTS", PLAIN)),
            )
            for row in own
        ]
        samples = "completed samples" if "completed" in picture else "samples"
        figures[picture] = plotting.fronts(
            settings,
            xlabel=f"change of the Fréchet distance of {samples} to held-out images, which without "
            f"a gain is {own[0]['frechet']['value']:.2f}",
            baseline=PLAIN,
        )
    return figures
