"""The claim of the model with labels: its methods, and its outcome by given figures."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.claims import Subjects, _guided
from kinetic_jax import EmpiricalField, GaussianField
from kinetic_jax.copies import STATISTICS
from kinetic_jax.data import load_images
from kinetic_jax.networks import ImageClassifier

NONE = dict.fromkeys(("value", "low", "high"))


def quality(auc):
    area = NONE if auc is None else {"value": auc, "low": auc - 0.01, "high": auc + 0.01}
    return {"auc": area, "clear auc": area, "tpr 1%": NONE, "tpr 0.1%": NONE, "unknown": 0}


def at_weight(**aucs):
    return {
        "f_mem": {"value": 0.3, "low": 0.28, "high": 0.32},
        "statistics": {name: quality(auc) for name, auc in aucs.items()},
        "detectors": {"labels, all features": quality(0.99), "no labels, snap": None},
    }


@pytest.fixture
def results():
    return {"samples": 100, "table": {
        "w = 1": at_weight(snap=0.96, guidance_norm=0.7, total_variation=0.65, train_distance=1.0),
        "w = 1.5": at_weight(snap=None, guidance_norm=None),
    }}  # fmt: skip


def test_statistics_of_guidance_are_those_that_need_a_label():
    assert {"guidance_norm", "guidance_cosine", "guided_sharpness"} <= set(_guided.GUIDED)
    assert ("anisotropy" in STATISTICS) == ("anisotropy" in _guided.GUIDED)
    assert not {"snap", "spread", "contraction", "early_bending"} & set(_guided.GUIDED)


def test_verdict(results):
    text = _guided.verdict(results)
    assert (
        "Guidance w = 1: 30.0% (28.0 to 32.0) of the samples are copies; AUC of the statistics of "
        "guidance: guidance_norm 0.700 (0.690 to 0.710); of the best others: snap 0.960 (0.950 to "
        "0.970), total_variation 0.650 (0.640 to 0.660); the image's total variation alone has "
        "0.650 (0.640 to 0.660); detectors: labels, all features 0.990 (0.980 to 1.000)."
    ) in text
    assert text.endswith("w = 1.5: 30.0% (28.0 to 32.0) of the samples are copies, too few of them "
                         "or of others for an AUC.")  # fmt: skip
    assert _guided.verdict({"samples": 1, "table": {}}).startswith("No model with labels")


def test_table_has_every_method_of_every_weight(results):
    lines = {line.what.split(": ", 1)[-1]: line.here for line in _guided.table(results)}
    assert list(lines) == [
        "F_mem, model with labels, w = 1", "snap, model with labels, w = 1",
        "guidance_norm, model with labels, w = 1", "total_variation, model with labels, w = 1",
        "detector, labels, all features, model with labels, w = 1",
        "F_mem, model with labels, w = 1.5",
        "detector, labels, all features, model with labels, w = 1.5",
    ]  # fmt: skip
    assert lines["F_mem, model with labels, w = 1"] == "30.0% (28.0 to 32.0)"
    assert lines["snap, model with labels, w = 1"].startswith("0.960 (0.950 to 0.970); 0.960")
    assert set(_guided.draw(results)) == {"guided"}
    assert _guided.draw({"samples": 1, "table": {}}) == {}


@pytest.mark.long
def test_measured_on_an_exact_flow_of_few_images():
    """Every sample of it is a copy, so that AUCs are unknown; every method has a row."""
    digits = load_images("digits")
    few = digits._replace(
        images=digits.images[:30],
        labels=digits.labels[:30],
        held_out=digits.images[30:60],
        held_out_labels=digits.labels[30:60],
    )
    exact = EmpiricalField(few.images, labels=few.labels)
    early = GaussianField(few.images.mean(axis=0), 0.5)
    judge = ImageClassifier((8, 8, 1), 10, widths=(4, 4), key=jax.random.key(0))
    subjects = Subjects(few, exact, exact, {1: early, 10: exact}, judge, Path(),
                        labelled=(exact, early))  # fmt: skip
    config = {"samples": 12, "steps": 8, "seed": 0, "guidance": [1, 1.5]}
    done = []
    results = _guided.measure(subjects, config, done.append)
    assert list(results["table"]) == ["w = 1", "w = 1.5"]
    plain = results["table"]["w = 1"]
    assert plain["f_mem"]["value"] == 1.0
    # Without samples that are no copies there are no usual speeds, and no detector by labels.
    assert set(plain["statistics"]) == set(STATISTICS) - {"norm_rule"}
    assert all(own["unknown"] == 0 for own in plain["statistics"].values())
    assert plain["detectors"]["labels, all features"] is None
    assert plain["detectors"]["no labels, snap"] is not None
    assert sum(done) == config["samples"] * _guided.count(config, subjects)
    none = dataclasses.replace(subjects, labelled=None)
    assert _guided.measure(none, config, done.append)["table"] == {}
    assert _guided.count(config, none) == 0
    assert np.isfinite(plain["f_mem"]["low"])
