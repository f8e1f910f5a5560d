"""The demo's conclusions as sentences."""

import numpy as np

from kinetic_jax.demo._results import Fifth, HeldOut, Results, Row
from kinetic_jax.metrics._comparison import beaten_by


def verdict(results: Results) -> list[str]:
    """Sentences on memorisation, on each row against no gain, and on energy."""
    rows = results.rows
    baseline, floor = rows[0], results.held_out
    sentences = [_on_memorization(baseline, floor)]
    sentences += [_on_change(row, baseline) for row in rows[1:]]
    sentences += [_on_completed(row) for row in rows[1:] if row.f_mem_change_interval[1] < 0]
    sentences.append(_on_front(rows))
    for part, label in (("total", "kinetic path energy"), ("excess", "straightness excess")):
        sentences.append(_on_fifths(results.fifths[part], label))
    return sentences


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _points(interval: list[float]) -> str:
    return f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def _on_memorization(baseline: Row, floor: HeldOut) -> str:
    low, high = baseline.f_mem_interval
    start = (
        f"Left alone, the flow memorises {_percent(baseline.f_mem)} of its samples "
        f"({_percent(low)} to {_percent(high)}); held-out digits score {_percent(floor.f_mem)} "
        "by the same rule"
    )
    if low > floor.f_mem_interval[1]:
        return start + ": it copies."
    return start + ": it cannot be said to copy, so the rows below have little to lower."


def _on_change(row: Row, baseline: Row) -> str:
    change, interval = row.f_mem_change, row.f_mem_change_interval
    if interval[1] < 0:
        effect = "lowers"
    elif interval[0] > 0:
        effect = "raises"
    else:
        effect = "does not clearly move"
    low, high = row.frechet_change_interval
    cost = "at a higher" if low > 0 else "at a lower" if high < 0 else "at no clearly other"
    return (
        f"{row.name[0].upper()}{row.name[1:]} {effect} F_mem: {_percent(row.f_mem)}, a "
        f"change of {100 * change:+.1f} points on the same noise ({_points(interval)}), {cost} "
        f"Fréchet distance ({baseline.frechet:.2f} to {row.frechet:.2f}, a change of "
        f"{low:+.2f} to {high:+.2f})."
    )


def _on_completed(row: Row) -> str:
    """On a row that lowers F_mem: are there fewer copies, or are they hidden?"""
    hidden = row.completed
    change, interval = 100 * hidden.f_mem_change, hidden.f_mem_change_interval
    share = hidden.kept_copies
    kept = (
        ""
        if share is None
        else f", and {_percent(share)} of the copies without a gain keep their nearest image"
    )
    return (
        f"{row.name[0].upper()}{row.name[1:]} leaves {_percent(hidden.residual)} of the noise on "
        f"a sample; completed by one evaluation, {_percent(hidden.f_mem)} are copies, a change of "
        f"{change:+.1f} points ({_points(interval)}){kept}."
    )


def front(rows: list[Row]) -> list[Row]:
    """The rows that no other beats in both F_mem and Fréchet distance."""
    beaten = beaten_by(*np.array([[row.f_mem, row.frechet] for row in rows]).T)
    return [row for row, by in zip(rows, beaten, strict=True) if not by]


def _on_front(rows: list[Row]) -> str:
    names = [row.name for row in front(rows)]
    if len(names) == len(rows):
        return "No row beats another in both F_mem and Fréchet distance: all lie on the front."
    listed = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    kts = "KTS is on it"
    if "KTS" not in names:
        kts = "KTS is not on it: another row is as good at both and better at one"
    return f"On the front of F_mem against Fréchet distance lie {listed}; {kts}."


def _on_fifths(fifths: list[Fifth], label: str) -> str:
    lowest, highest = fifths[0], fifths[-1]
    confidence = _compare(lowest.confidence_interval, highest.confidence_interval) + " sure"
    copies = _compare(lowest.f_mem_interval, highest.f_mem_interval) + " often"
    peak = max(range(5), key=lambda i: fifths[i].confidence)
    where = (
        "; confidence peaks in the middle, as a Goldilocks curve does"
        if 0 < peak < 4 and _is_peak(fifths, peak)
        else "; confidence shows no clear peak in between"
    )
    return (
        f"From the lowest to the highest fifth of {label} the classifier is {confidence} "
        f"({_percent(lowest.confidence)} to {_percent(highest.confidence)}) and samples are "
        f"copies {copies} ({_percent(lowest.f_mem)} to {_percent(highest.f_mem)}){where}."
    )


def _compare(lowest: list[float], highest: list[float]) -> str:
    if highest[0] > lowest[1]:
        return "more"
    if highest[1] < lowest[0]:
        return "less"
    return "not clearly more or less"


def _is_peak(fifths: list[Fifth], peak: int) -> bool:
    low = fifths[peak].confidence_interval[0]
    return all(low > fifths[end].confidence_interval[1] for end in (0, 4))
