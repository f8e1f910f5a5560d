"""The outcome of the detectors by given figures: other runs, the training, calibration."""

import pytest

from benchmarks.claims import _detected

NONE = dict.fromkeys(("value", "low", "high"))


def about(value, half=0.01):
    return {"value": value, "low": value - half, "high": value + half}


def quality(auc, top=(10, 0.9, 0.5)):
    """An AUC, and how many of the 100 samples have a risk of 0.8 or more, their mean and copies."""
    number, risk, copies = top
    rows = [{"number": 100 - number, "risk": 0.1, "copies": 0.1},
            {"number": number, "risk": risk, "copies": copies}]  # fmt: skip
    area = NONE if auc is None else about(auc)
    return {"auc": area, "clear auc": area, "tpr 1%": about(0.6), "tpr 0.1%": NONE,
            "unknown": 0, "calibration": rows}  # fmt: skip


def at_step(step, copies, labels, none):
    statistics = {name: quality(0.9) for name in _detected.ALONG}
    return {"step": step, "f_mem": about(copies, 0.0), "statistics": statistics,
            "labels": labels, "no labels": none}  # fmt: skip


@pytest.fixture
def results():
    single = {"snap": 0.96, "spread": 0.95, "total_variation": 0.7, "train_distance": 1.0}
    return {
        "f_mem": about(0.45),
        "statistics": {name: quality(auc) for name, auc in single.items()},
        "detectors": {"labels, all features": quality(0.98), "no labels, snap": None},
        "snap": {"best": {"step": 1000, "t": 0.65, "draws": 8, "auc": [about(0.97), about(0.94)]}},
        "transfer": {"1": {"f_mem": about(0.4), "transferred": quality(0.975),
                           "no labels": quality(0.955)}},
        "runs": {"Euler, 25 steps": quality(0.93)},
        "along": [
            at_step(2000, 0.0, None, quality(None, (6, 0.965, 0.0))),
            at_step(4000, 0.1, quality(0.99), quality(0.92)),
            at_step(60000, 0.46, quality(0.98), quality(0.91, (40, 0.957, 0.975))),
        ],
    }  # fmt: skip


def test_verdict_of_the_included_models(results):
    text = _detected.verdict(results)
    assert "AUC of single statistics: snap 0.960 (0.950 to 0.970); spread 0.950" in text
    assert "train_distance" not in text
    assert "Detector by no labels, snap" not in text  # there was none
    assert "step 1,000, t = 0.65, 8 draws, has 0.940 (0.930 to 0.950) on the other" in text
    assert (
        "first found with labels on this very model; the same setting without labels on others, "
        "which had no part in the choice: training 1 0.955 (0.945 to 0.965)."
    ) in text
    assert "Transferred to training 1: 0.975 (0.965 to 0.985)." in text
    assert "on samples by other runs: Euler, 25 steps 0.930 (0.920 to 0.940)." in text
    assert (
        "along the training: step 4,000 (F_mem 10.0% (10.0 to 10.0)) 0.990 (0.980 to 1.000) and "
        "0.920 (0.910 to 0.930); step 60,000"
    ) in text
    assert "At step 2,000 there are too few copies for an AUC." in text
    assert (
        "at step 2,000 (F_mem 0.0% (0.0 to 0.0)) 6 of 100 have a risk of 0.8 or more, 0.965 in the "
        "mean, and 0.0% of them are copies; at step 60,000 (F_mem 46.0% (46.0 to 46.0)) 40 of 100 "
        "have a risk of 0.8 or more, 0.957 in the mean, and 97.5% of them are copies."
    ) in text


def test_table_of_the_included_models(results):
    lines = {line.what.split(": ", 1)[-1]: line.here for line in _detected.table(results)}
    figures = "0.930 (0.920 to 0.940); 0.930 (0.920 to 0.940); 60.0% (59.0 to 61.0); none"
    assert lines["detector, no labels, snap, Euler, 25 steps"] == figures
    assert lines["step 1,000, t = 0.65, 8 draws"] == "0.940 (0.930 to 0.950)"
    assert lines["step 2,000"].startswith("0.0% (0.0 to 0.0); none; none; 0.900")
    assert lines["step 2,000"].endswith("; 6, 0.965, 0.0%")
    assert lines["step 60,000"].endswith("; 40, 0.957, 97.5%")
    assert "detector, labels, transferred to training 1" in lines
    assert "detector, no labels, snap" not in lines


def test_other_images_have_the_detector_of_the_included_model(results):
    """Its settings were not chosen on these images."""
    moved = {"profile and snap": quality(0.8), "all features": None}
    other = results | {"transfer": {}, "from shipped": moved}
    text = _detected.verdict(other)
    assert "this very model" not in text
    assert (
        "Fitted on the included model of Fashion-MNIST, profile and snap: 0.800 (0.790 to 0.810)."
    ) in text
    assert text.count("Fitted on") == 1
    lines = {line.what.split(": ", 1)[-1]: line.here for line in _detected.table(other)}
    name = "detector, labels, profile and snap, transferred from fashion-mnist"
    assert lines[name].startswith("0.800 (0.790 to 0.810)")
    assert not any("training 1" in line for line in lines)


def test_a_model_that_never_copies(results):
    """No detector, no best setting and no AUC at all: nothing is made up."""
    none = {name: quality(None) for name in results["statistics"]}
    along = [
        at_step(2000, 0.0, None, None),
        at_step(4000, 0.0, None, quality(None, (0, None, None))),
    ]
    never = results | {"statistics": none, "detectors": {"no labels, snap": quality(None)},
                       "snap": {"best": None}, "transfer": {}, "along": along,
                       "runs": {"Euler, 25 steps": None}}  # fmt: skip
    text = _detected.verdict(never)
    assert "AUC of" not in text
    assert "other runs" not in text
    assert "At step 2,000, 4,000 there are too few copies" in text
    assert "which had no part in the choice: there is none." in text
    assert "at step 4,000 (F_mem 0.0% (0.0 to 0.0)) 0 of 100 have a risk of 0.8 or more." in text
    lines = {line.what.split(": ", 1)[-1]: line.here for line in _detected.table(never)}
    assert lines["step 2,000"].endswith("; none")
    assert lines["step 4,000"].endswith("; 0")
    assert set(_detected.draw(never | {"along": []})) == {"detector"}
