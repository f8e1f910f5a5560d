"""The documented figures are those of the committed results, and of this code."""

import json
from pathlib import Path

import pytest

from benchmarks.claims import CLAIMS, into_page
from benchmarks.claims._registry import config_of
from benchmarks.claims._reproduce import main_models, models_digest
from benchmarks.claims._subjects import with_shipped_models
from kinetic_jax.data import load_images

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "benchmarks" / "results" / "claims"


@pytest.fixture(scope="module")
def results():
    return json.loads((FOLDER / "results.json").read_text())


def test_the_page_has_these_results(results):
    page = (ROOT / "docs" / "results.md").read_text()
    assert into_page(page, results) == page


def test_every_claim_is_there_with_its_committed_settings_and_words(results):
    assert list(results["claims"]) == list(CLAIMS)
    assert not results["quick"]
    for name, claim in results["claims"].items():
        assert claim["config"] == config_of(name, quick=False)
        assert claim["verdict"] == CLAIMS[name].verdict(claim["found"])
        for picture in CLAIMS[name].draw(claim["found"]):
            assert (FOLDER / f"{picture}.png").stat().st_size > 10_000


def test_they_are_of_the_models_that_ship(results):
    """The images are not at hand everywhere: their sha256 is checked as they are read."""
    subjects = with_shipped_models(load_images("fashion-mnist-1024"), Path())
    shipped = models_digest(main_models(subjects))
    assert {claim["subject"]["models"] for claim in results["claims"].values()} == {shipped}
    for name, claim in results["claims"].items():
        if CLAIMS[name].uses:
            further = models_digest(getattr(subjects, CLAIMS[name].uses))
            assert claim["subject"]["further"] == further, name


def test_intervals_are_as_narrow_as_promised(results):
    found = {name: claim["found"] for name, claim in results["claims"].items()}
    support = found["sparsity"]["models"]["all images"]["support"]["kNN, pixels"]
    assert support["excess"]["plain"]["value"] <= -0.8
    again = found["kts"]["best on other noise"]
    assert again["f_mem change"]["high"] < 0
    assert again["frechet change"]["value"] <= 0
    for row in found["kts"]["rows"]:
        assert row["f_mem"]["high"] - row["f_mem"]["low"] <= 0.02
    for row in found["ablation"]["rows"]:
        assert row["f_mem"]["high"] - row["f_mem"]["low"] <= 0.04
    assert all(claim["seconds"] < 1800 for claim in results["claims"].values())
