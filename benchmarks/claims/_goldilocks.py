"""Claim: quality rises with energy up to a point, beyond which samples are copies."""

from typing import Any

import numpy as np

from benchmarks.claims._runs import QUANTITIES, common_noise, sampled
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import (
    Line,
    auc,
    bootstrap,
    energy_group_series,
    groups,
    interval,
    percent,
    rise,
    share,
    with_interval,
)
from kinetic_jax import plotting
from kinetic_jax.metrics import energy_threshold, knn_support, memorization

NUMBER = 5


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Quality and F_mem by fifth of every kinetic quantity of the model that copies."""
    n = config["samples"]
    x0 = common_noise(n, subjects.data.event_shape, config["seed"])
    run = sampled(subjects.memorizing, x0, progress=progress, num_steps=config["steps"])
    copied = memorization(run.images, subjects.few, progress=False)
    logits = np.sort(subjects.logits(run.images), axis=1)
    # Near to images nobody trained on: a copy of a training image gains nothing by it.
    realism = np.asarray(
        knn_support(subjects.features(run.images), subjects.held_out_features, 3, progress=False)
    )
    quality = {"margin": logits[:, -1] - logits[:, -2], "realism": realism}
    by = {name: _by(amount, quality, copied.memorized) for name, amount in run.quantities.items()}
    best = _tells_best(run.quantities, copied.memorized)
    return {
        "samples": n,
        "bad": run.bad,
        "f_mem": share(copied),
        "held out": subjects.held_out_memorization.fraction,
        "by": by,
        "turns": {what: _turn_of(run.quantities, values) for what, values in quality.items()},
        "tells best": best,
        "its auc": bootstrap(auc, [run.quantities[best][1::2], copied.memorized[1::2]]),
    }


def _tells_best(quantities: dict[str, np.ndarray], copied: np.ndarray) -> str:
    """The quantity that tells copies best among every other sample; the rest show how well."""
    distances = {name: abs(auc(of[::2], copied[::2]) - 0.5) for name, of in quantities.items()}
    return max(distances, key=lambda name: np.nan_to_num(distances[name]))


def _turn_of(quantities: dict[str, np.ndarray], quality: np.ndarray) -> dict[str, Any]:
    """The quantity over which quality turns most, and its rise to the best fifth and drop from it.

    Quantity and fifth are chosen on every other sample; rise and drop are those of the rest.
    """

    def fifths(amount: np.ndarray, half: int) -> list[np.ndarray]:
        order = np.argsort(amount[half::2], kind="stable")
        return [quality[half::2][part] for part in np.array_split(order, NUMBER)]

    results: dict[str, Any] = {}
    most = -np.inf
    for name, amount in quantities.items():
        means = [part.mean() for part in fifths(amount, 0)]
        at = int(np.argmax(means))
        if means[at] - max(means[0], means[-1]) > most:
            most = means[at] - max(means[0], means[-1])
            parts = fifths(amount, 1)
            results = {
                "name": name,
                "fifth": at + 1,
                "rise": _above(parts[at], parts[0]),
                "drop": _above(parts[at], parts[-1]),
            }
    return results


def _above(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """The difference of two means, with its normal interval; 0 for one and the same group."""
    if a is b:
        return {"value": 0.0, "low": 0.0, "high": 0.0}
    middle = float(a.mean() - b.mean())
    half = float(1.96 * np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
    return {"value": middle, "low": middle - half, "high": middle + half}


def _by(amount: np.ndarray, quality: dict[str, np.ndarray], copied: np.ndarray) -> dict[str, Any]:
    # Upside down where copies have less of it, so that a step upwards exists: on which side
    # they are, one half of the samples says, so that the p-value of the other half is honest.
    upwards = auc(amount[::2], copied[::2]) >= 0.5
    half = amount[1::2] if upwards else -amount[1::2]
    step = energy_threshold(half, copied[1::2], resamples=200, progress=False)
    ends = (step.low, step.high) if upwards else (-step.high, -step.low)
    curves = {what: groups(amount, values, NUMBER) for what, values in quality.items()}
    return {
        "auc": bootstrap(auc, [amount, copied]),
        "f_mem": groups(amount, copied, NUMBER),
        **curves,
        "peak": {what: bootstrap(_peak, [amount, values]) for what, values in quality.items()},
        "step": {
            "value": step.value if upwards else -step.value,
            "low": ends[0],
            "high": ends[1],
            "below": step.below,
            "above": step.above,
            "p_value": step.p_value,
            "upwards": upwards,
        },
    }


def _peak(amount: np.ndarray, values: np.ndarray) -> float:
    """The fifth, 1 to 5, where the mean is highest."""
    order = np.argsort(amount, kind="stable")
    return 1.0 + int(np.argmax([values[part].mean() for part in np.array_split(order, NUMBER)]))


def verdict(results: dict[str, Any]) -> str:
    """The outcome, beside what was published."""
    if results["f_mem"]["value"] in (0, 1):
        return f"F_mem is {percent(results['f_mem'])}: samples do not differ in being copies."
    total = results["by"]["total"]
    turns = " ".join(
        _turning(what, turn, results["by"][turn["name"]]["f_mem"])
        for what, turn in results["turns"].items()
    )
    return (
        f"F_mem is {percent(results['f_mem'])} (held-out images: "
        f"{100 * results['held out']:.1f}%). From the lowest to the highest fifth of energy E the "
        f"margin {rise(total['margin'])} and is highest in {_peaks(total['peak']['margin'])}, "
        f"realism {rise(total['realism'])} and is highest in {_peaks(total['peak']['realism'])}, "
        f"and F_mem {_from_to(total['f_mem'])}; copies have "
        f"{_side(total['auc'])} E (AUC {with_interval(total['auc'], '.2f')}). {turns} "
        f"{_telling(results)} Published: semantics rise with energy until late energy turns "
        "generation into copying."
    )


def _turning(what: str, turn: dict[str, Any], copied: list[dict[str, float]]) -> str:
    quantity = QUANTITIES[turn["name"]]
    if not _turns(turn):
        return f"Over {quantity}, chosen on half of the samples, the {what} does not clearly turn."
    return (
        f"The {what} turns most over {quantity}, chosen on half of the samples: on the others it "
        f"is highest in fifth {turn['fifth']}, {with_interval(turn['rise'], '.2g')} above the "
        f"first and {with_interval(turn['drop'], '.2g')} above the last, while F_mem "
        f"{_from_to(copied)}."
    )


def _turns(turn: dict[str, Any]) -> bool:
    return bool(turn["rise"]["low"] > 0 and turn["drop"]["low"] > 0)


def _telling(results: dict[str, Any]) -> str:
    best = results["tells best"]
    if results["its auc"]["value"] is None:
        return "There are too few copies, or others, to say what tells them."
    of, area = results["by"][best], results["its auc"]
    if area["low"] <= 0.5 <= area["high"]:
        return (
            f"No quantity clearly tells copies: {QUANTITIES[best]}, chosen on half of the samples, "
            f"has an AUC of {with_interval(area, '.2f')} on the others."
        )
    return (
        f"Chosen on half of the samples, {QUANTITIES[best]} tells copies best: on the others they "
        f"have {_side(area)} of it (AUC {with_interval(area, '.2f')}); F_mem "
        f"{_from_to(of['f_mem'])} by fifth{_split(of['step'])}."
    )


def _side(results: dict[str, Any]) -> str:
    """The excess or lack of a quantity in copies, by the AUC with which it detects them."""
    if results["low"] is None or results["low"] <= 0.5 <= results["high"]:
        return "neither clearly more nor less"
    return "more" if results["low"] > 0.5 else "less"


def _split(step: dict[str, Any]) -> str:
    if step["value"] is None or step["p_value"] > 0.05:
        return ""
    return f", split in two best at {with_interval(step, '.3g')}"


def _from_to(fifths: list[dict[str, float]]) -> str:
    ends = " to ".join(percent(fifths[at]) for at in (0, -1))
    return f"{rise(fifths)}, {ends}"


def _peaks(peak: dict[str, Any]) -> str:
    return f"fifth {peak['value']:.0f}, {peak['low']:.0f} to {peak['high']:.0f}"


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for the README."""
    best, total, turn = results["tells best"], results["by"]["total"], results["turns"]["margin"]
    lines = [
        Line(
            "AUC of E for copies (below 0.5: copies have less)",
            "",
            with_interval(total["auc"], ".2f"),
        ),
        Line(f"AUC of {QUANTITIES[best]} for copies", "", with_interval(results["its auc"], ".2f")),
        Line("fifth of E where the margin is highest", "", _peaks(total["peak"]["margin"])),
    ]
    if _turns(turn):
        name = turn["name"]
        ways = ", ".join(with_interval(turn[way], "+.2f") for way in ("rise", "drop"))
        copied = results["by"][name]["f_mem"]
        lines += [
            Line(
                f"margin over {QUANTITIES[name]}: fifth {turn['fifth']} above first, above last",
                "",
                ways,
            ),
            Line(
                "F_mem there, first and last fifth",
                "late energy copies",
                ", ".join(percent(copied[at]) for at in (0, -1)),
            ),
        ]
    return lines


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """Margin, realism and F_mem by fifth of E, the excess, what turns most and tells copies."""
    turning = [turn["name"] for turn in results["turns"].values()]
    chosen = dict.fromkeys(["total", "excess", *turning, results["tells best"]])
    panels = {
        text: energy_group_series({QUANTITIES[name]: results["by"][name][what] for name in chosen})
        for what, text in (
            ("margin", "margin (logits)"),
            ("realism", "realism (−feature distance)"),
            ("f_mem", "F_mem (share)"),
        )
    }
    areas = {QUANTITIES[name]: interval(one["auc"]) for name, one in results["by"].items()}
    label = "AUC for memorised (0.5: tells nothing; below: copies have less)"
    return {
        "goldilocks": plotting.by_energy_group(panels),
        "goldilocks-auc": plotting.intervals({"": {"": areas}}, xlabel=label, centre=0.5),
    }
