"""Selection of one of several candidates, by methods that compare at equal evaluations."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.claims._candidates import (
    BENDING,
    ENERGY,
    GUIDANCE,
    VERIFIER,
    Candidates,
    margins,
    sampled_candidates,
)
from benchmarks.claims._chosen import ABOUT, Chosen, changed, chosen_of, levels
from benchmarks.claims._runs import common_noise, sampled
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, interval, percent, points, with_interval
from kinetic_jax import plotting
from kinetic_jax.copies import SelectedRun, affordable, sample_selecting, select

RANDOM, FINER, SEARCH = "random", "random, finer steps", "random search"
# Methods that choose, the score that each chooses by, and which end of it stays.
METHODS = {
    SEARCH: (VERIFIER, "highest"),
    "early bending, lowest": (BENDING, "lowest"),
    "early bending, highest": (BENDING, "highest"),
    "launch energy, lowest": (ENERGY, "lowest"),
    "launch energy, highest": (ENERGY, "highest"),
    "CFG-Rejection, highest": (GUIDANCE, "highest"),
}
DIAL = ("early bending, lowest", RANDOM, "early bending, highest")
JUDGED = 1  # calls of the field as which one of the verifier counts


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Every method on the same slots and the same noise, with the candidates that it affords."""
    n, classes = config["samples"], subjects.data.num_classes
    labels = np.arange(n, dtype=np.int32) % classes
    sizes = {by: _size(by, config) for by in (VERIFIER, BENDING, ENERGY, GUIDANCE)}
    most, shape = max(sizes.values()), subjects.data.event_shape
    x0 = common_noise(n * most, shape, config["seed"]).reshape(n, most, *shape)
    pool = sampled_candidates(subjects, x0, labels, config, sizes[GUIDANCE], progress)
    finer = sampled(
        subjects.general, x0[:, 0], labels, progress=progress, num_steps=config["evaluations"]
    )
    images = np.full_like(pool.images[:, 0], np.nan)
    images[finer.is_valid] = finer.images

    def chosen(pictures: np.ndarray) -> Chosen:
        return chosen_of(pictures, labels, subjects, config)

    methods = {RANDOM: chosen(pool.images[:, 0]), FINER: chosen(images)}
    about: dict[str, dict[str, Any]] = {
        RANDOM: {"candidates": 1, "evaluations": config["steps"], "same": 1.0},
        FINER: {"candidates": 1, "evaluations": finer.evaluations, "same": 1.0},
    }
    for name, (by, keep) in METHODS.items():
        kept = _selected(pool, by, sizes[by], keep)
        methods[name] = chosen(pool.images[np.arange(n), kept])
        about[name] = _counted(subjects, x0, labels, config, name, sizes[by], kept)
    rows = [
        {"name": name}
        | about[name]
        | {"levels": levels(own)}
        | {
            f"against {other}": None if name == other else changed(own, methods[other])
            for other in (RANDOM, SEARCH)
        }
        for name, own in methods.items()
    ]
    return {"samples": n, "evaluations": config["evaluations"], "rows": rows}


def _size(by: str, config: dict[str, Any]) -> int:
    """The candidates of each slot that the evaluations pay for."""
    settings = {"num_steps": config["steps"]}
    if by == VERIFIER:
        return affordable(config["evaluations"], t_early=1.0, score_evaluations=JUDGED, **settings)
    return affordable(config["evaluations"], by=by, t_early=config["t_early"], **settings)


def _selected(pool: Candidates, by: str, size: int, keep: str) -> np.ndarray:
    """The candidate of each slot that stays, of its first `size`."""
    scores = pool.scores[by][:, :size]
    return select(scores.reshape(-1), group_size=size, keep=keep).kept % size


def _counted(
    subjects: Subjects,
    x0: np.ndarray,
    labels: np.ndarray,
    config: dict[str, Any],
    name: str,
    size: int,
    kept: np.ndarray,
) -> dict[str, Any]:
    """What `sample_selecting` counts on the first slots, and the share that it selects alike."""
    by, keep = METHODS[name]
    slots = min(config["counted"], len(labels))
    cond = np.repeat(labels[:slots], size)

    def judged(run: Any) -> np.ndarray:
        return margins(subjects.logits(np.asarray(run.x1)), cond)

    is_verifier = by == VERIFIER
    run: SelectedRun = sample_selecting(
        subjects.general,
        jnp.asarray(x0[:slots, :size].reshape(-1, *x0.shape[2:])),
        jnp.asarray(cond),
        by=judged if is_verifier else by,
        group_size=size,
        keep=keep,
        t_early=1.0 if is_verifier else config["t_early"],
        num_steps=config["steps"],
        score_evaluations=JUDGED if is_verifier else 0,
    )
    same = float(np.mean(run.selection.kept % size == kept[:slots]))
    return {"candidates": size, "evaluations": run.evaluations_per_kept, "same": same}


def count(config: dict[str, Any]) -> int:
    """The number of paths of each slot."""
    return max(_size(by, config) for by in (VERIFIER, BENDING, ENERGY, GUIDANCE)) + 1


def beats(change: dict[str, Any]) -> bool:
    """True if fidelity or distance is clearly better, and the other one not clearly worse.

    By neighbours in pixels, as the judge is the verifier.
    """
    fidelity, distance = change["neighbours"], change["frechet"]
    if None in (fidelity["value"], distance["value"]):
        return False
    better = fidelity["low"] > 0 or distance["high"] < 0
    worse = fidelity["high"] < 0 or distance["low"] > 0
    return bool(better and not worse)


def verdict(results: dict[str, Any]) -> str:
    """The outcome; CFG-Rejection's authors report on other models."""
    rows = {row["name"]: row for row in results["rows"]}
    sentences = [_at_random(rows[RANDOM]["levels"], results["evaluations"])]
    sentences += [
        f"{name[0].upper()}{name[1:]} (best of {row['candidates']}, "
        f"{row['evaluations']:.0f} evaluations): {_changes(row['against ' + RANDOM])}."
        for name, row in rows.items()
        if name != RANDOM
    ]
    sentences += [_dial(rows), *_beaten(rows), *_about_guidance(rows), _about_checks(rows)]
    sentences.append(
        "The verifier is the judge: margin and accuracy are its own goal, and distances are those "
        "of its features. Neighbours in pixels do not know it."
    )
    return " ".join(sentences)


def _at_random(levels_of: dict[str, Any], evaluations: int) -> str:
    return (
        f"One sample a slot, at most {evaluations} evaluations each. At random "
        f"{percent(levels_of['neighbours'])} of the nearest real images are of the given class, "
        f"and the judge agrees with {percent(levels_of['accuracy'])}; the distance within "
        f"classes is {with_interval(levels_of['diversity'], '.2f')}, recall "
        f"{percent(levels_of['recall'])}, the Fréchet distance "
        f"{with_interval(levels_of['frechet'], '.3f')}."
    )


def _dial(rows: dict[str, Any]) -> str:
    low, _, high = (rows[name]["levels"] for name in DIAL)
    return (
        "The dial of early bending, from lowest to highest: accuracy by neighbours "
        f"{percent(low['neighbours'])} to {percent(high['neighbours'])}, distance within classes "
        f"{with_interval(low['diversity'], '.2f')} to {with_interval(high['diversity'], '.2f')}, "
        f"recall {percent(low['recall'])} to {percent(high['recall'])}."
    )


def better_than(other: str, rows: dict[str, Any]) -> list[str]:
    """The methods that beat another one; see `beats`."""
    names = [name for name in METHODS if name != other]
    return [name for name in names if beats(rows[name][f"against {other}"])]


def _beaten(rows: dict[str, Any]) -> list[str]:
    better, above = better_than(SEARCH, rows), better_than(RANDOM, rows)
    return [
        "Clearly more faithful by neighbours or nearer to real images than random search with the "
        f"judge, and clearly worse in neither: {'; '.join(better)}."
        if better
        else "Nothing beats random search with the judge as verifier.",
        f"One sample without selection is beaten by {'; '.join(above)}."
        if above
        else "Nothing beats one sample without selection.",
    ]


def _about_guidance(rows: dict[str, Any]) -> list[str]:
    own, other = rows.get("CFG-Rejection, highest"), rows["early bending, lowest"]
    if own is None:
        return []
    return [
        "Sampling is unguided throughout. CFG-Rejection then pays for a second velocity in each "
        f"early step, and has {own['candidates']} candidates where bending has "
        f"{other['candidates']}; its authors sample with guidance, which has that velocity anyway. "
        "This says nothing of guided sampling."
    ]


def _about_checks(rows: dict[str, Any]) -> str:
    same = min(rows[name]["same"] for name in METHODS if name in rows)
    return (
        "On the first slots `sample_selecting` keeps the same candidates as this claim: by every "
        f"method {100 * same:.0f}% or more of them."
    )


def _changes(change: dict[str, Any]) -> str:
    return (
        f"neighbours {points(change['neighbours'])}, judge {points(change['accuracy'])}, "
        f"distance within classes {with_interval(change['diversity'], '+.2f')}, recall "
        f"{points(change['recall'])}, Fréchet distance {with_interval(change['frechet'], '+.3f')}"
    )


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    lines = []
    for row in results["rows"]:
        own = row["levels"]
        figures = [
            percent(own["neighbours"]),
            percent(own["accuracy"]),
            with_interval(own["margin"], ".2f"),
            with_interval(own["diversity"], ".2f"),
            percent(own["recall"]),
            with_interval(own["frechet"], ".3f"),
            f"{row['evaluations']:.0f}",
        ]
        what = (
            "accuracy by neighbours and by the judge, its margin, distance within classes, recall, "
            f"Fréchet distance, evaluations: {row['name']}, best of {row['candidates']}"
        )
        lines.append(Line(what, "", "; ".join(figures)))
    return lines


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """Changes against one sample at random, and fidelity by diversity."""
    rows = {row["name"]: row for row in results["rows"]}
    panels = {
        f"{label}, change": {
            "": {
                name: interval(row["against " + RANDOM][what])
                for name, row in rows.items()
                if name != RANDOM
            }
        }
        for what, label in ABOUT.items()
        if what in ("neighbours", "diversity", "frechet")
    }
    figures = {"select": plotting.intervals(panels, xlabel="against one sample at random")}
    settings = [
        plotting.FrontSetting(
            name,
            interval(row["levels"]["neighbours"], 100),
            interval(row["levels"]["diversity"]),
            is_control=not name.startswith(BENDING),
        )
        for name, row in rows.items()
    ]
    figures["select-dial"] = plotting.fronts(
        settings,
        xlabel=f"{ABOUT['diversity']} (to the right is more diverse)",
        ylabel=f"{ABOUT['neighbours']}, % (higher is more faithful)",
        baseline=RANDOM,
    )
    return figures
