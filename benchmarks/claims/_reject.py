"""Rejection of likely copies, within strata, after the whole path or early on it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.claims._kept import (
    Kept,
    Samples,
    copies_change,
    described,
    distance_change,
    kept,
)
from benchmarks.claims._runs import common_noise
from benchmarks.claims._scored import Model, scored
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._ways import (
    ORACLE,
    RANDOM,
    candidates_of,
    early,
    on_noise,
    risks,
    score_evaluations,
    shaped,
)
from benchmarks.claims._words import Line, interval, percent, points, with_interval
from kinetic_jax import plotting
from kinetic_jax.copies import clusters, reject
from kinetic_jax.metrics._comparison import beaten_by

PLAIN, EARLY, TOGETHER = "no rejection", "early, by a detector", "all together"
WITHIN = 0.02  # F_mem above the oracle's that still counts as near it


class Setting(NamedTuple):
    """A way to sample, its names, and the oracle of the same strata where it has one."""

    family: str
    name: str
    own: Kept
    oracle: Kept | None = None


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Every way to sample on the same noise; detectors are fitted on other noise."""
    n, resamples = config["samples"], config["resamples"]
    earlier = subjects.nearest_step(config["earlier"])
    model = Model(subjects.memorizing, subjects.checkpoints[earlier])
    counts = [candidates_of(n, config[of]) for of in ("share", "early share")]
    x0 = common_noise(max(counts), subjects.data.event_shape, config["seed"])
    noise_of = config["seed"], config["seed"] + 1000
    fresh = scored(model, subjects.few, config, noise_of[0], progress, samples=counts[0])
    other = scored(model, subjects.few, config, noise_of[1], progress, samples=n)
    is_valid = fresh.copied.valid
    pool = on_noise(fresh.images[is_valid], is_valid, x0, subjects)

    def measured(samples: Samples, evaluations: float, completed: Samples | None = None) -> Kept:
        return kept(samples, evaluations, subjects, resamples, completed)

    plain = measured(pool.rows(np.arange(is_valid[:n].sum())), config["steps"])
    settings = [Setting(PLAIN, PLAIN, plain)]
    of_all = risks(other, fresh, subjects, config)
    by_name = {name: risk[is_valid] for name, risk in of_all.items()}
    settings += _rejections(by_name, pool, counts[0], config, measured)
    launched = early(subjects, config, other, x0[: counts[1]], progress)
    if launched is not None:
        samples = on_noise(launched[0], launched[1], x0, subjects)
        settings.append(Setting(EARLY, EARLY, measured(samples, launched[2])))
    for way in shaped(subjects, config, x0[:n], fresh.images[:n], progress):
        both = [on_noise(of, way.is_valid, x0, subjects) for of in (way.images, way.completed)]
        settings.append(Setting(way.family, way.name, measured(both[0], way.evaluations, both[1])))
    rows = [_row(setting, plain, pool, resamples) for setting in settings]
    return {
        "samples": n,
        "candidates": counts,
        "earlier": earlier,
        "early": [config["early share"], config["t_early"]],
        "share": config["share"],
        "rows": rows,
        "front": _front(rows),
    }


def _rejections(
    by_name: dict[str, np.ndarray],
    pool: Samples,
    candidates: int,
    config: dict[str, Any],
    measured: Callable[[Samples, float], Kept],
) -> list[Setting]:
    """Rejection by every risk within every kind of strata; at random there is one kind."""

    def rejecting(family: str, labels: np.ndarray | None) -> Kept:
        chosen = reject(by_name[family], share=config["share"], strata=labels).kept
        calls = config["steps"] + score_evaluations(family)
        return measured(pool.rows(chosen), calls * candidates / len(chosen))

    settings = []
    for name, labels in _strata(pool, config).items():
        oracle = rejecting(ORACLE, labels)
        for family in by_name:
            if family == ORACLE:
                settings.append(Setting(family, name, oracle))
            elif family != RANDOM or name == TOGETHER:
                settings.append(Setting(family, name, rejecting(family, labels), oracle))
    return settings


def _strata(pool: Samples, config: dict[str, Any]) -> dict[str, np.ndarray | None]:
    number = min(config["clusters"], len(np.unique(pool.features, axis=0)))
    groups = clusters(pool.features, number, key=jax.random.key(config["seed"]))
    return {TOGETHER: None, "within classes": pool.classes, "within clusters": groups}


def _row(setting: Setting, plain: Kept, pool: Samples, resamples: int) -> dict[str, Any]:
    family, name, own, oracle = setting
    against = None
    if oracle is not None:
        against = {
            "f_mem": copies_change(own.samples, oracle.samples),
            "frechet": distance_change(own.distance, oracle.distance),
        }
    row = described(own, plain, pool, resamples)
    return {"family": family, "name": name, "against the oracle": against} | row


def _front(rows: list[dict[str, Any]]) -> list[str]:
    """The ways without the training images that none beats, by completed samples."""
    known = [row for row in rows if row["family"] != ORACLE]
    shares, distances = (
        np.array([row["completed"][what]["value"] for row in known])
        for what in ("f_mem", "frechet")
    )
    beaten = beaten_by(shares, distances)
    return [titled(row) for row, by in zip(known, beaten, strict=True) if not by]


def titled(row: dict[str, Any]) -> str:
    """Family and name of a row."""
    return row["family"] if row["family"] == row["name"] else f"{row['family']}, {row['name']}"


def count(config: dict[str, Any]) -> int:
    """The number of runs of `measure`, as multiples of `samples`, about."""
    shaped = sum(len(config[name]) for name in ("strengths", "guide", "stops"))
    candidates = 1 / (1 - config["share"]) + 1 / (1 - config["early share"])
    return round(1 + candidates + shaped)


def holds(row: dict[str, Any]) -> bool:
    """True if F_mem is near the oracle's, or below it, at no greater distance, as measured."""
    against = row["against the oracle"]
    return bool(against["f_mem"]["value"] <= WITHIN and against["frechet"]["value"] <= 0)


def verdict(results: dict[str, Any]) -> str:
    """The outcome; nothing was published on this."""
    rows = results["rows"]
    compared = [row for row in rows if row["against the oracle"] and row["family"] != RANDOM]
    sentences = [
        f"{percent(rows[0]['f_mem'])} of the samples are copies, at a Fréchet distance of "
        f"{with_interval(rows[0]['frechet'], '.3f')}; "
        f"{100 * results['share']:.0f}% are rejected."
    ]
    for strata in dict.fromkeys(row["name"] for row in compared):
        oracle = next(row for row in rows if (row["family"], row["name"]) == (ORACLE, strata))
        listed = "; ".join(
            f"{row['family']} {percent(row['f_mem'])}, against the oracle "
            f"{points(row['against the oracle']['f_mem'])} and "
            f"{with_interval(row['against the oracle']['frechet'], '+.3f')} in distance, classes "
            f"moved by {percent(row['mix'])}"
            for row in compared
            if row["name"] == strata
        )
        sentences.append(f"{strata.capitalize()} (oracle {percent(oracle['f_mem'])}): {listed}.")
    met = [titled(row) for row in compared if holds(row)]
    clearly = [
        titled(row) for row in compared if row["against the oracle"]["f_mem"]["high"] <= WITHIN
    ]
    sentences.append(
        f"Within {100 * WITHIN:.0f} points of the oracle at no greater distance, as measured: "
        f"{len(met)} of {len(compared)}{_listed(met)}; within "
        f"{100 * WITHIN:.0f} points by the whole interval: {len(clearly)}{_listed(clearly)}."
    )
    sentences.append(_about_early(results))
    sentences.append(
        "Without the training images, on the front of F_mem and distance of completed samples: "
        f"{'; '.join(results['front'])}."
    )
    return " ".join(sentences)


def _about_early(results: dict[str, Any]) -> str:
    row = next((row for row in results["rows"] if row["family"] == EARLY), None)
    if row is None:
        return "There are too few copies, or other samples, for an early detector."
    share, end = results["early"]
    return (
        f"Early, {100 * share:.0f}% rejected at t = {end:g}, leaves {percent(row['f_mem'])}, "
        f"a change of {points(row['f_mem change'])}, at a distance changed by "
        f"{with_interval(row['frechet change'], '+.3f')}, classes moved by {percent(row['mix'])}, "
        f"for {row['evaluations']:.0f} evaluations a kept sample in place of "
        f"{results['rows'][0]['evaluations']:.0f}."
    )


def _listed(names: list[str]) -> str:
    return f" ({'; '.join(names)})" if names else ""


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    lines = []
    for row in results["rows"]:
        figures = [
            percent(row["f_mem"]),
            percent(row["completed"]["f_mem"]),
            with_interval(row["frechet"], ".3f"),
            percent(row["mix"]),
            f"{row['evaluations']:.0f}",
        ]
        what = (
            "F_mem, completed, Fréchet distance, shift of classes, evaluations a kept sample: "
            f"{titled(row)}"
        )
        lines.append(Line(what, "", "; ".join(figures)))
    return lines


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """The front by completed samples."""
    rows = results["rows"]
    settings = [
        plotting.FrontSetting(
            row["family"],
            interval(row["completed"]["f_mem"]),
            interval(row["completed"]["frechet change"]),
            is_control=row["family"] in (RANDOM, ORACLE, "early stop", "copy plus noise"),
        )
        for row in rows
    ]
    xlabel = (
        "change of the Fréchet distance of completed samples to held-out images, which without "
        f"rejection is {rows[0]['frechet']['value']:.2f}"
    )
    return {"reject": plotting.fronts(settings, xlabel=xlabel, baseline=PLAIN)}
