"""The verdict on tuning by given figures: a kept promise, a broken one, and no choice."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks.claims import _promises, _tune
from benchmarks.claims._registry import config_of


def about(value, half=0.01):
    return {"value": value, "low": value - half, "high": value + half}


def stage(name, score, distance):
    return {"setting": {"name": name, "family": name}, "objective": 0.4 + score,
            "objective_change": about(score), "distance_change": about(distance)}  # fmt: skip


def tuning(goal, promised, confirmed, judged, *, is_no_gain=False, name="kts(0, 0.02, 0.6)"):
    """Each of the last three: the changes of the score and of the distance."""
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
        "judged": {  # one in eight of the copies has another nearest image
            "completed": {
                "f_mem": about(0.4 + judged[0]),
                "f_mem change": about(judged[0]),
                "kept copies": about(0.875),
            },
            "snap change": about(10 * judged[0]),
            "frechet change": about(judged[1]),
        },
    }


KEPT = tuning("copies", (-0.1, 0.0), (-0.11, 0.01), (-0.09, -0.01))
BROKEN = tuning("copies", (-0.1, 0.0), (-0.01, 0.0), (0.02, 0.01), name="kts(0, 0.05, 0.6)")
REFUSED = tuning("copies", (-0.1, 0.0), (0.03, 0.0), (0.03, 0.03), is_no_gain=True)
NONE = KEPT | {"is_no_gain": True, "setting": {"name": "no gain"},
               "promised": None, "confirmed": None, "judged": None}  # fmt: skip


@pytest.mark.parametrize(
    ("one", "is_kept", "is_worse"),
    [(KEPT, True, False), (BROKEN, False, True), (REFUSED, False, False), (NONE, None, False)],
)
def test_kept_and_worse(one, is_kept, is_worse):
    """Only an answer other than no gain can be worse than it."""
    assert _promises.is_kept(one) is is_kept
    assert _promises.is_worse(one) is is_worse


def test_an_answer_for_snap_is_judged_by_snap():
    """Snap rises tenfold with the copies here: outside of the promise, and worse."""
    assert _promises.is_kept(KEPT | {"goal": "snap"}) is False
    assert _promises.is_worse(BROKEN | {"goal": "snap"})


def test_verdict_and_table():
    plain = {"completed": {"f_mem": about(0.4)}, "frechet": about(1.0)}
    other = tuning("copies", (-0.1, 0.0), (-0.11, 0.01), (-0.09, -0.01), name="a grid")
    tunings = [KEPT, BROKEN, REFUSED, NONE, KEPT | {"goal": "snap", "bound": 0.1}, other]
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
    # Of 40% copies at most 5 points have another nearest image: 4 of the 9 by which they fall.
    assert (
        "on a third -9.0 (-10.0 to -8.0) points at a distance changed by -0.010 (-0.020 to +0.000)"
        "; of the copies without a gain 87.5% (86.5 to 88.5) keep their nearest image, so that at "
        "least 44% of the fall is hidden copies."
    ) in text
    assert "keep their nearest image, and their number does not fall." in text
    assert "2 of 6 tunings answer no gain" in text
    lines = {line.what: line.here for line in _tune.table(results)}
    # The first setting was chosen three times, once in vain; the others once each.
    assert lines["settings as promised on fresh noise"] == "1 of 3"
    assert lines["settings as promised on a third noise"] == "1 of 3"
    assert lines["settings worse than no gain in both axes on a third noise"] == "1 of 3"
    kept = "copies that keep their nearest image, and share of the fall that is hidden, by a grid"
    assert lines[f"{kept}: KTS for copies, bound 0.05"] == "87.5% (86.5 to 88.5); at least 44%"
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


@pytest.mark.parametrize(("before", "change", "kept", "want"), [
    (0.4, -0.1, 1.0, 1.0), (0.4, -0.1, 0.75, 0.0), (0.4, -0.1, 0.5, 0.0), (0.4, -0.4, 0.875, 0.875),
    (0.4, -0.2, 0.9, 0.8), (0.4, 0.0, 1.0, None), (0.4, -0.1, None, None),
])  # fmt: skip
def test_the_least_share_of_hidden_copies(before, change, kept, want):
    completed = {"f_mem": about(before + change), "f_mem change": about(change),
                 "kept copies": {"value": kept}}  # fmt: skip
    got = _promises.least_hidden({"completed": completed})
    assert got == (None if want is None else pytest.approx(want))


def test_every_task_has_its_own_noise(monkeypatch):
    """For the search, and for the judgement of what it chose and of the gain by gradients."""
    keys, judged_on = [], []
    promised = SimpleNamespace(setting="any")

    def tuned(field, settings, *, key, **options):
        keys.append(tuple(jax.random.key_data(key).tolist()))
        return SimpleNamespace(promised=promised, as_json=dict)

    def judged(setting, number, *others):
        judged_on.append(number)
        return {}, {}

    def nothing(*given, **options):
        return None

    descent = SimpleNamespace(setting="free", values=np.ones(1), losses=np.ones(1))
    for name, stub in {
        "tune": tuned, "judged": judged, "copies_of": nothing, "snap_of": nothing,
        "frechet_to": nothing, "sample": nothing, "_descent": lambda *given: descent,
        "profile_grids": lambda *given, **options: ("a", "b"),
    }.items():  # fmt: skip
        monkeypatch.setattr(_tune, name, stub)
    subjects = SimpleNamespace(
        few=None, memorizing=None, features=None, checkpoints={1: None},
        nearest_step=lambda share: 1, data=SimpleNamespace(held_out=None, event_shape=(2,)),
    )  # fmt: skip
    _tune.measure(subjects, config_of("tune", quick=False), lambda number: None)
    assert len(keys) == len(set(keys)) == 6
    assert judged_on == [0, 1, 2, 3, 4, 5, 6]
