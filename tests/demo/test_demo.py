"""The whole demo at a tiny size: its numbers are made again from what it leaves behind."""

import base64
import dataclasses
import html
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import kts, load_field, noise, sample
from kinetic_jax.demo._digits import split_digits
from kinetic_jax.demo._results import Results
from kinetic_jax.demo._rows import DemoSettings, demo_settings
from kinetic_jax.demo._run import run_demo

pytestmark = pytest.mark.long

TINY = DemoSettings(
    seed=3,
    num_train=48,
    width=32,
    depth=1,
    training_steps=150,
    batch_size=32,
    num_samples=60,
    num_steps=20,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    return out, run_demo(out, TINY, quick=True, say=lambda words: None)


def test_results_file_holds_what_was_returned(run):
    out, results = run
    content = json.loads((out / "results.json").read_text())
    assert content == dataclasses.asdict(results)
    assert Results.from_json(content) == results
    assert results.settings == TINY
    assert results.versions["jax"] == jax.__version__


def test_energies_come_from_the_field_that_is_left(run):
    out, results = run
    field = load_field(out / "field")
    x0 = noise(jax.random.split(jax.random.key(TINY.seed), 3)[2], jnp.arange(60), (8, 8))
    shaped = kts(TINY.alpha0, TINY.beta0, TINY.tau_split)(field)
    for row, again in zip(results.rows, (field, shaped), strict=False):
        energy = sample(again, x0, num_steps=20, tau_split=0.6).energy
        for part in ("total", "launch", "landing", "excess"):
            expected = np.mean(np.asarray(getattr(energy, part), np.float64))
            assert getattr(row.energy, part) == pytest.approx(expected, rel=1e-5)


def test_memorization_by_brute_force(run):
    _, results = run
    train = split_digits(48, TINY.seed).train.images.reshape(48, -1).astype(float)
    held_out = split_digits(48, TINY.seed).held_out.images.reshape(900, -1).astype(float)
    distances = np.sort(np.linalg.norm(held_out[:, None] - train[None], axis=2), axis=1)
    expected = np.mean(3 * distances[:, 0] < distances[:, 1])
    assert results.held_out.f_mem == pytest.approx(expected, abs=1e-12)
    assert all(row.f_mem_held_out == results.held_out.f_mem for row in results.rows)


def test_rows_are_the_six_that_are_compared(run):
    _, results = run
    names = [row.name for row in results.rows]
    assert names == [
        "no gain", "KTS", "launch only", "landing only", "constant gain", "early stop at 0.95",
    ]  # fmt: skip
    assert [row.evaluations for row in results.rows] == [20] * 5 + [19]
    assert results.rows[0].f_mem_change == 0


def test_fifths_hold_every_sample_once_in_order(run):
    _, results = run
    for fifths in results.fifths.values():
        assert sum(fifth.samples for fifth in fifths) == 60
        edges = [edge for fifth in fifths for edge in fifth.range]
        assert edges == sorted(edges)


def test_report_needs_nothing_but_itself(run):
    out, results = run
    page = (out / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert [base64.b64decode(picture)[:4] for picture in pictures] == [b"\x89PNG"] * 5
    for sentence in results.verdict:
        assert str(html.escape(sentence, quote=False)) in page.replace("&#39;", "'")
    for row in results.rows:
        assert f"<td>{row.name}</td>" in page


def test_same_seed_gives_the_same_table(run, tmp_path):
    _, results = run
    again = run_demo(tmp_path / "again", TINY, quick=True, say=lambda words: None)
    assert again == results


def test_quick_differs_in_sizes_alone():
    quick, full = (demo_settings(quick=quick, seed=5) for quick in (True, False))
    same = ("seed", "num_steps", "alpha0", "beta0", "tau_split", "stop_at", "learning_rate")
    assert all(getattr(quick, name) == getattr(full, name) for name in same)
    assert full.num_samples == 2000
    assert quick.num_samples < full.num_samples
