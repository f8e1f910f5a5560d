"""The rules by which `compare` recommends a model, on reports made by hand."""

import dataclasses

import pytest

from kinetic_jax.comparison import ModelReport
from kinetic_jax.comparison._recommend import recommendation
from kinetic_jax.metrics import Estimate, Interval
from kinetic_jax.metrics._intervals import newcombe, wilson

SHARE = {0: Estimate(0.0, 0.0, 0.004), 1: Estimate(0.02, 0.013, 0.03), 9: Estimate(0.9, 0.8, 0.95)}


def model(step, f_mem=None, share=None):
    return ModelReport(
        str(step), step, 1000, 1000, f_mem=None if f_mem is None else SHARE[f_mem],
        snapped=None if share is None else SHARE[share],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("models", "by_data", "by_snap", "said"),
    [
        ([model(1), model(2, share=0), model(3, share=1)], None, "2", "Take 2. By snap"),
        ([model(1), model(2, share=0)], None, "2", "never clearly above 1%"),
        ([model(1, 0), model(2, 0, 1), model(3, 9, 9)], "2", "1", "disagree; the data decide"),
        ([model(1, 0), model(2, 0, 0), model(3, 0, 0)], "3", "3", "The two agree."),
        ([model(1, 9), model(2, 9, 0)], None, None, "Snap cannot say: 1, the earliest, copies"),
    ],
)
def test_the_rules(models, by_data, by_snap, said):
    shown = recommendation(models, "1", 0.01, 0.95)
    assert (shown.by_data, shown.by_snap) == (by_data, by_snap)
    assert said in shown.reason
    has_data = models[0].f_mem is not None
    assert shown.recommended == (by_data if has_data else by_snap)
    assert shown.reason.startswith("Take" if shown.recommended else "No model can be recommended.")


def counted(step, copies, number, others):
    """A model by its number of copies, beside (copies, rows) of the held-out data."""
    share, other = (
        Estimate(count / total, *wilson(count, total, 0.95))
        for count, total in ((copies, number), others)
    )
    own, theirs = (Interval(one.low, one.high) for one in (share, other))
    ends = newcombe(share.value, own, other.value, theirs)
    excess = Estimate(share.value - other.value, *ends)
    return ModelReport(str(step), step, number, number, f_mem=share, over_held_out=excess), other


@pytest.mark.parametrize(
    ("copies", "number", "others", "is_taken", "said"),
    [
        # Two held-out rows cannot excuse 40% of copies.
        (400, 1000, (0, 2), False, "0.0% [0.0%, 65.8%]: too few held-out rows to decide."),
        (400, 1000, (1, 2), False, "50.0% [9.5%, 90.5%]: too few held-out rows to decide."),
        (400, 1000, (5, 10_000), False, "43.1%] at 2; the limit is 1%. By snap"),
        # Equal shares: taken with enough rows on both sides.
        (10_000, 20_000, (1, 2), False, "too few held-out rows to decide."),
        (500, 1000, (10_000, 20_000), False, "too few samples to decide."),
        (10_000, 20_000, (10_000, 20_000), True, "within 1%, or that much above the held-out rows' "
         "50.0% [49.3%, 50.7%], at every model."),
        # A single copy among few samples is not within the limit with held-out rows either.
        (1, 400, (30, 10_000), False, "too few samples to decide."),
        (1, 1000, (30, 10_000), True, "F_mem is within 1%, at every model."),
    ],
)  # fmt: skip
def test_too_few_held_out_rows_make_no_model_safe(copies, number, others, is_taken, said):
    """The upper end of the excess decides, of Newcombe's interval of the counts."""
    first = counted(1, 0, 1000, others)[0]
    second, held_out = counted(2, copies, number, others)
    shown = recommendation([first, second], "1", 0.01, 0.95, held_out=held_out)
    assert shown.by_data == shown.recommended == ("2" if is_taken else "1")
    assert said in shown.reason


def test_an_earliest_at_the_share_of_the_held_out_rows_does_not_copy():
    """Without the held-out rows' share it would, and snap against it could say nothing."""
    models = [counted(step, 10_000, 20_000, (10_000, 20_000))[0] for step in (1, 2)]
    models += [counted(3, 19_000, 20_000, (10_000, 20_000))[0]]
    models[1:] = [dataclasses.replace(one, snapped=SHARE[0]) for one in models[1:]]
    held_out = Estimate(0.5, 0.493, 0.507)
    shown = recommendation(models, "1", 0.01, 0.95, held_out=held_out)
    assert (shown.by_data, shown.by_snap) == ("2", "3")
    ending = "the limit is 1%, or that much above the held-out rows' 50.0% [49.3%, 50.7%]. By snap"
    assert ending in shown.reason
    assert recommendation(models[:2], "1", 0.01, 0.95).by_data == "2"
    copying = dataclasses.replace(models[0], over_held_out=None)
    assert "Snap cannot say" in recommendation([copying, *models[1:]], "1", 0.01, 0.95).reason


def test_an_earlier_model_that_is_nearer_to_the_held_out_data_is_named():
    models = [
        dataclasses.replace(model(step, 0, 0), distance=distance)
        for step, distance in ((1, 3.0), (2, 0.5), (3, 0.75))
    ]
    reason = recommendation(models, "1", 0.01, 0.95, has_features=True).reason
    assert reason.endswith("held-out data is 2: a kernel distance of 0.5 in place of 0.75.")
    reason = recommendation(models[:2], "1", 0.01, 0.95, has_features=True).reason
    assert reason.endswith("No model before it is nearer to the held-out data.")
    assert "nearer" not in recommendation(models[:2], "1", 0.01, 0.95).reason  # of raw rows
