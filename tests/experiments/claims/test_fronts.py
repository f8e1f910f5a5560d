"""Fronts at equal distance on lines and draws whose answers are known."""

import numpy as np
import pytest

from kinetic_jax.experiments.claims import _fronts, _goldilocks, _kts, _rows

N = 10_000


def rows_of(points, *, n=N, noise=0.0, seed=0):
    """Rows and halves: exact shares in either half, or draws; each distance off by `noise`."""
    draws = np.random.default_rng(seed)
    rows, halves = [], []
    for family, share, distance in points:
        rows.append({"family": family})
        ranks = (np.arange(n) // 2) / (n / 2)
        copied = (draws.uniform(size=n) if noise else ranks) < share
        off = draws.normal(0, noise, 2) if noise else np.zeros(2)
        halves.append(_fronts.Halves(copied.astype(float), distance + off))
    return rows, halves


LINES = [
    ("no gain", 0.4, 1.0),
    ("KTS, landing only", 0.3, 0.9),  # lower on the way out and back
    ("KTS, landing only", 0.1, 1.3),
    ("KTS, launch only", 0.39, 2.0),
    ("noise", 0.2, 1.4),
    ("worse", 0.5, 0.8),
]


def test_lines_are_read_between_their_settings():
    none, quarter = _fronts.at_equal_distance(*rows_of(LINES), [0.0, 0.25])
    # From (0.3, 0.9) to (0.1, 1.3): at 1.0 a quarter of the way, at 1.25 seven eighths.
    step = 0.2 / (_fronts.POINTS - 1)
    assert none["families"]["KTS"]["f_mem"]["value"] == pytest.approx(0.25, abs=step)
    assert quarter["families"]["KTS"]["f_mem"]["value"] == pytest.approx(0.125, abs=step)
    # Noise is at no gain's own F_mem there, and at 1.25 five eighths of the way to 0.2.
    assert none["families"]["noise"]["f_mem"]["value"] == pytest.approx(0.4)
    assert quarter["families"]["noise"]["f_mem"]["value"] == pytest.approx(0.275, abs=step)
    more = quarter["families"]["noise"]["more than KTS"]
    assert more["value"] == pytest.approx(0.15, abs=2 * step)
    assert more["low"] > 0.13
    assert none["families"]["worse"]["f_mem"]["value"] == pytest.approx(0.4)
    assert none["families"]["worse"]["farther by"] == 0
    assert set(none["families"]) == {"KTS", "noise", "worse"}
    assert _fronts.better(quarter) == []
    assert _fronts.undecided(quarter) == []


def test_a_control_that_does_better_is_named():
    points = [("no gain", 0.4, 1.0), ("KTS, both", 0.3, 0.9), ("noise", 0.25, 0.9)]
    (level,) = _fronts.at_equal_distance(*rows_of(points), [0.0])
    assert _fronts.better(level) == ["noise"]
    assert level["families"]["noise"]["more than KTS"]["value"] == pytest.approx(-0.05)
    few = rows_of([*points[:2], ("noise", 0.295, 0.9)], n=400)
    (level,) = _fronts.at_equal_distance(*few, [0.0])
    assert _fronts.better(level) == []


def test_more_settings_are_no_luck():
    """Twelve settings of KTS and two of a control, all truly alike: 95% of intervals hold 0."""
    points = [("no gain", 0.4, 1.0)]
    points += [(f"KTS, {kind}", 0.3, 0.9) for kind in "abc" for _ in range(4)]
    points += [("control", 0.3, 0.9)] * 2
    more, covered = [], []
    for seed in range(200):
        rows, halves = rows_of(points, n=600, noise=1e-9, seed=seed)
        (level,) = _fronts.at_equal_distance(rows, halves, [0.0])
        more.append(level["families"]["control"]["more than KTS"]["value"])
        f_mem = level["families"]["KTS"]["f_mem"]
        covered.append(f_mem["low"] < 0.3 < f_mem["high"])
    assert abs(np.mean(more)) < 3 * np.std(more) / np.sqrt(200)
    assert np.mean(covered) > 0.9


def test_bad_trajectories_are_left_out():
    rows, halves = rows_of(LINES[:3])
    halves[1].copied[:10] = np.nan
    (level,) = _fronts.at_equal_distance(rows, halves, [0.0])
    assert level["families"]["KTS"]["f_mem"]["value"] == pytest.approx(0.25, abs=0.02)


def test_best_setting_is_clearly_lower_and_no_farther_off():
    def row(name, family, share, high, distance):
        change = {"value": share, "high": high}
        return {"name": name, "family": family, "f_mem change": change,
                "frechet change": {"value": distance}}  # fmt: skip

    rows = [
        row("a", "KTS, both", -0.1, -0.05, -0.01),
        row("b", "KTS, both", -0.2, 0.01, -0.01),  # not clearly lower
        row("c", "KTS, both", -0.3, -0.2, 0.001),  # farther off
        row("d", "early stop", -0.4, -0.3, -0.1),  # no KTS
    ]
    assert _kts.best(rows)["name"] == "a"
    assert _kts.best(rows[1:]) is None


def test_a_spread_lies_about_its_value():
    draws = np.random.default_rng(0).normal(5.0, 2.0, 100_000)
    found = _rows.about(1.0, draws)
    assert found["value"] == 1.0
    assert found["low"] == pytest.approx(1 - 1.96 * 2, abs=0.05)
    assert found["high"] == pytest.approx(1 + 1.96 * 2, abs=0.05)


def test_what_tells_copies_is_chosen_on_every_other_sample():
    copied = np.tile([True, True, False, False], 50)
    # Perfect where it is chosen, and nothing where it is not.
    lucky = np.where(copied, 1.0, 0.0)
    lucky[1::2] = np.random.default_rng(0).normal(size=100)
    steady = np.where(copied, 1.0, 0.0) + np.random.default_rng(1).normal(0, 0.5, 200)
    assert _goldilocks._tells_best({"steady": steady, "lucky": lucky}, copied) == "lucky"
    assert _goldilocks._tells_best({"steady": steady, "late": lucky[::-1]}, copied) == "steady"


def test_a_curve_that_turns_is_found_with_its_rise_and_drop():
    amount = np.random.default_rng(0).uniform(0, 1, 4000)
    hill = -((amount - 0.5) ** 2)  # means by fifth: lowest at both ends, highest in the third
    slope = amount
    found = _goldilocks._turn_of({"hill": amount, "noise": -amount[::-1]}, hill)
    assert (found["name"], found["fifth"]) == ("hill", 3)
    # Fifths of (0, 1): E[-(a - 0.5)²] is −1/300 in the middle and −0.49/3 + ... at the ends.
    ends = -np.mean((np.linspace(0.8, 1, 1001) - 0.5) ** 2)
    middle = -np.mean((np.linspace(0.4, 0.6, 1001) - 0.5) ** 2)
    assert found["rise"]["value"] == pytest.approx(middle - ends, abs=0.01)
    assert found["drop"]["value"] == pytest.approx(middle - ends, abs=0.01)
    assert found["rise"]["low"] > 0
    assert found["drop"]["low"] > 0
    flat = _goldilocks._turn_of({"slope": amount}, slope)
    assert flat["drop"]["low"] <= 0 or flat["fifth"] in (1, 5)
