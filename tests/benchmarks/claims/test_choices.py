"""Choices made on half of the samples or of many settings, where the answers are known."""

import numpy as np
import pytest

from benchmarks.claims import _efficiency, _goldilocks, _images, _kts, _rows, with_held_out
from benchmarks.claims._recipes import GENERAL, MEMORIZING
from benchmarks.claims._subjects import of_few
from kinetic_jax.data import load_images


def test_best_setting_is_clearly_lower_and_no_farther_off():
    def row(name, family, share, high, distance):
        change = {"value": share, "high": high}
        return {"name": name, "family": family, "f_mem change": change,
                "frechet change": {"value": distance, "high": distance}}  # fmt: skip

    rows = [
        row("a", "KTS, both", -0.1, -0.05, -0.01),
        row("b", "KTS, both", -0.2, 0.01, -0.01),  # not clearly lower
        row("c", "KTS, both", -0.3, -0.2, 0.001),  # farther off
        row("d", "early stop", -0.4, -0.3, -0.1),  # no KTS
    ]
    assert _kts.best(rows)["name"] == "a"
    assert _kts.best(rows[1:]) is None
    edge = row("e", "KTS, both", -0.5, -0.4, -0.001)
    edge["frechet change"]["high"] = 0.1
    assert _kts.best([*rows, edge])["name"] == "a"  # which is clearly no farther off
    assert _kts.best([*rows[1:], edge])["name"] == "e"


def test_the_steps_needed_stay_within_the_tolerance():
    errors = {1: 0.5, 2: 0.01, 4: 0.1, 8: 0.015, 16: 0.001}
    assert _efficiency.steps_needed(errors, 0.02) == 8
    assert _efficiency.steps_needed(errors, 0.2) == 2
    assert _efficiency.steps_needed(errors, 0.0001) is None


def test_members_are_known_from_the_step_after_which_they_stay_known():
    def first(*values):
        aucs = ({"value": v, "low": v - 0.05, "high": v + 0.05} for v in values)
        return _images._first([{"step": n, "auc": {"E": auc}} for n, auc in enumerate(aucs)], "E")

    assert first(0.7, 0.52, 0.6, 0.9) == 2
    assert first(0.7, 0.52, 0.4, 0.1) == 2  # below ½ as well
    assert first(0.9, 0.9, 0.9) == 0
    assert first(0.9, 0.52) is None


def test_a_spread_lies_about_its_value():
    draws = np.random.default_rng(0).normal(5.0, 2.0, 100_000)
    outcome = _rows.about(1.0, draws)
    assert outcome["value"] == 1.0
    assert outcome["low"] == pytest.approx(1 - 1.96 * 2, abs=0.05)
    assert outcome["high"] == pytest.approx(1 + 1.96 * 2, abs=0.05)


def test_the_quantity_of_copies_is_chosen_on_every_other_sample():
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
    outcome = _goldilocks._turn_of({"hill": amount, "noise": -amount[::-1]}, hill)
    assert (outcome["name"], outcome["fifth"]) == ("hill", 3)
    # Fifths of (0, 1): E[-(a - 0.5)²] is −1/300 in the middle and −0.49/3 + ... at the ends.
    ends = -np.mean((np.linspace(0.8, 1, 1001) - 0.5) ** 2)
    middle = -np.mean((np.linspace(0.4, 0.6, 1001) - 0.5) ** 2)
    assert outcome["rise"]["value"] == pytest.approx(middle - ends, abs=0.01)
    assert outcome["drop"]["value"] == pytest.approx(middle - ends, abs=0.01)
    assert outcome["rise"]["low"] > 0
    assert outcome["drop"]["low"] > 0
    flat = _goldilocks._turn_of({"slope": amount}, slope)
    assert (flat["fifth"], flat["drop"]["value"]) == (5, 0.0)


def test_at_most_a_quarter_of_the_images_is_to_be_copied():
    """Of 1,797 digits 1,498 are not held out; the classifier and the control see the others."""
    digits = with_held_out(load_images("digits"))
    assert of_few(MEMORIZING, digits).num_train == 374
    many = digits._replace(images=np.zeros((5000, 2, 2, 1), np.float32))
    assert of_few(MEMORIZING, many) == MEMORIZING
    assert of_few(GENERAL, digits) is GENERAL
