"""The verdict on tuning by given figures: a kept promise, a broken one, and no choice."""

import pytest

from benchmarks.claims import _tune


def about(value, half=0.01):
    return {"value": value, "low": value - half, "high": value + half}


def stage(name, score, distance):
    return {"setting": {"name": name, "family": name}, "objective": 0.4 + score,
            "objective_change": about(score), "distance_change": about(distance)}  # fmt: skip


def tuning(goal, promised, confirmed, judged, *, is_no_gain=False):
    """Each of the last three: the changes of the score and of the distance."""
    name = "kts(0, 0.02, 0.6)"
    score, distance = promised
    return {
        "family": "KTS",
        "goal": goal,
        "bound": 0.05,
        "is_no_gain": is_no_gain,
        "is_as_promised": all(abs(a - b) < 0.02 for a, b in zip(promised, confirmed, strict=True)),
        "reason": "reason",
        "setting": {"name": "no gain" if is_no_gain else name},
        "results": [stage("no gain", 0.0, 0.0), stage(name, *promised)],
        "promised": stage(name, *promised),
        "confirmed": stage(name, *confirmed),
        "expected_objective": about(score, 0.02),
        "expected_distance": about(distance, 0.02),
        "judged": {
            "completed": {"f_mem change": about(judged[0]), "kept copies": about(0.875)},
            "snap change": about(10 * judged[0]),
            "frechet change": about(judged[1]),
        },
    }


KEPT = tuning("copies", (-0.1, 0.0), (-0.11, 0.01), (-0.09, -0.01))
BROKEN = tuning("copies", (-0.1, 0.0), (-0.01, 0.0), (0.02, 0.01))
REFUSED = tuning("copies", (-0.1, 0.0), (0.03, 0.0), (0.03, 0.03), is_no_gain=True)
NONE = KEPT | {"is_no_gain": True, "setting": {"name": "no gain"},
               "promised": None, "confirmed": None, "judged": None}  # fmt: skip


@pytest.mark.parametrize(
    ("one", "is_kept", "is_worse"),
    [(KEPT, True, False), (BROKEN, False, True), (REFUSED, False, False), (NONE, None, False)],
)
def test_kept_and_worse(one, is_kept, is_worse):
    """Only an answer other than no gain can be worse than it."""
    assert _tune.is_kept(one) is is_kept
    assert _tune.is_worse(one) is is_worse


def test_an_answer_for_snap_is_judged_by_snap():
    """Snap rises tenfold with the copies here: outside of the promise, and worse."""
    assert _tune.is_kept(KEPT | {"goal": "snap"}) is False
    assert _tune.is_worse(BROKEN | {"goal": "snap"})


def test_verdict_and_table():
    plain = {"completed": {"f_mem": about(0.4)}, "frechet": about(1.0)}
    tunings = [KEPT, BROKEN, REFUSED, NONE, KEPT | {"goal": "snap", "bound": 0.1}]
    free = {"values": [0.9, 1.2], "judged": BROKEN["judged"]}
    results = {"tunings": tunings, "descent": free, "no gain": plain}
    text = _tune.verdict(results)
    assert "40.0% (39.0 to 41.0) of the completed samples are copies" in text
    assert "2 values between 0.90 and 1.20; chosen or not" in text
    assert "it changes copies by +2.0 (+1.0 to +3.0) points at a distance changed by" in text
    assert "KTS for copies, bound 0.05: no gain (reason)." in text
    assert (
        "KTS for copies, bound 0.05: kts(0, 0.02, 0.6); kts(0, 0.02, 0.6) promised "
        "-10.0 (-11.0 to -9.0) points at a distance changed by +0.000 (-0.010 to +0.010)"
    ) in text
    assert "2 of 5 tunings answer no gain" in text
    lines = {line.what: line.here for line in _tune.table(results)}
    assert lines["choices as promised on fresh noise"] == "2 of 4"
    assert lines["choices as promised on a third noise"] == "1 of 4"
    assert lines["answers worse than no gain in both axes on a third noise"] == "1 of 3"
    of_snap = "KTS for snap, bound 0.1"
    assert lines[f"answer of {of_snap}"] == "kts(0, 0.02, 0.6)"
    copies = f"completed F_mem by kts(0, 0.02, 0.6) on a third noise: {of_snap}"
    assert lines[copies] == "-9.0 (-10.0 to -8.0) points"


def test_pictures_have_each_setting_once():
    figures = _tune.draw({"tunings": [KEPT, KEPT, NONE, KEPT | {"goal": "snap"}]})
    assert set(figures) == {"tune", "tune-snap"}
    drawn = [one.get_label() for one in figures["tune"].axes[0].containers]
    name = "kts(0, 0.02, 0.6)"
    assert sorted(drawn) == sorted([name, f"{name}, fresh noise", "no gain"])
