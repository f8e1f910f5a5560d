"""The outcomes of claims about copies in a sentence or two each, for `docs/results.md`."""

from collections.abc import Callable
from typing import Any

from benchmarks.claims import _promises, _reject, _select
from benchmarks.claims._methods import ranked
from benchmarks.claims._words import percent, points, with_interval


def in_words(claims: dict[str, Any]) -> str:
    """A Markdown list of the outcomes of those claims that are there, from their records."""
    lines = [
        f"- *{title}.* {outcome(claims[name]['found'])}"
        for name, (title, outcome) in _OUTCOMES.items()
        if name in claims
    ]
    return "\n".join(lines) + "\n"


def _compare(results: dict[str, Any]) -> str:
    runs = results["runs"]
    agree = sum(run["by_data"] == run["by_snap"] for run in runs)
    by_data = dict.fromkeys(_step(run["by_data"]) for run in runs)
    text = (
        "F_mem, which needs the training images, and snap, which needs an earlier checkpoint, name "
        f"the same last checkpoint before copying on {agree} of {len(runs)} noises; F_mem names "
        f"{' and '.join(by_data)}."
    )
    others = [
        f"{_step(answer)} against {int(step):,}"
        for step, answer in results["earliest"].items()
        if answer is None or answer.isdecimal()
    ]
    if others:
        text += (
            f" Snap is against step {results['first']:,}; against others it names "
            f"{', '.join(others)}."
        )
    return text


def _step(name: str | None) -> str:
    return "none" if name is None else f"step {int(name):,}"


def _detector(results: dict[str, Any]) -> str:
    best_first = ranked(results["statistics"])
    parts = []
    if best_first:
        name, own = best_first[0]
        parts.append(f"the best single statistic, {name}, {_auc(own)}")
    known = {name: own for name, own in results["detectors"].items() if _is_known(own)}
    parts += [
        f"{title} {_auc(known[name])}"
        for name, title in (
            ("labels, all features", "a detector of all features with labels"),
            ("no labels, snap", "one of snap without labels"),
        )
        if name in known
    ]
    parts += [
        f"the former on training {seed}, unchanged, {_auc(own['transferred'])}"
        for seed, own in results["transfer"].items()
        if _is_known(own["transferred"])
    ]
    text = f"AUC for copies without the training images: {'; '.join(parts) or 'unknown'}."
    along = [one for one in results["along"] if one["no labels"] is not None]
    if along and along[0]["no labels"]["calibration"][-1]["number"]:
        top = along[0]["no labels"]["calibration"][-1]
        text += (
            " Without labels the risk is a probability only where many samples are copies: at step "
            f"{along[0]['step']:,}, where {percent(along[0]['f_mem'])} are, {top['number']} "
            f"samples have a risk of {top['risk']:.2f} in the mean and {100 * top['copies']:.1f}% "
            "of these are copies."
        )
    return text


def _is_known(own: dict[str, Any] | None) -> bool:
    return own is not None and own["auc"]["value"] is not None


def _auc(own: dict[str, Any]) -> str:
    return with_interval(own["auc"], ".3f")


def _rejected(results: dict[str, Any]) -> str:
    rows = results["rows"]
    against = [row for row in rows if row["against the oracle"]]
    compared = [row for row in against if row["family"] != _reject.RANDOM]
    near = sum(_reject.holds(row) for row in compared)
    rejections = compared + [row for row in rows if row["family"] == _reject.EARLY]
    names = [_reject.titled(row) for row in rejections]
    on_it = [name for name in names if name in results["front"]]
    front = [row for row in rows if _reject.titled(row) in results["front"]]
    front.sort(key=lambda row: _figure(row, "f_mem"))
    listed = "; ".join(_on_front(row, rejections) for row in front)
    return (
        f"Rejecting {100 * results['share']:.0f}% without the training images has copies within "
        f"{100 * _reject.WITHIN:.0f} points of the oracle's at no greater distance in {near} of "
        f"{len(compared)} cases. On the front with KTS, controls and mixing, by completed samples, "
        f"there is {'; '.join(on_it) or 'none'} of the {len(rejections)} rejections at the end or "
        f"early. The front, from the fewest copies: {listed}. Without rejection or gain: "
        f"{_place(rows[0])}."
    )


def _on_front(row: dict[str, Any], rejections: list[dict[str, Any]]) -> str:
    more = [of for of in rejections if _figure(of, "f_mem") > _figure(row, "f_mem")]
    others = more or rejections
    farther = sum(_figure(of, "frechet") > _figure(row, "frechet") for of in others)
    number = len(rejections)
    fewer = f"fewer copies than {len(more)}" if more else "no fewer copies than any"
    return (
        f"{_reject.titled(row)}, {_place(row)} ({fewer} of the {number} rejections, at a smaller "
        f"distance than {farther} of these)"
    )


def _figure(row: dict[str, Any], name: str) -> float:
    return float(row["completed"][name]["value"])


def _place(row: dict[str, Any]) -> str:
    share, distance = (_figure(row, name) for name in ("f_mem", "frechet"))
    return f"{100 * share:.1f}% at a distance of {distance:.2f}"


def _selected(results: dict[str, Any]) -> str:
    rows = {row["name"]: row for row in results["rows"]}
    low, middle, high = (rows[name]["levels"] for name in _select.DIAL)
    beaten = {
        f"random search with the judge at {results['evaluations']} evaluations": _select.SEARCH,
        "one sample without selection": _select.RANDOM,
    }
    said = [
        f"{'; '.join(_select.better_than(other, rows)) or 'Nothing'} beats {title}"
        for title, other in beaten.items()
    ]
    ends = "; ".join(
        f"{title} {percent(of['neighbours'])} and {of['diversity']['value']:.2f}"
        for title, of in (("lowest", low), ("at random", middle), ("highest", high))
    )
    distances = ", ".join(f"{of['frechet']['value']:.2f}" for of in (low, middle, high))
    return (
        f"{said[0]}; {said[1][0].lower()}{said[1][1:]}. Early bending, the extreme one of "
        f"{rows[_select.DIAL[0]]['candidates']} candidates, is a dial between accuracy by "
        f"neighbours and distance within classes: {ends}; at Fréchet distances of {distances}. "
        "This is unguided sampling, where CFG-Rejection has fewer candidates than under guidance."
    )


def _tuned(results: dict[str, Any]) -> str:
    chosen: dict[str, dict[str, Any]] = {}
    for one in results["tunings"]:
        if one["promised"] is not None:
            chosen.setdefault(one["promised"]["setting"]["name"], one["judged"])
    listed = "; ".join(f"{name} {_fall(judged)}" for name, judged in chosen.items())
    fresh, third, worse = _promises.checks(results["tunings"]).values()
    return (
        "What `tune` chose, on noise that it never saw, by completed samples: "
        f"{listed or 'nothing'}. As promised on fresh noise are {fresh} of these settings, on a "
        f"third noise {third}, and worse than no gain in both axes {worse}. A free gain by "
        f"gradients {_fall(results['descent']['judged'])}. A hidden copy keeps its nearest image "
        "and is no copy by the ratio any more."
    )


def _fall(judged: dict[str, Any]) -> str:
    change = points(judged["completed"]["f_mem change"])
    share = _promises.least_hidden(judged)
    if share is None:
        return f"changes F_mem by {change}"
    return f"changes F_mem by {change}, at least {100 * share:.0f}% of it hidden copies"


_OUTCOMES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "compare": ("The checkpoint to take", _compare),
    "detector": ("Detecting", _detector),
    "reject": ("Rejecting", _rejected),
    "select": ("Selecting", _selected),
    "tune": ("Tuning", _tuned),
}
