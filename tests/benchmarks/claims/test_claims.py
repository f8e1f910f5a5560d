"""All claims on exact flows of small images, whose answers are known."""

import base64
import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import claims
from benchmarks.claims import (
    _ablation,
    _onset,
    _registry,
    _reproduce,
    _rows,
    _runs,
    _spike,
    _words,
)
from benchmarks.claims._page import END, START, into_page
from benchmarks.claims._subjects import with_held_out
from kinetic_jax import EmpiricalField, GaussianField, kts_gain, sample
from kinetic_jax.data import load_images
from kinetic_jax.networks import ImageClassifier

pytestmark = pytest.mark.long

SMALL = {
    "guided": {"samples": 60, "guidance": [1]},
    "semantics": {"samples": 60, "guidance": [1]},
    "sparsity": {"samples": 60},
    "spike": {"samples": 40, "paths": 20},
    "goldilocks": {"samples": 60},
    "kts": {"samples": 60, "strengths": [0.02], "matched": [0.02], "ssc": [0.05],
            "ssc_powers": [1.0], "stops": [0.9], "noise": [0.5], "shifts": [2.0]},
    "completion": {"samples": 60, "strengths": [0.02], "stops": [0.9], "noise": [0.5],
                   "guide": [0.5], "smooth": [0.1], "points": 2, "earlier": 0.1},
    "efficiency": {"samples": 60, "fewer": [2, 4], "assigned": 60},
    "gains": {"samples": 60, "numbers of steps": [5, 10]},
    "images": {"samples": 60},
    "seeds": {"samples": 60, "earlier": 0.1},
    "reject": {"samples": 60, "earlier": 0.1, "mixed": 0.1, "clusters": 3, "strengths": [0.02],
               "guide": [0.5], "stops": [0.9], "noise": [0.5], "resamples": 10},
    "tune": {"samples": 60, "alpha0": [0.0], "beta0": [0.0, 0.02], "tau_split": [0.6],
             "bounds": [0.0], "floors": [0.3], "resamples": 10, "iterations": 2, "draws": 1,
             "gradient batch": 8, "gradient steps": 10, "penalty rows": 20, "earlier": 0.1},
    "select": {"samples": 40, "evaluations": 84, "references": 100, "halves": 4},
    "compare": {"samples": 60, "noises": 1, "others": 1, "limit": 0.5},
    "detector": {"samples": 60, "search": 60, "along": 60, "fewer": [20], "times": [0.65],
                 "draws": [2], "earlier": 0.1},
    "ablation": {"samples": 40, "taus": [0.4], "budgets": [10], "evaluations": 20,
                 "launches": ["linear"], "landings": ["linear"]},
    "onset": {"samples": 60},
}  # fmt: skip


@pytest.fixture(scope="module")
def subjects():
    """Exact flows of digits stand for both models, so that every sample is a copy."""
    digits = load_images("digits")
    few = digits._replace(images=digits.images[:200], labels=digits.labels[:200])
    data = with_held_out(few)
    exact = EmpiricalField(data.images)
    judge = ImageClassifier((8, 8, 1), 10, widths=(16, 8), key=jax.random.key(0))
    gaussian = GaussianField(data.images.mean(axis=0), 0.5)
    labelled = EmpiricalField(data.images, labels=data.labels)
    control = {1: gaussian, 10: gaussian}
    checkpoints = {1: gaussian, 10: exact}
    return claims.Subjects(
        data, labelled, exact, checkpoints, judge, Path(), control=control, centred=labelled,
        couplings={"all images, the same": labelled}, seeds={"1": (labelled, exact, gaussian)},
        copying={"1": (exact, gaussian)}, labelled=(labelled, gaussian),
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(subjects, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    complete = _registry.config_of

    def small(name, *, quick):
        steps = {} if name == "ablation" else {"steps": 20}
        return complete(name, quick=quick) | steps | SMALL[name]

    patch.setattr(_reproduce, "config_of", small)
    patch.setattr(_words, "RESAMPLES", 20)
    patch.setattr(_rows, "FRECHET_RESAMPLES", 10)
    out = tmp_path_factory.mktemp("claims")
    said = []
    results = claims.reproduce(list(claims.CLAIMS), out, subjects, say=said.append)
    yield out, results, said, patch
    patch.undo()


def found_of(run, name):
    return run[1]["claims"][name]["found"]


def test_files(run):
    out, results, _, _ = run
    assert json.loads((out / "results.json").read_text()) == results
    assert list(results["claims"]) == list(claims.CLAIMS)
    report = (out / "report.html").read_text()
    for picture in (out / "figures").glob("*.png"):
        assert base64.b64encode(picture.read_bytes()).decode() in report
    assert {p.stem.split("-")[0] for p in (out / "figures").glob("*.png")} == set(claims.CLAIMS)
    for name, claim in results["claims"].items():
        assert f"| `{name}`" in (out / "table.md").read_text()
        assert claim["verdict"]


def test_what_is_done_is_kept(run, subjects):
    """As after a kill: of the claims that are there none is measured again, the others are."""
    out, results, _, _ = run
    (out / "onset.json").unlink()
    before = {file: file.stat().st_mtime_ns for file in out.glob("*.json")}
    said = []
    again = claims.reproduce(list(claims.CLAIMS), out, subjects, say=said.append)
    assert sum("kept from an earlier run" in text for text in said) == len(claims.CLAIMS) - 1
    for name in claims.CLAIMS:
        if name != "onset":
            assert (out / f"{name}.json").stat().st_mtime_ns == before[out / f"{name}.json"]
        assert again["claims"][name]["found"] == results["claims"][name]["found"]


def test_other_settings_are_measured_again(run, subjects, tmp_path):
    out, _, _, patch = run
    (tmp_path / "onset.json").write_bytes((out / "onset.json").read_bytes())
    with patch.context() as inner:
        smaller = dict(SMALL["onset"], samples=30)
        inner.setitem(SMALL, "onset", smaller)
        results = claims.reproduce(["onset"], tmp_path, subjects, say=lambda message: None)
    assert results["claims"]["onset"]["found"]["samples"] == 30


@pytest.mark.parametrize("changed", ["MEASUREMENT", "models", "images"])
def test_what_is_measured_otherwise_is_not_kept(run, subjects, tmp_path, changed):
    out, _, _, patch = run
    (tmp_path / "onset.json").write_bytes((out / "onset.json").read_bytes())
    said = []
    with patch.context() as inner:
        inner.setattr(_onset, "measure", lambda *args: run[1]["claims"]["onset"]["found"])
        inner.setitem(_reproduce.CLAIMS, "onset",
                      _reproduce.CLAIMS["onset"]._replace(measure=_onset.measure))  # fmt: skip
        if changed == "MEASUREMENT":
            inner.setattr(_reproduce, "MEASUREMENT", -1)
        elif changed == "models":
            judge = ImageClassifier((8, 8, 1), 10, widths=(16, 8), key=jax.random.key(1))
            subjects = dataclasses.replace(subjects, judge=judge)
        else:
            data = subjects.data._replace(held_out=subjects.data.held_out + 1)
            subjects = dataclasses.replace(subjects, data=data)
        claims.reproduce(["onset"], tmp_path, subjects, say=said.append)
    assert not any("kept" in text for text in said)


def test_unknown_claim(subjects, tmp_path):
    with pytest.raises(ValueError, match=r"claim must be one of semantics, .*, got 'luck'"):
        claims.reproduce(["luck"], tmp_path, subjects)


def test_an_exact_flow_copies_whatever_the_gain(run):
    """β0 ≤ 0.02 moves when a trajectory lands, not where; noise and a stop before 1 do."""
    rows = {row["family"]: row for row in found_of(run, "kts")["rows"]}
    for family in ("no gain", "KTS, landing only", "KTS, both"):
        assert rows[family]["f_mem"]["value"] == 1.0
        assert rows[family]["f_mem change"]["value"] == 0.0
    assert rows["copy plus noise"]["f_mem"]["value"] < 0.5
    assert rows["copy plus noise"]["f_mem change"]["high"] < 0
    assert rows["copy plus noise"]["frechet change"]["low"] > 0
    # Nothing is lower at no greater distance, so that nothing is tried on other noise.
    assert found_of(run, "kts")["best on other noise"] is None
    assert "No setting of KTS clearly lowers F_mem" in run[1]["claims"]["kts"]["verdict"]
    for row in found_of(run, "ablation")["rows"]:
        if row["family"] in ("τ", "evaluations", "grid"):
            assert row["f_mem change"]["value"] == 0


def test_onset_is_where_copies_begin(run):
    outcome = found_of(run, "onset")
    assert outcome["onset"] == 10
    first, last = outcome["table"]
    assert (first["f_mem"]["value"], last["f_mem"]["value"]) == (0.0, 1.0)


def test_two_runs_of_one_flow_never_part(run):
    outcome = found_of(run, "spike")
    names = list(outcome["profiles"])
    assert outcome["profiles"][names[0]]["speed2"] == outcome["profiles"][names[1]]["speed2"]
    assert outcome["parting"][names[1]]["value"] == _spike.NEVER
    # The exact velocity along its own paths, which end on images: no growth at the end.
    growths = outcome["off the exact path"]["growth"]
    assert abs(growths["at the end"]["exact"]["value"]) < 0.02
    for growth in growths.values():
        assert growth["apart"]["value"] == pytest.approx(0, abs=1e-3)


def test_energies_are_those_of_sample(subjects):
    x0 = _runs.common_noise(7, (8, 8, 1), 3)
    own = _runs.sampled(subjects.memorizing, x0, num_steps=10, t1=0.9)
    complete = sample(subjects.memorizing, jnp.asarray(x0), num_steps=10, t1=0.9)
    for name in ("total", "excess", "length", "displacement"):
        np.testing.assert_allclose(own.quantities[name], getattr(complete.energy, name), rtol=1e-5)
    speed2 = np.asarray(complete.profile.speed2, np.float64)
    # Euler: ½ Σ h ||u||², of the steps that begin at 0.8 or later.
    late = 0.5 * 0.09 * speed2[:, np.asarray(complete.profile.ts) >= 0.8].sum(axis=1)
    np.testing.assert_allclose(own.quantities["late"], late, rtol=1e-4)


def test_batches_change_nothing(subjects, monkeypatch):
    x0 = _runs.common_noise(10, (8, 8, 1), 3)
    want = _runs.sampled(subjects.memorizing, x0, num_steps=5)
    monkeypatch.setattr(_runs, "BATCH", 4)
    got = _runs.sampled(subjects.memorizing, x0, num_steps=5)
    np.testing.assert_allclose(got.images, want.images, atol=1e-5)
    assert got.evaluations == want.evaluations == 5


def test_readme_table(run):
    readme = f"# Title\n{START}\nstale\n{END}\nrest\n"
    complete = run[1] | {"quick": False}
    new = into_page(readme, complete)
    assert new.startswith("# Title\n")
    assert new.endswith(f"{END}\nrest\n")
    assert "stale" not in new
    assert new.count("| `kts` | F_mem without a gain | 37.34% (CelebA) | 100.0% (") == 1
    with pytest.raises(ValueError, match="must have the marks"):
        into_page("no marks", complete)
    for part in ({"quick": True}, {"trained here": True}, {"claims": {"kts": {}}}):
        with pytest.raises(ValueError, match="of all claims, at full settings"):
            into_page(readme, complete | part)


def test_a_turn_is_seen_by_what_came_before():
    def turn(*values):
        outcome = [{"value": v, "low": v - 0.4, "high": v + 0.4} for v in map(float, values)]
        table = [{"step": at + 1, "quantities": {"E": one}} for at, one in enumerate(outcome)]
        return _onset._turn(table, "E")

    assert turn(3, 2, 1, 2, 3) == {"at": 3, "told": 4}
    assert turn(1, 5, 4.5, 3, 9) == {"at": 2, "told": 4}
    assert turn(1, 2, 3, 4, 5) is None
    assert turn(1, 2, 3, 2.5, 3) is None
    # What comes later changes nothing.
    assert turn(3, 2, 1, 2) == {"at": 3, "told": 4}


def test_onset_stays():
    def onset(*lows):
        return _onset._onset(
            [{"step": at, "f_mem": {"low": low}} for at, low in enumerate(lows)], 0.1
        )

    assert onset(0.0, 0.05, 0.2, 0.3) == 2
    assert onset(0.0, 0.2, 0.05, 0.3) == 3
    assert onset(0.0, 0.2, 0.3, 0.1) is None


def test_a_control_that_turns_too_is_named():
    at, none = {"at": 3, "told": 4}, None
    outcome = {
        "announced": {"total": at, "excess": at, "length": none},
        "control turns": {"total": at, "excess": none, "length": none},
        "control": [{"step": 8, "f_mem": {"value": 0.0, "low": 0.0, "high": 0.01}}],
        "table": [{"f_mem": {"value": 0.4, "low": 0.3, "high": 0.5}}],
        "onset": 6,
    }
    text = _onset.verdict(outcome)
    assert "energy E turns at step 3, seen at 4, 2 steps ahead of the onset" in text
    assert "copies 0.0% (0.0 to 1.0) from the same few, energy E turns as well" in text
    assert text.endswith("; excess does not.")
    assert "Without a turn: path length." in text
    both = outcome | {"control turns": outcome["announced"]}
    assert _onset.verdict(both).endswith("turns as well: they announce no memorisation.")
    assert "too few other images" in _onset.verdict(outcome | {"control": []})


def test_other_shapes_have_the_same_integral():
    own = {"alpha0": 0.02, "beta0": 0.03, "tau_split": 0.6, "launch": "linear",
           "landing": "exponential"}  # fmt: skip
    t = np.arange(50) / 50

    def area(**settings):
        gain = np.asarray(kts_gain(jnp.asarray(t, jnp.float32), **settings), np.float64) - 1
        return gain[gain > 0].sum(), gain[gain < 0].sum()

    for launch in ("linear", "constant", "exponential"):
        for landing in ("exponential", "linear", "constant"):
            same = _ablation._same_areas(own, launch, landing, 50)
            got = area(**(own | {"launch": launch, "landing": landing} | same))
            np.testing.assert_allclose(got, area(**own), rtol=1e-4)


def test_no_gain_leaves_fewer_copies_of_an_exact_flow(run):
    outcome = found_of(run, "tune")
    assert outcome["no gain"]["completed"]["f_mem"]["value"] == 1.0
    for one in outcome["tunings"]:
        if one["goal"] == "copies":
            assert {result["objective"] for result in one["results"]} == {1.0}
            assert one["is_no_gain"]
            assert one["judged"] is None
