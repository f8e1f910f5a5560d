"""The outcome of tuned gains and grids: what was promised, what held, and what was hidden."""

from typing import Any

from benchmarks.claims._words import Line, interval, percent, points, with_interval
from kinetic_jax import plotting

COPIES, SNAP = "copies", "snap"  # what was tuned for


def is_worse(one: dict[str, Any]) -> bool:
    """True if the answer is worse than no gain in both axes on the noise that judges."""
    if one["is_no_gain"]:
        return False
    score, distance = _judged_changes(one)
    return bool(score["value"] > 0 and distance["value"] > 0)


def _judged_changes(one: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Changes of score and distance, over no gain, on the noise that judges."""
    judged = one["judged"]
    score = judged["completed"]["f_mem change"] if one["goal"] == COPIES else judged["snap change"]
    return score, judged["frechet change"]


def is_kept(one: dict[str, Any]) -> bool | None:
    """True if both changes on the noise that judges lie where the promise expects them."""
    if one["judged"] is None:
        return None
    expected = one["expected_objective"], one["expected_distance"]
    return all(
        of["low"] <= change["value"] <= of["high"]
        for of, change in zip(expected, _judged_changes(one), strict=True)
    )


def verdict(results: dict[str, Any]) -> str:
    """The outcome; nothing was published on this."""
    plain, tunings = results["no gain"], results["tunings"]
    values, free = results["descent"]["values"], results["descent"]["judged"]
    sentences = [
        f"Without a gain {percent(plain['completed']['f_mem'])} of the completed samples are "
        f"copies at a Fréchet distance of {with_interval(plain['frechet'], '.2f')}."
    ]
    sentences += [_outcome(one) for one in tunings]
    sentences.append(
        f"The gain by gradients has its {len(values)} values between {min(values):.2f} and "
        f"{max(values):.2f}; chosen or not, on a third noise it changes copies by "
        f"{_both(COPIES, free['completed']['f_mem change'], free['frechet change'])}, and snap by "
        f"{with_interval(free['snap change'], '+.3f')}; {_hidden(free)}. A sample that keeps its "
        "image and is no copy any more was hidden, not prevented."
    )
    kept = ", ".join(f"{what}: {share}" for what, share in checks(tunings).items())
    number = sum(one["is_no_gain"] for one in tunings)
    sentences.append(f"{number} of {len(tunings)} tunings answer no gain; {kept}.")
    return " ".join(sentences)


def least_hidden(judged: dict[str, Any]) -> float | None:
    """The least share of the copies that a setting takes which it only hides; None of no fall.

    Those keep their nearest image and are no copies by the ratio any more. Of the copies without a
    gain, a share 1 − kept has another nearest image: at most these were prevented.
    """
    completed = judged["completed"]
    change, kept = (completed[name]["value"] for name in ("f_mem change", "kept copies"))
    if None in (change, kept) or not change < 0:
        return None
    before = completed["f_mem"]["value"] - change
    return max(0.0, 1 - (1 - kept) * before / -change)


def _hidden(judged: dict[str, Any]) -> str:
    kept = percent(judged["completed"]["kept copies"])
    share = least_hidden(judged)
    text = f"of the copies without a gain {kept} keep their nearest image"
    if share is None:
        return f"{text}, and their number does not fall"
    return f"{text}, so that at least {100 * share:.0f}% of the fall is hidden copies"


def checks(tunings: list[dict[str, Any]]) -> dict[str, str]:
    """How many settings kept their promise, and how many are worse than no gain.

    A setting that several tunings chose counts once, as the worst of them.
    """
    chosen = [one for one in tunings if one["promised"] is not None]
    answered = [one for one in chosen if not one["is_no_gain"]]
    broken = _names([one for one in chosen if not one["is_as_promised"]])
    lost = _names([one for one in chosen if not is_kept(one)])
    worse = _names([one for one in answered if is_worse(one)])
    total = len(_names(chosen))
    return {
        "settings as promised on fresh noise": f"{total - len(broken)} of {total}",
        "settings as promised on a third noise": f"{total - len(lost)} of {total}",
        "settings worse than no gain in both axes on a third noise": (
            f"{len(worse)} of {len(_names(answered))}"
        ),
    }


def _names(tunings: list[dict[str, Any]]) -> set[str]:
    """The settings that tunings chose."""
    return {one["promised"]["setting"]["name"] for one in tunings}


def _title(one: dict[str, Any]) -> str:
    return f"{one['family']} for {one['goal']}, bound {one['bound']:g}"


def _outcome(one: dict[str, Any]) -> str:
    title = f"{_title(one)[0].upper()}{_title(one)[1:]}"
    if one["promised"] is None:
        return f"{title}: no gain ({one['reason']})."
    name = one["promised"]["setting"]["name"]
    promised, confirmed = (_changes(one, one[stage]) for stage in ("promised", "confirmed"))
    kept = "as promised" if one["is_as_promised"] else "not as promised"
    answer = f"no gain ({one['reason']})" if one["is_no_gain"] else name
    judged = _both(one["goal"], *_judged_changes(one))
    text = (
        f"{title}: {answer}; {name} promised {promised}, has on fresh noise {confirmed}, "
        f"{kept}, and on a third {judged}"
    )
    if one["goal"] == SNAP:
        copies = one["judged"]["completed"]["f_mem change"]
        text += f", and {points(copies)} of completed copies"
    return f"{text}; {_hidden(one['judged'])}."


def _changes(one: dict[str, Any], stage: dict[str, Any]) -> str:
    return _both(one["goal"], stage["objective_change"], stage["distance_change"])


def _both(goal: str, score: dict[str, float], distance: dict[str, float]) -> str:
    of_score = points(score) if goal == COPIES else with_interval(score, "+.3f")
    return f"{of_score} at a distance changed by {with_interval(distance, '+.3f')}"


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    lines = []
    for one in results["tunings"]:
        if one["promised"] is None:
            lines.append(Line(f"answer of {_title(one)}", "", "no gain"))
            continue
        answer = one["setting"]["name"]
        lines.append(Line(f"answer of {_title(one)}", "", answer))
        name = one["promised"]["setting"]["name"]
        for stage, when in (("promised", "promised"), ("confirmed", "on fresh noise")):
            what = f"changes by {name}, {when}: {_title(one)}"
            lines.append(Line(what, "", _changes(one, one[stage])))
        copies = one["judged"]["completed"]["f_mem change"]
        what = f"completed F_mem by {name} on a third noise: {_title(one)}"
        lines.append(Line(what, "", points(copies)))
        lines.append(_kept_line(f"{name}: {_title(one)}", one["judged"]))
    lines.append(_kept_line("the gain by gradients", results["descent"]["judged"]))
    return lines + [Line(what, "", share) for what, share in checks(results["tunings"]).items()]


def _kept_line(title: str, judged: dict[str, Any]) -> Line:
    share = least_hidden(judged)
    least = "no fall" if share is None else f"at least {100 * share:.0f}%"
    what = f"copies that keep their nearest image, and share of the fall that is hidden, by {title}"
    return Line(what, "", f"{percent(judged['completed']['kept copies'])}; {least}")


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """The settings on the noise of the search, and those chosen, on fresh noise, by objective."""
    labels = {COPIES: None, SNAP: "mean snap (lower is better)"}
    return {
        picture: plotting.fronts(
            _drawn([one for one in results["tunings"] if one["goal"] == goal]),
            xlabel="change of the Fréchet distance over no gain (classifier features)",
            ylabel=labels[goal],
            baseline="no gain",
        )
        for goal, picture in ((COPIES, "tune"), (SNAP, "tune-snap"))
    }


def _drawn(tunings: list[dict[str, Any]]) -> list[plotting.FrontSetting]:
    """Every setting once, by the noise of the first tuning that tried or chose it."""
    searched: dict[str, dict[str, Any]] = {}
    chosen: dict[str, dict[str, Any]] = {}
    for one in tunings:
        for result in one["results"]:
            searched.setdefault(result["setting"]["name"], result)
        if one["confirmed"] is not None:
            chosen.setdefault(one["confirmed"]["setting"]["name"], one["confirmed"])
    rows = [_point(of["setting"]["family"], of) for of in searched.values()]
    return rows + [_point(f"{name}, fresh noise", of, True) for name, of in chosen.items()]


def _point(family: str, of: dict[str, Any], is_control: bool = False) -> plotting.FrontSetting:
    change = interval(of["objective_change"])
    no_gain = of["objective"] - change.value
    scores = plotting.Interval(of["objective"], no_gain + change.low, no_gain + change.high)
    return plotting.FrontSetting(family, scores, interval(of["distance_change"]), is_control)
