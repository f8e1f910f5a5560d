"""The verdicts on given figures: each outcome in its own words."""

import functools

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.claims import (
    _completion,
    _efficiency,
    _gains,
    _goldilocks,
    _kts,
    _seeds,
    _words,
)
from benchmarks.claims._page import END, START
from kinetic_jax._json import without_nan


def about(value, half=0.01):
    return {"value": value, "low": value - half, "high": value + half}


def row(family, name, share, moved=0.0, distance=-0.05):
    both = {"f_mem": about(share), "frechet": about(1.0),
            "f_mem change": about(moved), "frechet change": about(distance)}  # fmt: skip
    # Completed, a sample shows half of what a setting hides.
    half = both | {"f_mem": about(share - moved / 2), "kept copies": about(0.99, 0.005)}
    return {"family": family, "name": name, "completed": half} | both


@pytest.fixture
def kts():
    rows = [
        row("no gain", "no gain", 0.4),
        row("KTS, both", "α0 = β0 = 0.02", 0.3, -0.1),
        row("KTS, both", "α0 = β0 = 0.01", 0.35, -0.05, 0.02),
        row("copy plus noise", "σ = 0.1", 0.35, -0.05, 0.02),
        row("early stop", "t = 0.9", 0.2, -0.2),
    ]
    return {
        "rows": rows,
        "best on other noise": row("KTS, both", "α0 = β0 = 0.02", 0.31, -0.09, -0.04),
        "beaten": {"pairs": 2, "kts": {"KTS, both: α0 = β0 = 0.02": ["early stop: t = 0.9"]},
                   "controls": {"early stop: t = 0.9": []}},
        "held out": {"f_mem": about(0.0), "size": 500, "frechet": 0.5, "no gain": 0.9},
    }  # fmt: skip


def test_kts_beaten_by_a_control(kts):
    text = _kts.verdict(kts)
    assert "both with α0 = β0 = 0.02 lowers F_mem most" in text
    assert "changes F_mem by -10.0 (-11.0 to -9.0) points" in text
    assert "on other noise F_mem by -9.0 (-10.0 to -8.0) points" in text
    assert "1 of the 1 settings of KTS are beaten by a control (early stop)" in text
    assert "the setting above by early stop: t = 0.9. KTS is not on the front." in text
    lines = {line.what: line.here for line in _kts.table(kts)}
    assert lines["settings of KTS with a control of fewer copies, no farther off"] == "1 of 1"
    assert any("-9.0 (-10.0 to -8.0); -0.040" in here for here in lines.values())
    assert any(line.published == "−6.1; −2.3" for line in _kts.table(kts))


def test_what_landings_hide_is_counted():
    rows = [
        row("no gain", "no gain", 0.4),
        row("KTS, landing only", "β0 = 0.02", 0.2, -0.2),
        row("early stop", "t = 0.9", 0.39, -0.005),
    ]
    results = {"rows": rows, "lower": _completion._lower(rows[1:])}
    text = _completion.verdict(results)
    assert "KTS, landing only: β0 = 0.02: 20.0% (19.0 to 21.0), completed 30.0%" in text
    assert "(50% of the fall is noise); of the copies without a gain 99.0%" in text
    assert "t = 0.9: 39.0% (38.0 to 40.0), completed 39.2% (38.2 to 40.2) (no clear fall)" in text
    assert "Of 2 settings 1 have clearly fewer copies among the completed samples, 1 of" in text
    assert "at no greater Fréchet distance of those (KTS, landing only: β0 = 0.02)." in text
    lines = {line.what: line.here for line in _completion.table(results)}
    name = "F_mem, and that of completed samples: KTS, landing only, β0 = 0.02"
    assert lines[name] == "20.0% (19.0 to 21.0); 30.0% (29.0 to 31.0)"


def test_kts_beaten_by_none(kts):
    kts["beaten"]["kts"] = {"KTS, both: α0 = β0 = 0.02": []}
    kts["beaten"]["controls"] = {"early stop: t = 0.9": ["KTS, both: α0 = β0 = 0.02"]}
    text = _kts.verdict(kts)
    assert "0 of the 1 settings of KTS are beaten by a control, 1 of the 1 of controls" in text
    assert "the setting above by none. 1 settings of KTS are on the front." in text


@functools.cache
def goldilocks(bent):
    """Copies have more of "late"; quality over it rises and, if `bent`, falls again."""
    draws = np.random.default_rng(0)
    n = 2000
    late, total = draws.uniform(size=(2, n))
    copied = draws.uniform(size=n) < 0.1 + 0.8 * late
    quality = -((late - 0.5) ** 2) if bent else total
    quantities = {"total": total, "late": late}
    qualities = {"margin": quality, "realism": quality}
    return without_nan({
        "f_mem": about(0.5),
        "held out": 0.0,
        "by": {name: _goldilocks._by(of, qualities, copied) for name, of in quantities.items()},
        "turns": {what: _goldilocks._turn_of(quantities, of) for what, of in qualities.items()},
        "tells best": _goldilocks._tells_best(quantities, copied),
        "its auc": _words.bootstrap(_words.auc, [late[1::2], copied[1::2]]),
    })  # fmt: skip


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(_words, "RESAMPLES", 200)


@pytest.mark.usefixtures("few_resamples")
def test_goldilocks_that_turns():
    outcome = goldilocks(bent=True)
    text = _goldilocks.verdict(outcome)
    assert "The margin turns most over energy, t ≥ 0.8" in text
    assert "it is highest in fifth 3" in text
    assert "energy, t ≥ 0.8 tells copies best: on the others they have more of it" in text
    assert "copies have neither clearly more nor less E (AUC" in text
    # Copies have density 0.2 + 1.6 x, others 1.8 − 1.6 x: ∫ (1.8 − 1.6 x)(1 − 0.2 x − 0.8 x²) dx.
    assert outcome["its auc"]["value"] == pytest.approx(1.8 - 0.98 - 1.12 / 3 + 0.32, abs=0.03)
    assert "F_mem rises, 1" in text  # 18% in the first fifth
    lines = {line.what for line in _goldilocks.table(outcome)}
    assert "margin over energy, t ≥ 0.8: fifth 3 above first, above last" in lines


@pytest.mark.usefixtures("few_resamples")
def test_goldilocks_that_does_not_turn():
    outcome = goldilocks(bent=False)
    assert "does not clearly turn" in _goldilocks.verdict(outcome)
    assert len(_goldilocks.table(outcome)) == 3


@pytest.mark.usefixtures("few_resamples")
def test_nothing_tells_copies_where_the_interval_holds_a_half():
    outcome = goldilocks(bent=True) | {"its auc": {"value": 0.44, "low": 0.33, "high": 0.56}}
    assert "No quantity clearly tells copies: energy, t ≥ 0.8" in _goldilocks.verdict(outcome)


def test_too_few_copies_tell_nothing():
    copied = np.zeros(200, bool)
    copied[:5] = True
    amount = np.random.default_rng(0).uniform(size=200)
    assert np.isnan(_words.auc(amount, copied))
    outcome = without_nan(_words.bootstrap(_words.auc, [amount, copied]))
    assert _words.with_interval(outcome) == "none"
    assert _words.with_interval({"value": 0.5, "low": None, "high": None}) == "+0.50 (no interval)"
    assert _words.percent({"value": None, "low": None, "high": None}) == "none"


@pytest.mark.parametrize("options", [["all", "--quick"], ["kts"], ["all", "--data", "digits"]])
def test_into_is_refused_before_anything_is_measured(tmp_path, options):
    readme = tmp_path / "README.md"
    readme.write_text(f"{START}\n{END}\n")
    command = ["claims", *options, "--into", str(readme), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 1
    assert "--into is for all claims, at full settings, of shipped models" in refused.output
    readme.write_text("none")
    refused = CliRunner().invoke(main, ["claims", "all", "--into", str(readme)])
    assert "must have the marks" in refused.output
    assert not (tmp_path / "out").exists()


def test_gains_count_clear_rises_alone():
    def row(steps, name, margin, frechet):
        changes = {"margin change": margin, "frechet change": frechet}
        ends = {
            what: dict(zip(("value", "low", "high"), own, strict=True))
            for what, own in changes.items()
        }
        return {"steps": steps, "name": name} | ends

    rows = [
        row(10, _gains.NONE, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        row(10, "SSC", (0.2, 0.1, 0.3), (0.1, -0.1, 0.3)),
        row(50, "SSC", (0.4, 0.3, 0.5), (0.2, 0.1, 0.3)),
    ]
    text = _gains.verdict({"rows": rows})
    assert (
        "SSC: the margin is clearly higher at 2 of 2 numbers of steps, the Fréchet distance" in text
    )
    assert "at 1 (changes of both: 10 steps +0.20 (+0.10 to +0.30) and +0.10" in text
    assert _gains.NONE not in text


def test_ranges_over_trainings_leave_out_what_is_unknown():
    known = {"0": {"value": 0.4}, "1": {"value": None}, "2": {"value": -0.1}}
    ends = _seeds.ranges({"figures": {"energy": known, "excess": {"0": {"value": None}}}})
    assert ends == {"energy": (-0.1, 0.4)}


def test_bounds_are_told_once_for_models_of_the_same_images():
    bounds = {"floor": 1.0, "gaussian": 2.0, "independent": 4.0, "assignment": 3.0}
    estimate = {"value": 2.5, "low": 2.4, "high": 2.6}
    model = {"bounds": bounds | {"num_assigned": 9}, "steps needed": None}
    model |= dict.fromkeys(("energy", "efficiency", "excess"), estimate)
    models = {"all images": model, "all images, one reflow": model | {"steps needed": 16}}
    text = _efficiency.verdict({"tolerance": 0.02, "models": models})
    assert text.count("has a floor of 1.0") == 1
    assert text.endswith("2% of the way: 16.")
    assert "The model: mean E 2.5" in text
    assert "The model by one reflow: mean E 2.5" in text
    assert "2% of the way: more than any measured." in text
