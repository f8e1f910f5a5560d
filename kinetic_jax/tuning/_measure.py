"""Settings measured on one noise, and compared with no gain there."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from kinetic_jax._checks import real_array, require
from kinetic_jax._state import EventShape
from kinetic_jax.fields import Field
from kinetic_jax.metrics import PairedDifference, paired_difference
from kinetic_jax.metrics._comparison import resampled
from kinetic_jax.sampling import complete, noise, sample
from kinetic_jax.sampling._trajectories import OK
from kinetic_jax.tuning._distances import Distance
from kinetic_jax.tuning._objectives import Drawn, Objective
from kinetic_jax.tuning._result import SettingResult
from kinetic_jax.tuning._settings import Setting


class Search(NamedTuple):
    """The checked arguments of `tune`, without the settings.

    Attributes:
        options: of `sample`, for every setting that has none of its own.
        confidence: level of an interval of one setting, in one axis.
        resamples: bootstrap draws of an interval of the distance.
    """

    field: Field
    objective: Objective
    distance: Distance
    key: PRNGKeyArray
    num_samples: int
    shape: EventShape
    cond: PyTree[Array]
    options: Mapping[str, Any]
    batch_size: int
    confidence: float
    resamples: int
    seed: int

    @property
    def num_batches(self) -> int:
        """Batches of one setting."""
        return -(-self.num_samples // self.batch_size)


class Measured(NamedTuple):
    """One setting's samples: scores and features, and the distances of its resamples.

    Attributes:
        scores: shape (n,), NaN for samples that failed.
        rows: features of the valid samples, shape (valid, d).
        is_valid: flags of those, shape (n,).
        distance: of the rows; NaN if there are fewer than two.
        distances: of resamples of the rows, which are paired with those of other settings.
        num_evals: mean number of evaluations.
    """

    scores: np.ndarray
    rows: np.ndarray
    is_valid: np.ndarray
    distance: float
    distances: np.ndarray
    num_evals: float


def measured(search: Search, setting: Setting, first: int, update: Callable[[], None]) -> Measured:
    """A setting on the noise of the samples from number `first` on."""
    field, parts = setting.transform(search.field), []
    for start in range(0, search.num_samples, search.batch_size):
        rows = slice(start, min(start + search.batch_size, search.num_samples))
        cond = jax.tree.map(lambda leaf, rows=rows: leaf[rows], search.cond)
        x0 = noise(search.key, first + np.arange(rows.start, rows.stop), search.shape)
        run = sample(field, x0, cond, **_options(search.options, setting.options))
        drawn = Drawn(run, complete(field, run, cond), cond)
        scores = _scores(search.objective(drawn), len(run.status))
        is_ok = np.asarray(run.status) == OK
        parts.append((scores, search.distance.features(run.x1), is_ok, np.asarray(run.num_evals)))
        update()
    scores, features, is_ok, evals = map(np.concatenate, zip(*parts, strict=True))
    is_valid = is_ok & np.isfinite(features).all(axis=1) & ~np.isnan(scores)
    scores, kept = np.where(is_valid, scores, np.nan), features[is_valid]
    if len(kept) < 2:  # a distance needs two rows
        nothing = np.full(search.resamples, np.nan)
        return Measured(scores, kept, is_valid, float("nan"), nothing, float(evals.mean()))
    draws = resampled(
        lambda rows: search.distance(rows) if len(rows) > 1 else float("nan"),
        kept,
        is_valid=is_valid,
        resamples=search.resamples,
        seed=search.seed,
    )
    return Measured(scores, kept, is_valid, search.distance(kept), draws, float(evals.mean()))


def compared(
    search: Search, setting: Setting, own: Measured, no_gain: Measured, level: float
) -> SettingResult:
    """A setting's changes over no gain, with intervals of that level."""
    from scipy.stats import norm  # a slow import

    # A bootstrap needs some draws beyond its ends; flags have an interval in closed form.
    resamples = max(2000, round(5 / (1 - level)))
    change = paired_difference(
        own.scores, no_gain.scores, confidence=level, resamples=resamples, seed=search.seed
    )
    # A normal interval: so few draws have no quantiles at a level that allows for all settings.
    half = float(norm.isf((1 - level) / 2) * np.std(own.distances - no_gain.distances, ddof=1))
    moved = own.distance - no_gain.distance
    pairs = int(np.sum(own.is_valid & no_gain.is_valid))
    return SettingResult(
        setting,
        _mean(own.scores),
        change,
        own.distance,
        PairedDifference(moved, moved - half, moved + half, pairs),
        int(np.sum(~own.is_valid)),
        own.num_evals,
    )


def _mean(scores: np.ndarray) -> float:
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else float("nan")


def _options(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The common options, overridden by the setting's; a list of times has its own `num_steps`."""
    options = {**common, **own}
    has_times = "grid" in own and not isinstance(own["grid"], str)
    if (has_times or "controller" in own) and "num_steps" not in own:
        del options["num_steps"]
    if "controller" in own:
        del options["grid"]
    return options


def _scores(values: object, number: int) -> np.ndarray:
    scores = real_array("objective", values)
    fits = scores.shape == (number,)
    require(fits, "objective", f"shape {scores.shape}", f"return a score for each of {number}")
    require(not np.isinf(scores).any(), "objective", "infinite scores", "be finite, or NaN")
    return scores


def shape_of(field: Field, shape: EventShape | None) -> EventShape:
    """The event's shape, as given or as the field declares it.

    Raises:
        ValueError: if neither is known.
    """
    known = field.event_shape if shape is None else shape
    expected = "be given for a field that declares no event_shape"
    require(known is not None, "shape", None, expected)
    assert known is not None
    return known
