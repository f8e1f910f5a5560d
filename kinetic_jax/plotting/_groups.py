"""Statistics by energy group, and estimates with their intervals in rows."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from kinetic_jax._checks import require
from kinetic_jax.metrics import EnergyGroup
from kinetic_jax.plotting._style import (
    REFERENCE_COLOR,
    Estimate,
    Figure,
    Interval,
    SubFigure,
    error_bars,
    figure_of,
    legend_above,
    style,
)

GROUP_LABEL = "fifth of the samples by the quantity, lowest to highest"


def by_energy_group(
    panels: Mapping[str, Mapping[str, Sequence[EnergyGroup]]],
    *,
    references: Mapping[str, float] | None = None,
    xlabel: str = GROUP_LABEL,
    columns: int | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Any statistics of samples by group of their energy, or of other quantities.

    Args:
        panels: by label of the statistic, the groups of `energy_groups` by name of the quantity
            by which samples were grouped.
        references: by label of the statistic, its value for held-out data, a dotted line.
        xlabel: label of the groups.
        columns: number of columns of panels; by default all are in one row.
        figure: the figure; a new one by default.

    Returns:
        The figure.

    Raises:
        ValueError: if there are no panels, a panel has no groups, or a reference is of no panel.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import energy_groups
        >>> from kinetic_jax.plotting import by_energy_group
        >>> groups = energy_groups(np.arange(20.0), np.arange(20) > 12)
        >>> len(by_energy_group({"F_mem": {"energy E": groups}}, references={"F_mem": 0.1}).axes)
        1
    """
    require(len(panels) > 0, "panels", "none", "not be empty")
    references = {} if references is None else references
    others = sorted(set(references) - set(panels))
    require(not others, "references", others, f"name panels among {sorted(panels)}")
    columns = len(panels) if columns is None else columns
    rows = math.ceil(len(panels) / columns)
    figure = figure_of(figure, max(4.2 * columns, 6.0), 2.9 * rows + 0.9)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, (label, series) in zip(grid.flat, panels.items(), strict=False):
        sizes = [len(groups) for groups in series.values()]
        require(any(sizes), f"panel {label!r}", "no groups", "have some")
        for number, (name, groups) in enumerate(series.items()):
            places = np.arange(1, len(groups) + 1) + 0.06 * (number - (len(series) - 1) / 2)
            means = [Interval(group.mean, group.low, group.high) for group in groups]
            error_bars(axes, places, means, **style(number), label=name)
        if label in references:
            line = {"color": REFERENCE_COLOR, "linestyle": ":", "label": "held-out data"}
            axes.axhline(references[label], **line)
        axes.set_ylabel(label)
        axes.set_xticks(range(1, max(sizes) + 1))
        axes.grid(alpha=0.25)
    figure.supxlabel(xlabel, fontsize=10)
    legend_above(figure, grid.flat[0], columns=4)
    return figure


def intervals(
    panels: Mapping[str, Mapping[str, Mapping[str, Estimate]]],
    *,
    xlabel: str = "",
    centre: float = 0.0,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Estimates in rows, with their intervals along x.

    Args:
        panels: by title, by name of the series, the estimates by name of the row. All panels have
            the rows of the first.
        xlabel: label of the estimates.
        centre: the value that means nothing, marked by a line: 0 for a change or a correlation,
            0.5 for an area under the ROC curve.
        figure: the figure; a new one by default.

    Returns:
        The figure.

    Raises:
        ValueError: if there are no panels, or the panels differ in their rows.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import roc_auc
        >>> from kinetic_jax.plotting import intervals
        >>> area = roc_auc(np.arange(9.0), np.arange(9.0) - 2)
        >>> len(intervals({"copies": {"": {"energy E": area}}}, centre=0.5).axes)
        1
    """
    require(len(panels) > 0, "panels", "none", "not be empty")
    names = {title: _row_names(series) for title, series in panels.items()}
    rows = next(iter(names.values()))
    for title, own in names.items():
        require(own == rows, f"panel {title!r}", own, f"have the rows {rows}")
    figure = figure_of(figure, max(4.4 * len(panels), 7.0), 0.34 * len(rows) + 1.5)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, series) in zip(grid, panels.items(), strict=True):
        # Series of the same rows lie beside each other, those of other rows on their own.
        overlap = sum(map(len, series.values())) > len(rows)
        for number, (name, estimates) in enumerate(series.items()):
            shift = 0.16 * (number - (len(series) - 1) / 2) if overlap else 0.0
            places = np.array([rows.index(row) for row in estimates]) + shift
            options = style(number) | {"linestyle": "none", "label": name}
            error_bars(axes, places, list(estimates.values()), is_flat=True, **options)
        axes.axvline(centre, color="#888888", linewidth=1)
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.25, axis="x")
    grid[0].set_yticks(range(len(rows)), rows, fontsize=9)
    grid[0].invert_yaxis()
    figure.supxlabel(xlabel, fontsize=10)
    legend_above(figure, grid[0], columns=4)
    return figure


def _row_names(series: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    return list(dict.fromkeys(row for estimates in series.values() for row in estimates))
