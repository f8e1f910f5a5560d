"""Copies against quality: settings, their controls, and what held-out data score."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kinetic_jax._checks import require
from kinetic_jax.plotting._style import (
    REFERENCE_COLOR,
    Axes,
    Estimate,
    Figure,
    SubFigure,
    figure_of,
    style,
)


class FrontSetting(NamedTuple):
    """One setting in the picture of `fronts`.

    Attributes:
        family: the group of settings that are drawn in one colour.
        f_mem: share of copies.
        distance: distance from real data, or its change.
        is_control: draw its family with a dotted line.
    """

    family: str
    f_mem: Estimate
    distance: Estimate
    is_control: bool = False


def fronts(
    settings: Sequence[FrontSetting],
    *,
    xlabel: str,
    ylabel: str | None = None,
    held_out: tuple[float, float] | None = None,
    baseline: str | None = None,
    zoom: tuple[float, float] | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Copies against a distance from real data; down and to the left is better.

    Args:
        settings: one or several of each family, which are connected in their order.
        xlabel: label of the distance.
        ylabel: label of another score than F_mem, which is then not drawn in %.
        held_out: share of copies and distance of held-out data, drawn as lines.
        baseline: the family without a gain, from which the lines of the others begin.
        zoom: range of distances that a second panel shows by itself.
        figure: the figure; a new one by default.

    Returns:
        The figure.

    Raises:
        ValueError: if there are no settings, `baseline` is not one of their families, or `zoom` is
            not increasing.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import paired_difference
        >>> from kinetic_jax.plotting import FrontSetting, fronts
        >>> change = paired_difference(np.arange(9.0), np.zeros(9))
        >>> len(fronts([FrontSetting("KTS", change, change)], xlabel="distance").axes)
        1
    """
    require(len(settings) > 0, "settings", "none", "not be empty")
    families = list(dict.fromkeys(one.family for one in settings))
    known = baseline is None or baseline in families
    require(known, "baseline", repr(baseline), f"be one of {families}")
    if zoom is not None:
        require(zoom[0] < zoom[1], "zoom", zoom, "be (low, high) with low < high")
    figure = figure_of(figure, 10.0 if zoom else 7.5, 5.4)
    grid = figure.subplots(1, 1 if zoom is None else 2, squeeze=False)[0]
    start = [one for one in settings if one.family == baseline]
    for number, family in reversed(list(enumerate(families))):  # the first ones on top
        own = [one for one in settings if one.family == family]
        for axes in grid:
            settings_of = own if family == baseline else [*start, *own]
            _draw(axes, settings_of, family, number, 100.0 if ylabel is None else 1.0)
    for axes in grid:
        if held_out is not None:
            line = {"color": REFERENCE_COLOR, "linewidth": 1}
            axes.axhline(100 * held_out[0], linestyle="--", label="held-out data: F_mem", **line)
            axes.axvline(held_out[1], linestyle="-.", label="held-out data: distance", **line)
        axes.grid(alpha=0.25)
    if all(one.f_mem.value >= 0 for one in settings):
        grid[0].set_ylim(bottom=-0.03 * grid[0].get_ylim()[1])
    if grid[0].get_xlim()[0] > 0:
        grid[0].set_xlim(left=0)
    grid[0].set_ylabel("F_mem in % (lower is better)" if ylabel is None else ylabel)
    if zoom is not None:
        grid[0].set_title("all settings", fontsize=10)
        grid[1].set_title("near no gain" if baseline else "a part of them", fontsize=10)
        grid[1].set_xlim(*zoom)
    figure.supxlabel(xlabel, fontsize=10)
    handles = dict(zip(*reversed(grid[0].get_legend_handles_labels()), strict=True))
    labels = families + [label for label in handles if label not in families]
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="outside upper center",
        ncols=4 if zoom else 3,
        frameon=False,
        fontsize=9,
    )
    return figure


def _draw(
    axes: Axes, settings: Sequence[FrontSetting], family: str, number: int, scale: float
) -> None:
    errors, values = [], []
    for name, factor in (("f_mem", scale), ("distance", 1.0)):
        estimates = [getattr(one, name) for one in settings]
        ends = np.array([[one.value, one.low, one.high] for one in estimates], np.float64) * factor
        values.append(ends[:, 0])
        errors.append(np.nan_to_num(np.abs(ends[:, 1:] - ends[:, :1])).T)
    axes.errorbar(
        values[1],
        values[0],
        yerr=errors[0],
        xerr=errors[1],
        linestyle=":" if settings[-1].is_control else "-",
        linewidth=1.2,
        elinewidth=1.2,
        markersize=6,
        capsize=3,
        label=family,
        **style(number),
    )
