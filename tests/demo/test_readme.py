"""The README's results are those of the committed run."""

import json
from pathlib import Path

from kinetic_jax.experiments._settings import demo_settings
from kinetic_jax.experiments._table import markdown_table
from kinetic_jax.experiments._verdict import verdict

ROOT = Path(__file__).parents[2]
RESULTS = json.loads((ROOT / "benchmarks/results/demo/results.json").read_text())
README = (ROOT / "README.md").read_text()


def test_table_is_the_committed_one():
    assert markdown_table(RESULTS) in README


def test_words_are_those_of_the_committed_numbers():
    assert RESULTS["verdict"] == verdict(RESULTS)
    assert "".join(f"- {sentence}\n" for sentence in RESULTS["verdict"]) in README


def test_run_was_made_with_the_settings_of_today():
    settings = demo_settings(quick=False, seed=0)
    assert RESULTS["settings"] == {name: getattr(settings, name) for name in RESULTS["settings"]}
    assert set(RESULTS["settings"]) == set(vars(settings))
