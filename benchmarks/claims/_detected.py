"""The outcome of the detectors of copies, in words, figures and pictures."""

from typing import Any

import numpy as np

from benchmarks.claims._methods import line_of, ranked
from benchmarks.claims._words import Line, interval, percent, with_interval
from kinetic_jax import plotting

ALONG = ("snap", "self_consistency", "spread")  # statistics of every checkpoint


def verdict(results: dict[str, Any]) -> str:
    """The outcome, beside what others report on their own models."""
    sentences = [
        f"{percent(results['f_mem'])} of the samples are copies, by the rule that needs the "
        "training images. Scores are made without these; labels for detectors are by that rule, of "
        "other samples.",
        *_about_statistics(results),
        *_about_detectors(results),
        *_about_snap(results),
        *_about_transfer(results),
        *_about_runs(results),
        *_about_training(results),
        *_about_calibration(results),
    ]
    return " ".join(sentences)


def _about_statistics(results: dict[str, Any]) -> list[str]:
    best_first = ranked(results["statistics"])
    if not best_first:
        return []
    listed = "; ".join(f"{name} {with_interval(own['auc'], '.3f')}" for name, own in best_first[:4])
    trivial = results["statistics"]["total_variation"]["auc"]
    return [
        f"AUC of single statistics: {listed}; the image's total variation alone has "
        f"{with_interval(trivial, '.3f')}."
    ]


def _about_detectors(results: dict[str, Any]) -> list[str]:
    return [
        f"Detector by {name}: AUC {with_interval(own['auc'], '.3f')}, without unclear "
        f"samples {with_interval(own['clear auc'], '.3f')}; "
        f"{percent(own['tpr 1%'])} of the copies at 1% false positives."
        for name, own in results["detectors"].items()
        if _has_auc(own)
    ]


def _about_snap(results: dict[str, Any]) -> list[str]:
    """The setting of snap that was chosen, and what is left of labels in its use without any."""
    sentences = []
    best = results["snap"]["best"]
    if best is not None:
        sentences.append(
            f"The best setting of snap on one noise, {_setting(best)}, has "
            f"{with_interval(best['auc'][1], '.3f')} on the other."
        )
    if not results.get("from shipped"):
        free = "; ".join(
            f"training {seed} {with_interval(own['no labels']['auc'], '.3f')}"
            for seed, own in results["transfer"].items()
            if _has_auc(own["no labels"])
        )
        sentences.append(
            "The default time and checkpoint of snap were first found with labels on this very "
            "model; the same setting without labels on others, which had no part in the choice: "
            f"{free or 'there is none'}."
        )
    return sentences


def _setting(best: dict[str, Any]) -> str:
    return f"step {best['step']:,}, t = {best['t']:g}, {best['draws']} draws"


def _about_transfer(results: dict[str, Any]) -> list[str]:
    sentences = [
        f"Transferred to training {seed}: {with_interval(own['transferred']['auc'], '.3f')}."
        for seed, own in results["transfer"].items()
        if _has_auc(own["transferred"])
    ]
    sentences += [
        f"Fitted on the included model of Fashion-MNIST, {name}: "
        f"{with_interval(own['auc'], '.3f')}."
        for name, own in results.get("from shipped", {}).items()
        if _has_auc(own)
    ]
    return sentences


def _about_runs(results: dict[str, Any]) -> list[str]:
    listed = "; ".join(
        f"{name} {with_interval(own['auc'], '.3f')}"
        for name, own in results["runs"].items()
        if _has_auc(own)
    )
    return [f"Without labels, on samples by other runs: {listed}."] if listed else []


def _about_training(results: dict[str, Any]) -> list[str]:
    listed = [
        f"step {one['step']:,} (F_mem {percent(one['f_mem'])}) "
        f"{_auc(one['labels'])} and {_auc(one['no labels'])}"
        for one in results["along"]
        if _has_auc(one["no labels"])
    ]
    unknown = [f"{one['step']:,}" for one in results["along"] if not _has_auc(one["no labels"])]
    sentences = []
    if listed:
        sentences.append(f"By labels and without, along the training: {'; '.join(listed)}.")
    if unknown:
        sentences.append(f"At step {', '.join(unknown)} there are too few copies for an AUC.")
    return sentences


def _about_calibration(results: dict[str, Any]) -> list[str]:
    """The risk without labels at the first and the last checkpoint: how many of the risky copy."""
    known = [one for one in results["along"] if one["no labels"] is not None]
    if not known:
        return []
    ends = known if len(known) == 1 else [known[0], known[-1]]
    listed = "; ".join(_top_risk(one) for one in ends)
    return [
        "Without labels the risk presumes that some samples are copies and some are not, so it is "
        f"a probability only where many are: {listed}."
    ]


def _top_risk(one: dict[str, Any]) -> str:
    rows = one["no labels"]["calibration"]
    total, top = sum(row["number"] for row in rows), rows[-1]
    text = f"at step {one['step']:,} (F_mem {percent(one['f_mem'])}) {top['number']} of {total:,}"
    if not top["number"]:
        return f"{text} have a risk of 0.8 or more"
    return (
        f"{text} have a risk of 0.8 or more, {top['risk']:.3f} in the mean, and "
        f"{100 * top['copies']:.1f}% of them are copies"
    )


def _has_auc(own: dict[str, Any] | None) -> bool:
    return own is not None and own["auc"]["value"] is not None


def _auc(own: dict[str, Any] | None) -> str:
    return "none" if own is None else with_interval(own["auc"], ".3f")


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    rows = dict(ranked(results["statistics"]))
    rows |= {f"detector, {name}": own for name, own in results["detectors"].items()}
    for seed, own in results["transfer"].items():
        rows[f"detector, labels, transferred to training {seed}"] = own["transferred"]
        rows[f"detector, no labels, training {seed}"] = own["no labels"]
    for name, own in results.get("from shipped", {}).items():
        rows[f"detector, labels, {name}, transferred from fashion-mnist"] = own
    rows |= {f"detector, no labels, snap, {name}": own for name, own in results["runs"].items()}
    lines = [line_of(name, own) for name, own in rows.items() if own is not None]
    best = results["snap"]["best"]
    if best is not None:
        what = f"AUC of snap at the setting chosen on other samples: {_setting(best)}"
        lines.append(Line(what, "", with_interval(best["auc"][1], ".3f")))
    return lines + [_line_at(one) for one in results["along"]]


def _line_at(one: dict[str, Any]) -> Line:
    """The figures of a checkpoint."""
    figures = [
        percent(one["f_mem"]),
        _auc(one["labels"]),
        _auc(one["no labels"]),
        *(with_interval(one["statistics"][name]["auc"], ".3f") for name in ALONG[1:]),
        "none" if one["no labels"] is None else _risky(one["no labels"]["calibration"][-1]),
    ]
    what = (
        "F_mem, AUC by labels and without (snap), of self_consistency and of spread, samples of "
        f"risk ≥ 0.8 without labels with their mean risk and share of copies: step {one['step']:,}"
    )
    return Line(what, "", "; ".join(figures))


def _risky(top: dict[str, Any]) -> str:
    if not top["number"]:
        return "0"
    return f"{top['number']}, {top['risk']:.3f}, {100 * top['copies']:.1f}%"


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """The AUC of every method, and those of some over the training."""
    single = {name: interval(own["auc"]) for name, own in ranked(results["statistics"])}
    made = {
        name: interval(own["auc"]) for name, own in results["detectors"].items() if own is not None
    }
    figures = {
        name: plotting.intervals(
            {"": {"without the training data": rows}}, xlabel="AUC for copies", centre=0.5
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
