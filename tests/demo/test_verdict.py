"""The words follow the numbers, whichever way they came out."""

from dataclasses import replace

import pytest

from kinetic_jax.demo._results import (
    ClassifierScores,
    Completed,
    EnergyMeans,
    Fifth,
    HeldOut,
    Results,
    Row,
)
from kinetic_jax.demo._rows import DemoSettings
from kinetic_jax.demo._verdict import verdict


def _row(name, f_mem, frechet, change, interval, farther):
    return Row(
        name=name, samples=100, bad_samples=0, energy=EnergyMeans(*[1.0] * 6), f_mem=f_mem,
        f_mem_interval=[f_mem - 0.01, f_mem + 0.01], f_mem_held_out=0.01, frechet=frechet,
        confidence=0.9, evaluations=100, f_mem_change=change, f_mem_change_interval=interval,
        frechet_change_interval=farther,
        completed=Completed(0.05, f_mem + 0.05, [0.0, 1.0], -0.01, [-0.02, 0.0], frechet, 0.95),
    )  # fmt: skip


def _fifth(confidence, f_mem):
    def around(value):
        return [value - 0.02, value + 0.02]

    return Fifth(20, 1.0, [0.0, 2.0], f_mem, around(f_mem), confidence, around(confidence))


@pytest.fixture
def results():
    rows = [
        _row("no gain", 0.20, 3.0, 0.0, [0.0, 0.0], [0.0, 0.0]),
        _row("KTS", 0.10, 3.5, -0.10, [-0.12, -0.08], [0.3, 0.7]),
        _row("launch only", 0.25, 2.5, 0.05, [0.03, 0.07], [-0.7, -0.3]),
        _row("constant gain", 0.19, 3.0, -0.01, [-0.03, 0.01], [-0.1, 0.2]),
    ]
    held_out, flat = HeldOut(900, 0.01, [0.0, 0.02], 1.0, 0.9), [_fifth(0.9, 0.1)] * 5
    return Results(
        DemoSettings(), False, {}, "cpu", ClassifierScores(0.9, 64), held_out, rows,
        {"total": flat, "excess": flat}, [],
    )  # fmt: skip


def test_direction_and_cost_of_each_row(results):
    words = verdict(results)
    assert words[0].endswith("it copies.")
    assert "KTS lowers F_mem: 10.0%, a change of -10.0 points" in words[1]
    assert "at a higher Fréchet distance (3.00 to 3.50, a change of +0.30 to +0.70)" in words[1]
    assert "Launch only raises F_mem" in words[2]
    assert "at a lower Fréchet distance" in words[2]
    assert "Constant gain does not clearly move F_mem" in words[3]
    assert "at no clearly other Fréchet distance" in words[3]


def test_a_row_of_fewer_copies_says_how_many_it_hides(results):
    (sentence,) = [line for line in verdict(results) if "completed" in line]
    assert sentence == (
        "KTS leaves 5.0% of the noise on a sample; completed by one evaluation, 15.0% are copies, "
        "a change of -1.0 points (-2.0 to +0.0), and 95.0% of the copies without a gain keep their "
        "nearest image."
    )


def test_no_copying_is_said_so(results):
    results.rows[0] = replace(results.rows[0], f_mem=0.015, f_mem_interval=[0.01, 0.02])
    assert "cannot be said to copy" in verdict(results)[0]


def test_front_names_who_is_on_it(results):
    assert "lie KTS, launch only and constant gain; KTS is on it" in verdict(results)[-3]
    results.rows[1] = replace(results.rows[1], f_mem=0.3)
    assert "KTS is not on it" in verdict(results)[-3]


@pytest.mark.parametrize(
    ("confidence", "f_mem", "expected"),
    [
        ([0.7, 0.8, 0.9, 0.8, 0.7], [0.1] * 5, "not clearly more or less sure (70.0% to 70.0%)"),
        ([0.7, 0.8, 0.9, 0.8, 0.7], [0.1] * 5, "confidence peaks in the middle"),
        ([0.7, 0.75, 0.8, 0.85, 0.9], [0.1] * 5, "more sure"),
        ([0.7, 0.75, 0.8, 0.85, 0.9], [0.1] * 5, "no clear peak"),
        ([0.9] * 5, [0.5, 0.4, 0.3, 0.2, 0.1], "copies less often (50.0% to 10.0%)"),
    ],
)
def test_fifths(results, confidence, f_mem, expected):
    fifths = [_fifth(c, f) for c, f in zip(confidence, f_mem, strict=True)]
    results.fifths["total"] = fifths
    assert expected in verdict(results)[-2]
