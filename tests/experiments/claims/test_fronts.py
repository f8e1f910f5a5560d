"""Fronts at equal distance on lines and clouds whose answers are known."""

import numpy as np
import pytest

from kinetic_jax.experiments.claims import _fronts, _goldilocks, _kts, _rows

DRAWS = 400


def rows_of(points, *, sd=0.0, seed=0):
    """Rows and spreads; every row moves by itself from resample to resample, by `sd`."""
    draws = np.random.default_rng(seed)
    rows, spreads = [], []
    for family, share, distance in points:
        rows.append({"family": family, "f_mem": {"value": share}, "frechet": {"value": distance}})
        moved = draws.normal(0, sd, (2, DRAWS)) if sd else np.zeros((2, DRAWS))
        # Resampled distances are biased: a tenth too great in every row.
        spreads.append(_rows.Spread(share + moved[0], distance + 0.1 + moved[1]))
    return rows, spreads


LINES = [
    ("no gain", 0.4, 1.0),
    ("KTS, landing only", 0.3, 0.9),  # lower on the way out and back
    ("KTS, landing only", 0.1, 1.3),
    ("KTS, launch only", 0.39, 2.0),
    ("noise", 0.2, 1.4),
]


def test_lines_are_read_between_their_settings():
    rows, spreads = rows_of(LINES)
    none, quarter = _fronts.at_equal_distance(rows, spreads, [0.0, 0.25])
    assert (none["distance"], quarter["distance"]) == (1.0, 1.25)
    # From (0.3, 0.9) to (0.1, 1.3): at 1.0 a quarter of the way, at 1.25 seven eighths.
    step = 0.2 / (_fronts.POINTS - 1)
    assert none["families"]["KTS"]["f_mem"]["value"] == pytest.approx(0.25, abs=step)
    assert quarter["families"]["KTS"]["f_mem"]["value"] == pytest.approx(0.125, abs=step)
    # Noise is at no gain's own F_mem there, and at 1.25 five eighths of the way to 0.2.
    assert none["families"]["noise"]["f_mem"]["value"] == pytest.approx(0.4)
    assert quarter["families"]["noise"]["f_mem"]["value"] == pytest.approx(0.275, abs=step)
    more = quarter["families"]["noise"]["more than KTS"]
    assert more["value"] == pytest.approx(0.15, abs=2 * step)
    # A bias that all rows share moves nothing.
    assert (more["low"], more["high"]) == pytest.approx((more["value"],) * 2, abs=2 * step)
    assert set(none["families"]) == {"KTS", "noise"}
    assert _fronts.better(quarter) == []


def test_a_control_that_does_better_is_named_only_where_it_is_clear():
    points = [("no gain", 0.4, 1.0), ("KTS, both", 0.3, 0.9), ("noise", 0.25, 0.9)]
    (clear,) = _fronts.at_equal_distance(*rows_of(points, sd=0.005), [0.0])
    assert _fronts.better(clear) == ["noise"]
    found = clear["families"]["noise"]["more than KTS"]
    # Independent rows: the difference spreads by √2 of one.
    half = 1.96 * 0.005 * np.sqrt(2)
    assert found["value"] == pytest.approx(-0.05)
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=0.15)
    (unclear,) = _fronts.at_equal_distance(*rows_of(points, sd=0.05), [0.0])
    assert _fronts.better(unclear) == []


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
