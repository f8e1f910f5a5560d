"""The claims by name, and what each is measured with."""

import tomllib
from collections.abc import Callable
from importlib import resources
from types import ModuleType
from typing import Any, NamedTuple

from benchmarks.claims import (
    _ablation,
    _compare,
    _completion,
    _detector,
    _efficiency,
    _gains,
    _goldilocks,
    _guided,
    _images,
    _kts,
    _onset,
    _reject,
    _seeds,
    _select,
    _semantics,
    _sparsity,
    _spike,
    _tune,
)
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line
from kinetic_jax.plotting import Figure, SubFigure


class Claim(NamedTuple):
    """One claim.

    Attributes:
        title: of the report.
        prepare: (subjects, config) to the subjects with what else is to be trained.
        measure: (subjects, config, progress) to what `results.json` keeps; `progress` is called
            with the number of trajectories that are done.
        verdict: the outcome beside the published one, in a paragraph.
        table: the figures for `docs/results.md`.
        draw: pictures by name.
        trajectories: their number in `measure`, from config and prepared subjects.
        uses: the attribute of the subjects with further models that it is measured on, or "".
    """

    title: str
    prepare: Callable[[Subjects, dict[str, Any]], Subjects]
    measure: Callable[..., dict[str, Any]]
    verdict: Callable[[dict[str, Any]], str]
    table: Callable[[dict[str, Any]], list[Line]]
    draw: Callable[[dict[str, Any]], dict[str, Figure | SubFigure]]
    trajectories: Callable[[dict[str, Any], Subjects], int]
    uses: str = ""


def _claim(
    module: ModuleType,
    title: str,
    runs: Callable[[dict[str, Any], Subjects], int],
    uses: str = "",
) -> Claim:
    return Claim(
        title,
        getattr(module, "prepare", lambda subjects, config: subjects),
        module.measure,
        module.verdict,
        module.table,
        module.draw,
        lambda config, subjects: config["samples"] * runs(config, subjects),
        uses,
    )


CLAIMS: dict[str, Claim] = {
    "semantics": _claim(_semantics, "Energy and semantics", lambda c, _: len(c["guidance"])),
    "sparsity": _claim(
        _sparsity, "Energy and support", lambda _, of: 6 + (of.centred is not None), "centred"
    ),
    "spike": _claim(_spike, "Exact flow and learned flows", lambda *_: 3),
    "goldilocks": _claim(_goldilocks, "Quality and copies by energy", lambda *_: 1),
    "kts": _claim(_kts, "Shaping against its controls", lambda c, _: _kts.count(c)),
    "completion": _claim(_completion, "Copies that are hidden", _completion.count),
    "ablation": _claim(_ablation, "One factor at a time", lambda c, _: _ablation.count(c)),
    "onset": _claim(
        _onset,
        "Energy along training",
        lambda _, of: len(of.checkpoints) + len(of.control or {}),
    ),
    "efficiency": _claim(
        _efficiency, "The distance from optimal transport", _efficiency.count, "couplings"
    ),
    "gains": _claim(_gains, "Gains beside guidance", _gains.count),
    "images": _claim(_images, "Energies of given images", _images.count),
    "compare": _claim(_compare, "The last checkpoint before copying", _compare.count),
    "detector": _claim(_detector, "Copies without the training data", _detector.count, "copying"),
    "guided": _claim(_guided, "Copies of a model with labels", _guided.count, "labelled"),
    "reject": _claim(_reject, "Copies rejected", lambda c, _: _reject.count(c)),
    "select": _claim(_select, "The best of several candidates", lambda c, _: _select.count(c)),
    "tune": _claim(_tune, "Tuned gains and grids on fresh noise", lambda c, _: _tune.count(c)),
    "seeds": _claim(
        _seeds, "Headline figures by training", lambda _, of: _seeds.count(of), "seeds"
    ),
}


def config_of(name: str, *, quick: bool) -> dict[str, Any]:
    """The committed settings of a claim, from `claims.toml`."""
    text = resources.files(__package__).joinpath("claims.toml").read_text()
    config = tomllib.loads(text)[name]
    changed = config.pop("quick")
    return config | (changed if quick else {})
