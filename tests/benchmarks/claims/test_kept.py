"""Samples that are kept or selected: figures, costs and verdicts where the answers are known."""

import numpy as np
import pytest

from benchmarks.claims import _chosen, _kept, _reject, _select, _ways
from benchmarks.claims._candidates import margins
from benchmarks.claims._kept import Kept, Samples
from benchmarks.claims._rows import Distance
from kinetic_jax.metrics import paired_difference


def about(value, half=0.01):
    return {"value": value, "low": value - half, "high": value + half}


@pytest.fixture
def pool():
    """Six rows of noise, the first four of which were sampled: two copies, of class 0."""
    return Samples(
        np.arange(6) < 4,
        np.array([1.0, 1.0, 0.0, 0.0]),
        np.arange(8.0).reshape(4, 2),
        np.array([0, 0, 1, 1]),
    )


def test_some_samples_keep_their_rows_of_the_noise(pool):
    some = pool.rows(np.array([3, 1]))
    assert np.flatnonzero(some.is_kept).tolist() == [1, 3]
    assert some.copied.tolist() == [1.0, 0.0]
    assert some.features.tolist() == [[2.0, 3.0], [6.0, 7.0]]
    again = some.rows(np.array([1]))
    assert np.flatnonzero(again.is_kept).tolist() == [3]
    np.testing.assert_array_equal(
        some.spread_out(some.copied), [np.nan, 1, np.nan, 0] + 2 * [np.nan]
    )


def test_figures_of_kept_samples(pool):
    def kept(samples):
        flat = Distance(2.0, np.full(5, 2.0))
        return Kept(samples, samples, flat, flat, 10.0)

    plain, own = kept(pool), kept(pool.rows(np.array([1, 2, 3])))
    row = _kept.described(own, plain, pool, 20)
    assert row["kept"] == 3
    assert row["f_mem"]["value"] == pytest.approx(1 / 3)
    assert row["f_mem change"]["value"] == pytest.approx(1 / 3 - 1 / 2)
    assert row["frechet change"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    # One third and two thirds, in the place of halves.
    assert row["mix"]["value"] == pytest.approx(1 / 6)
    assert row["completed"]["f_mem"] == row["f_mem"]
    assert _kept.described(plain, plain, pool, 20)["mix"]["value"] == 0


def test_costs_of_risks_and_numbers_of_candidates():
    costs = [_ways.score_evaluations(name) for name in ("random", "oracle", "snap", "detector")]
    assert costs == [0, 0, 16, 32]
    assert (_ways.candidates_of(4000, 0.2), _ways.candidates_of(4000, 0.5)) == (5000, 8000)


@pytest.mark.parametrize(("moved", "distance", "want"), [
    (0.02, 0.0, True), (-0.01, -0.1, True), (0.021, -0.1, False), (0.0, 0.01, False),
])  # fmt: skip
def test_near_the_oracle(moved, distance, want):
    row = {"against the oracle": {"f_mem": about(moved), "frechet": about(distance)}}
    assert _reject.holds(row) is want


def test_the_front_leaves_the_oracle_out():
    def row(family, share, distance):
        completed = {"f_mem": about(share), "frechet": about(distance)}
        return {"family": family, "name": family, "completed": completed}

    rows = [row("no rejection", 0.4, 1.0), row("snap", 0.3, 1.0), row("oracle", 0.2, 0.5),
            row("mixed", 0.1, 1.2)]  # fmt: skip
    assert _reject._front(rows) == ["snap", "mixed"]


def test_margins_and_distances_within_classes():
    logits = np.array([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    assert margins(logits, np.array([0, 1])).tolist() == [2.0, -2.0]
    features = np.array([[0.0], [10.0], [3.0], [7.0]], np.float32)
    labels = np.array([0, 1, 0, 2])
    # The one other of class 0 is 3 away; class 1 and class 2 have one sample each.
    got = _chosen._distances(features, labels, 8)
    np.testing.assert_array_equal(got, [3.0, np.nan, 3.0, np.nan])


def test_halves_are_as_wide_as_a_bootstrap():
    draws = np.random.default_rng(0)
    values = draws.normal(size=400)
    halves = [values[draws.permutation(400)[:200]].mean() for _ in range(2000)]
    got = _chosen._by_halves(float(values.mean()), np.array(halves))
    assert got["high"] - got["value"] == pytest.approx(1.96 * values.std() / 20, rel=0.05)


def test_intervals_of_few_halves_hold_the_true_mean():
    """Ten halves: by the normal distribution fewer would."""
    draws, held = np.random.default_rng(0), []
    for _ in range(400):
        values = draws.normal(size=100)
        halves = [values[draws.permutation(100)[:50]].mean() for _ in range(10)]
        got = _chosen._by_halves(float(values.mean()), np.array(halves))
        held.append(got["low"] <= 0 <= got["high"])
    assert 0.93 <= np.mean(held) <= 0.985


@pytest.mark.parametrize(("sampled", "truth"), [
    (lambda draws, size: draws.normal(size=(size, 1)), 2 / np.sqrt(np.pi)),
    (lambda draws, size: draws.exponential(size=(size, 1)), 1.0),
])  # fmt: skip
def test_intervals_of_distances_within_classes_hold_the_true_mean(sampled, truth):
    """E|X − Y| is known; by the distances of each sample alone three of four would hold it."""
    draws, held, differences = np.random.default_rng(0), [], []
    labels = np.arange(160) % 2
    for _ in range(120):
        # Classes far apart, which differ in spread: their means are fixed, not sampled.
        one, other = (
            _chosen._distances(sampled(draws, 160) * (1 + 9 * labels[:, None]), labels, 8)
            for _ in range(2)
        )
        change = paired_difference(one, np.zeros(160), interval="bootstrap", resamples=200)
        held.append(change.low <= 5.5 * truth <= change.high)
        moved = paired_difference(one, other, interval="bootstrap", resamples=200)
        differences.append(moved.low <= 0 <= moved.high)
    assert 0.9 <= np.mean(held) <= 0.99
    assert 0.9 <= np.mean(differences) <= 0.99


def test_pseudo_values_have_the_mean_distance():
    features = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    labels = np.arange(30) % 3
    pairs = [
        np.linalg.norm(features[i] - features[j])
        for i in range(30)
        for j in range(i)
        if labels[i] == labels[j]
    ]
    # Nine partners on each side are all pairs of a class of ten, twice.
    got = _chosen._distances(features, labels, 9)
    assert got.mean() == pytest.approx(np.mean(pairs), rel=1e-6)


@pytest.mark.parametrize(("fidelity", "distance", "want"), [
    (0.05, 0.0, True), (0.0, -0.05, True), (0.05, 0.05, False), (-0.05, -0.05, False),
    (0.0, 0.0, False), (None, 0.0, False),
])  # fmt: skip
def test_what_beats_random_search(fidelity, distance, want):
    none = dict.fromkeys(("value", "low", "high"))
    change = {
        "neighbours": none if fidelity is None else about(fidelity),
        "frechet": about(distance),
    }
    assert _select.beats(change) is want


@pytest.mark.parametrize("better", [False, True])
def test_the_verdict_says_whether_random_search_is_beaten(better):
    levels = {name: about(0.5) for name in _chosen.ABOUT}
    same, nearer = ({name: about(v) for name in _chosen.ABOUT} for v in (0.0, -0.05))
    rows = []
    for name in (_select.RANDOM, _select.FINER, *_select.METHODS):
        wins = better and name == "early bending, lowest"
        change = same | {"frechet": nearer["frechet"]} if wins else same
        is_guided = name.startswith("CFG")
        rows.append({"name": name, "candidates": 2 if is_guided else 4, "evaluations": 100.0,
                     "same": 0.95 if is_guided else 1.0, "levels": levels,
                     "against random": change, "against random search": change})  # fmt: skip
    words = _select.verdict({"samples": 10, "evaluations": 104, "rows": rows})
    assert ("Nothing beats random search" in words) is not better
    assert ("clearly worse in neither: early bending, lowest." in words) is better
    assert "CFG-Rejection then pays for a second velocity" in words
    assert "has 2 candidates where bending has 4" in words
    assert "by every method 95% or more of them" in words
