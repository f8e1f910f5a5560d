"""`tune`: the setting with the least objective at a bounded distance, confirmed on fresh noise."""

from collections.abc import Callable, Sequence
from typing import Any

import diffrax
import jax
import numpy as np
from jaxtyping import ArrayLike, PRNGKeyArray, PyTree

from kinetic_jax._checks import (
    conditions_of,
    fraction,
    real_number,
    refuse_memmap,
    require,
    require_key,
    require_known,
    short,
    whole_number,
)
from kinetic_jax._mesh import gathered
from kinetic_jax._progress import check_progress, progress_bar
from kinetic_jax._state import EventShape, checked_event_shape
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.metrics._comparison import beaten_by
from kinetic_jax.sampling._grid import time_nodes
from kinetic_jax.tuning._distances import Distance, checked_distance
from kinetic_jax.tuning._measure import Measured, Search, compared, measured, shape_of
from kinetic_jax.tuning._objectives import Objective
from kinetic_jax.tuning._result import SettingResult, Tuning, expected_again
from kinetic_jax.tuning._settings import NO_GAIN, Setting, checked_settings, kts_settings

_KEPT = Setting(NO_GAIN)


def tune(
    field: VelocityField,
    settings: Sequence[Setting] | None = None,
    *,
    objective: Objective,
    distance: Distance | Callable[[np.ndarray], float],
    bound: float,
    key: PRNGKeyArray,
    num_samples: int = 1000,
    shape: EventShape | None = None,
    cond: PyTree[Any] | None = None,
    solver: diffrax.AbstractSolver | None = None,
    num_steps: int | None = None,
    grid: str | ArrayLike | Sequence[float] = "uniform",
    batch_size: int | None = None,
    confidence: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
    progress: bool | None = None,
) -> Tuning:
    """The setting with the least mean score whose samples stay near real data, or no gain.

    1. Every setting and no gain are sampled from one noise. A setting is a candidate if it fails
       for no more samples than no gain does, the interval of the change of its distance ends at or
       below `bound`, and that of the change of its mean score lies below 0. The intervals are
       paired, and hold together for all settings and both axes (a Bonferroni correction).
    2. The candidate with the least score, among those that no other beats in both axes, is chosen.
    3. It is sampled from fresh noise, beside no gain. It is the answer if there the interval of its
       change of the score lies below 0, the distance has changed by no more than `bound`, and it
       fails for no more samples. Otherwise the answer is no gain. So the answer is never a setting
       that was worse in both axes there.

    A lower share of copies is no proof that copies were prevented: under KTS as under a free gain a
    sample may keep its nearest training row and only move away from it. Look at the samples, and at
    `memorization(completed=, plain=).kept_copies`.

    Args:
        field: the velocity field, without the gain that is tuned.
        settings: gains, time grids or other settings, such as `kts_settings`, `profile_grids` or
            the one of `gain_by_gradients`. Default: `kts_settings()`.
        objective: from `Drawn` to a score for each sample, (batch,), lower is better, NaN for
            unknown: `copies_of`, `snap_of`, or a function of your own.
        distance: of the samples before completion: `frechet_to`, `kernel_to`, or a
            function of their flat rows (n, d), such as a `FrechetReference`.
        bound: the greatest change of the distance over no gain that is allowed, at least 0.
        key: of the noise: rows 0 to n − 1 of `noise` for the search, n to 2 n − 1 for the
            confirmation.
        num_samples: n, the samples of each setting, at least 2.
        shape: the event's shape; None: that of the field.
        cond: conditions of the n samples, reused for the fresh ones; a single row is for all.
        solver: as in `sample`; `options` of a setting override this and the next two.
        num_steps: as in `sample`.
        grid: as in `sample`.
        batch_size: samples that are in memory together; None: all.
        confidence: level of the intervals, in (0, 1).
        resamples: bootstrap draws of the distance, each of which takes it once for each setting.
        seed: of the bootstrap.
        progress: whether to draw progress bars; None: on a terminal only.

    Returns:
        The chosen setting, or no gain, with the reason, and what every setting measured.

    Raises:
        ValueError: if an argument is of a wrong kind or out of range, a setting's name is taken, or
            its gain reaches 0, which stops or reverses the flow; if no sample without a gain has a
            score, or a score or feature has a wrong shape.

    Example:
        The flow of two rows: under every gain samples end on one of them, once completed.

        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField
        >>> from kinetic_jax.tuning import copies_of, frechet_to, kts_settings, tune
        >>> rows = jnp.array([[2.0, 0.0], [-2.0, 0.0]])
        >>> result = tune(
        ...     EmpiricalField(rows), kts_settings(beta0=[0.02]), objective=copies_of(rows),
        ...     distance=frechet_to(rows), bound=0.5, key=jax.random.key(0), num_samples=50,
        ...     num_steps=20)
        >>> result.setting.name, result.reason
        ('no gain', 'no setting has clearly lower scores within the bound')
        >>> print(result.to_markdown().splitlines()[0])
        | setting | objective | its change | distance | its change | |
    """
    field, bound = as_field(field), real_number("bound", bound)
    require(bound >= 0, "bound", bound, "be at least 0")
    require(callable(objective), "objective", short(objective), "be a function of Drawn")
    require_key("key", key)
    require_known("key", key)
    check_progress(progress)
    solver_is_known = solver is None or isinstance(solver, diffrax.AbstractSolver)
    require(solver_is_known, "solver", short(solver), "be an instance of a diffrax.AbstractSolver")
    number = whole_number("num_samples", num_samples, 2)
    event = shape_of(field, shape)
    checked_event_shape(event, "shape", 0)
    time_nodes(grid, num_steps, None, None, np.dtype(np.float32))
    refuse_memmap("cond", cond)
    search = Search(
        field=field,
        objective=objective,
        distance=checked_distance(distance),
        key=key,
        num_samples=number,
        shape=event,
        cond=conditions_of(_in_this_process(cond), number, "num_samples"),
        options={"solver": solver, "num_steps": num_steps, "grid": grid},
        batch_size=number if batch_size is None else whole_number("batch_size", batch_size, 1),
        confidence=fraction("confidence", confidence),
        resamples=whole_number("resamples", resamples, 2),
        seed=whole_number("seed", seed, 0),
    )
    if search.cond is not None:
        field.check_cond(search.cond)
    tried = checked_settings(kts_settings() if settings is None else settings, field)
    return _tuned(search, tried, bound, progress)


def _in_this_process(cond: PyTree[Any]) -> PyTree[Any]:
    """Conditions in this process: batches are slices of them."""
    return jax.tree.map(lambda leaf: gathered("cond", leaf), cond)


def _tuned(
    search: Search, settings: tuple[Setting, ...], bound: float, progress: bool | None
) -> Tuning:
    level = 1 - (1 - search.confidence) / (2 * len(settings))
    results = _results("tuning", search, settings, 0, level, progress)
    failed = results[0].num_failed
    known = [one for one in results if np.isfinite([one.objective, one.distance]).all()]
    candidates = [
        one
        for one in known[1:]
        if one.num_failed <= failed
        and one.distance_change.high <= bound
        and one.objective_change.high < 0
    ]
    tuning = Tuning(
        setting=_KEPT,
        reason="no setting has clearly lower scores within the bound",
        results=tuple(results),
        front=tuple(one.setting.name for one in _front(known)),
        promised=None,
        confirmed=None,
        expected_objective=None,
        expected_distance=None,
        bound=bound,
        confidence=search.confidence,
        num_samples=search.num_samples,
    )
    if not candidates:
        return tuning
    promised = min(_front(candidates), key=_score)
    fresh = (promised.setting,)
    no_gain, confirmed = _results(
        "confirming", search, fresh, search.num_samples, search.confidence, progress
    )
    setting, reason = _answer(no_gain, confirmed, bound)
    return tuning._replace(
        setting=setting,
        reason=reason,
        promised=promised,
        confirmed=confirmed,
        expected_objective=expected_again(promised.objective_change),
        expected_distance=expected_again(promised.distance_change),
    )


def _answer(no_gain: SettingResult, confirmed: SettingResult, bound: float) -> tuple[Setting, str]:
    """The answer by the results on fresh noise, and the reason for it."""
    name = confirmed.setting.name
    if confirmed.num_failed > no_gain.num_failed:
        return _KEPT, f"on fresh noise {name} fails for more samples"
    if not confirmed.objective_change.high < 0:
        return _KEPT, f"on fresh noise {name} has no clearly lower scores"
    if not confirmed.distance_change.value <= bound:
        return _KEPT, f"on fresh noise {name} is beyond the bound"
    return confirmed.setting, "the least scores within the bound, and confirmed on fresh noise"


def _results(
    title: str,
    search: Search,
    settings: tuple[Setting, ...],
    first: int,
    level: float,
    progress: bool | None,
) -> list[SettingResult]:
    """No gain and the settings on the noise from number `first` on."""
    total, done = search.num_batches * (len(settings) + 1), 0
    results: list[SettingResult] = []
    no_gain: Measured | None = None
    with progress_bar(title, total, show=progress) as update:
        for setting in (_KEPT, *settings):

            def advance(name: str = setting.name) -> None:
                nonlocal done
                done += 1
                update(done, name)

            own = measured(search, setting, first, advance)
            if no_gain is None:
                no_gain = own
                has_scores = bool(np.any(own.is_valid))
                require(has_scores, "objective", "none", "score some sample without a gain")
            results.append(compared(search, setting, own, no_gain, level))
    return results


def _front(results: list[SettingResult]) -> list[SettingResult]:
    """Those that no other beats in score and distance, as measured."""
    points = np.array([[one.objective, one.distance] for one in results]).reshape(-1, 2)
    beaten = beaten_by(*points.T)
    return [one for one, by in zip(results, beaten, strict=True) if not by]


def _score(result: SettingResult) -> float:
    return result.objective
