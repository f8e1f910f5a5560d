"""The claim "compare": answers by snap against several earliest models, and refusals."""

import types

import pytest

from benchmarks.claims import _compare
from kinetic_jax.comparison._inputs import BEFORE_COPYING

SHARES = {250: 0.0, 1000: 0.0, 4000: 0.008, 8000: 0.059}
REFUSED = f"earliest must {BEFORE_COPYING}, got 4000, 16.3% of whose samples snap against 250"


class Compared:
    """Stands for the comparison against one earliest model."""

    def __init__(self, by_snap):
        self.recommended = self.by_data = "1000"
        self.by_snap, self.reason, self.models = by_snap, "Take 1,000.", ()

    def as_json(self):
        reports = [
            {"name": str(step), "step": step, "snapped": None, "snap": None,
             "f_mem": {"value": share, "low": 0.0, "high": share + 0.004}}
            for step, share in SHARES.items()
        ]  # fmt: skip
        return {"models": reports}


def measured(monkeypatch, answers):
    """The results of `measure`, with the given answer or error for each earliest model."""

    def compare(models, *, earliest=250, **_):
        if isinstance(answers[earliest], Exception):
            raise answers[earliest]
        return Compared(answers[earliest])

    monkeypatch.setattr(_compare, "compare", compare)
    data = types.SimpleNamespace(held_out=None, event_shape=(1,))
    subjects = types.SimpleNamespace(checkpoints=dict.fromkeys(SHARES), few=None, data=data)
    config = {"seed": 0, "samples": 1, "steps": 1, "limit": 0.01, "noises": 1, "others": 2}
    return _compare.measure(subjects, config, lambda count: None)


def test_every_earliest_has_a_line_with_f_mem_of_its_answer(monkeypatch):
    results = measured(monkeypatch, {250: "1000", 1000: "4000", 4000: ValueError(REFUSED)})
    lines = {line.what: line.here for line in _compare.table(results)}
    against = "last checkpoint before copying by snap against step"
    assert lines[f"{against} 250, noise 1"] == "1,000, of F_mem 0.0% (0.0 to 0.4)"
    assert lines[f"{against} 1,000, noise 1"] == "4,000, of F_mem 0.8% (0.0 to 1.2)"
    assert lines[f"{against} 4,000, noise 1"] == "refused: that checkpoint copies already"
    verdict = _compare.verdict(results)
    assert "Snap says 4,000 against step 1,000." in verdict
    assert "Refused as earliest models, as they copy already: 4,000." in verdict


def test_other_errors_are_no_refusals(monkeypatch):
    error = ValueError("earliest must be a model whose samples are finite, got 4000")
    with pytest.raises(ValueError, match="samples are finite"):
        measured(monkeypatch, {250: "1000", 1000: None, 4000: error})


def test_an_earliest_after_which_snap_takes_no_model(monkeypatch):
    results = measured(monkeypatch, {250: None, 1000: None, 4000: "8000"})
    answers = [line.here for line in _compare.table(results) if "by snap against" in line.what]
    assert answers == ["none", "none", "8,000, of F_mem 5.9% (0.0 to 6.3)"]
    assert "Snap says none against step 1,000, 8,000 against step 4,000." in (
        _compare.verdict(results)
    )
