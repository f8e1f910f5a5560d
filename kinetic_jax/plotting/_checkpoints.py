"""What `compare` measured, against training step."""

from collections.abc import Sequence

import numpy as np

from kinetic_jax._checks import require, short
from kinetic_jax.comparison import Comparison, ModelReport
from kinetic_jax.comparison._table import ENERGIES
from kinetic_jax.metrics import Estimate
from kinetic_jax.plotting._curves import Curve, energy_by_step
from kinetic_jax.plotting._style import Figure, SubFigure

SHARES = {
    "efficiency": "efficiency",
    "snap": "snap against the earliest",
    "snapped": "share that snaps",
    "f_mem": "F_mem",
}
NAN = float("nan")


def comparison_figure(
    comparison: Comparison, *, figure: Figure | SubFigure | None = None
) -> Figure | SubFigure:
    """The quantities of a comparison against training step, with the recommended one marked.

    Models without steps are drawn one after the other.

    Args:
        comparison: from `kinetic_jax.compare`.
        figure: the figure; a new one by default.

    Returns:
        The figure.

    Raises:
        ValueError: if it is no comparison, or no model has two valid samples.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import kinetic_jax as kj
        >>> models = {step: kj.GaussianField(jnp.zeros(2), step / 9) for step in (1, 3, 9)}
        >>> comparison = kj.compare(models, key=jax.random.key(0), num_samples=400, num_steps=4,
        ...                         fewer=(), event_shape=(2,))
        >>> [axes.get_title() for axes in kj.plotting.comparison_figure(comparison).axes][:2]
        ['energy E', 'launch']
    """
    is_comparison = isinstance(comparison, Comparison)
    require(is_comparison, "comparison", short(comparison), "be what compare returned")
    models = comparison.models
    places = _places(models)
    estimates = {
        heading: [getattr(model.energy, name, None) for model in models]
        for name, heading in ENERGIES.items()
    } | {heading: [getattr(model, name) for model in models] for name, heading in SHARES.items()}
    values = {
        f"error of {steps} steps": [_error(model, steps) for model in models]
        for steps in sorted({one.num_steps for model in models for one in model.few_steps})
    } | {"kernel distance to held-out data": [model.distance for model in models]}
    estimates |= {
        heading: [None if number is None else Estimate(number, NAN, NAN) for number in row]
        for heading, row in values.items()
    }
    panels = {
        heading: {"": _curve(places, row)}
        for heading, row in estimates.items()
        if any(estimate is not None for estimate in row)
    }
    require(bool(panels), "comparison", "no valid samples", "have some")
    marked = next((i for i, m in enumerate(models) if m.name == comparison.recommended), None)
    onset = None if marked is None else int(places[marked])
    drawn = energy_by_step(panels, onset=onset, columns=4, figure=figure)
    if models[0].step is None or places[0] == 0:  # 0 has no place on a logarithmic scale
        for axes in drawn.axes:
            axes.set_xscale("linear")
    return drawn


def _places(models: Sequence[ModelReport]) -> np.ndarray:
    steps = [i + 1 if model.step is None else model.step for i, model in enumerate(models)]
    return np.asarray(steps, np.float64)


def _error(model: ModelReport, steps: int) -> float | None:
    return next((one.error for one in model.few_steps if one.num_steps == steps), None)


def _curve(places: np.ndarray, estimates: Sequence[Estimate | None]) -> Curve:
    known = [one is not None for one in estimates]
    rows = [(one.value, one.low, one.high) for one in estimates if one is not None]
    return Curve(places[known], *np.array(rows).T)
