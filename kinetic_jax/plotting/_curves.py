"""Quantities over the time of a path, and over the steps of a training."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from kinetic_jax._checks import real_array, require
from kinetic_jax.plotting._style import (
    COLORS,
    ENERGY_LABEL,
    TIME_LABEL,
    Axes,
    Figure,
    SubFigure,
    axes_of,
    figure_of,
    legend_above,
    style,
)
from kinetic_jax.sampling import Trajectories


class Curve(NamedTuple):
    """A quantity over times or steps.

    Attributes:
        x: times or steps, shape (points,).
        value: the quantity, shape (points,).
        low: lower ends of its intervals, shape (points,); None for none.
        high: upper ends.
    """

    x: Shaped[ArrayLike, " points"]
    value: Float[ArrayLike, " points"]
    low: Float[ArrayLike, " points"] | None = None
    high: Float[ArrayLike, " points"] | None = None


def mean_curve(x: Shaped[ArrayLike, " points"], values: Float[ArrayLike, "n points"]) -> Curve:
    """The mean over samples at each point, with its normal interval of 95%.

    Args:
        x: times or steps, shape (points,).
        values: one row per sample, shape (n, points), n ≥ 1.

    Returns:
        The curve, for `by_time`.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.plotting import mean_curve
        >>> mean_curve(np.array([0.0, 0.5]), np.array([[1.0, 2.0], [3.0, 2.0]])).value
        array([2., 2.])
    """
    points, rows = np.asarray(x, np.float64), np.asarray(values, np.float64)
    fits = rows.ndim == 2 and len(rows) > 0 and rows.shape[1:] == points.shape
    require(fits, "values", rows.shape, f"have shape (n, {points.size}), n >= 1")
    mean, half = rows.mean(axis=0), 1.96 * rows.std(axis=0) / np.sqrt(len(rows))
    return Curve(points, mean, mean - half, mean + half)


def by_time(
    curves: Mapping[str, Curve],
    *,
    ylabel: str,
    tau_split: float | None = None,
    log: bool = False,
    axes: Axes | None = None,
) -> Axes:
    """Curves over the time of the path, with their intervals as bands.

    Args:
        curves: by name; curves that coincide stay visible, as earlier ones are broader.
        ylabel: the quantity.
        tau_split: end of the launch, marked by a grey line.
        log: draw the quantity on a logarithmic scale.
        axes: the axes; new ones by default.

    Returns:
        The axes, drawn on.

    Raises:
        ValueError: if there are no curves, or the arrays of one differ in shape.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.plotting import Curve, by_time
        >>> by_time({"no gain": Curve(np.arange(3), np.ones(3))}, ylabel="gain").get_ylabel()
        'gain'
    """
    require(len(curves) > 0, "curves", "none", "not be empty")
    axes = axes_of(axes, 7.0, 3.2)
    for number, (name, curve) in enumerate(curves.items()):
        color, points = COLORS[number % len(COLORS)], _checked(name, curve)
        behind = len(curves) - 1 - number
        width = 1.4 + 0.2 * len(curves) * min(behind, 5)
        axes.plot(points.x, points.value, color=color, label=name, linewidth=width)
        if points.low is not None and points.high is not None:
            axes.fill_between(
                points.x, points.low, points.high, color=color, alpha=0.25, linewidth=0
            )
    if tau_split is not None:
        axes.axvline(tau_split, color="#bbbbbb", linewidth=1, zorder=0)
    axes.set(xlabel=TIME_LABEL, ylabel=ylabel, yscale="log" if log else "linear")
    axes.grid(alpha=0.25)
    if any(curves):
        axes.legend(frameon=False, fontsize=9)
    return axes


def _checked(name: str, curve: Curve) -> Curve:
    require(isinstance(curve, Curve), f"curves[{name!r}]", type(curve).__name__, "be a Curve")
    arrays = [None if part is None else np.asarray(part, np.float64) for part in curve]
    x = arrays[0]
    for part, array in zip(Curve._fields, arrays, strict=True):
        if x is not None and array is not None:
            require(array.shape == x.shape, f"{part} of {name!r}", array.shape, f"be {x.shape}")
    return Curve(*arrays)  # type: ignore[arg-type]


def energy_and_profile(
    runs: Mapping[str, Trajectories],
    *,
    gains: Mapping[str, Float[ArrayLike, " steps"]] | None = None,
    tau_split: float | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """The energies of samples, their speed over time, and the gain that shaped it under it.

    Boxes are quartiles of the energies, whiskers hold 95% of them; the band around a speed is the
    95% interval of its mean. Failed samples are left out.

    Args:
        runs: trajectories on fixed grids by name.
        gains: η at the left end of each step, shape (steps,), by name of the run; without, no
            panel of it is drawn.
        tau_split: end of the launch, marked by a grey line.
        figure: the figure; a new one by default.

    Returns:
        The figure.

    Raises:
        ValueError: if there are no runs, one has no profile (it was sampled under adaptive
            control) or no valid samples, or a gain is of none of the runs.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import sample
        >>> from kinetic_jax.plotting import energy_and_profile
        >>> run = sample(lambda t, x, cond: x, jnp.ones((3, 2)), num_steps=4)
        >>> len(energy_and_profile({"growth": run}, gains={"growth": jnp.ones(4)}).axes)
        3
    """
    is_named = isinstance(runs, Mapping)
    require(is_named, "runs", type(runs).__name__, 'hold runs by name, as {"no gain": run}')
    require(len(runs) > 0, "runs", "none", "not be empty")
    gains = {} if gains is None else gains
    others = sorted(set(gains) - set(runs))
    require(not others, "gains", others, f"name runs among {sorted(runs)}")
    profiles, energies = {}, {}
    for name, run in runs.items():
        if run.profile is None:
            raise ValueError(f"runs must be on fixed grids, got {name!r} under adaptive control")
        is_valid = np.asarray(run.status) == 0
        require(bool(is_valid.any()), f"run {name!r}", "no valid samples", "have some")
        energies[name] = np.asarray(run.energy.total, np.float64)[is_valid]
        speeds = np.asarray(run.profile.speed2, np.float64)[is_valid]
        profiles[name] = mean_curve(np.asarray(run.profile.ts), speeds)
    figure = figure_of(figure, 11.0, 4.6 if gains else 3.4)
    panels = figure.subplot_mosaic(
        "ep;eg" if gains else "ep",
        width_ratios=(2, 3),
        height_ratios=(3.0, 1.5) if gains else None,
    )
    _boxes(panels["e"], energies)
    profile = by_time(profiles, ylabel="mean ||u||²", tau_split=tau_split, axes=panels["p"])
    profile.legend().remove()  # the names are those of the energies
    if gains:
        profile.sharex(panels["g"])
        profile.set_xlabel("")
        profile.tick_params(labelbottom=False)
        steps = {name: Curve(profiles[name].x, gains[name]) for name in runs if name in gains}
        shaping = by_time(steps, ylabel="gain η(t)", tau_split=tau_split, axes=panels["g"])
        shaping.legend().remove()
        names = list(runs)  # a gain has the colour of its run
        for line, name in zip(shaping.get_lines(), steps, strict=False):
            line.set_color(COLORS[names.index(name) % len(COLORS)])
    return figure


def _boxes(axes: Axes, energies: Mapping[str, np.ndarray]) -> None:
    """Quartiles of each run's energies, and the range of 95% of them, in the run's colour."""
    rows = range(len(energies))
    axes.set_yticks(rows, list(energies))
    labels = axes.get_yticklabels()
    for row, label, values in zip(rows, labels, energies.values(), strict=True):
        color = COLORS[row % len(COLORS)]
        low, q1, median, q3, high = np.quantile(values, [0.025, 0.25, 0.5, 0.75, 0.975])
        axes.plot([low, high], [row, row], color=color, linewidth=1.4)
        axes.plot([q1, q3], [row, row], color=color, linewidth=9, solid_capstyle="butt")
        axes.plot(median, row, color="white", marker="|", markersize=9, markeredgewidth=2)
        label.set_color(color)
    axes.set_ylim(len(energies) - 0.5, -0.5)
    axes.set_xlabel(ENERGY_LABEL)
    axes.grid(alpha=0.25, axis="x")


def energy_by_step(
    panels: Mapping[str, Mapping[str, Curve]],
    *,
    onset: int | None = None,
    columns: int = 3,
    log: bool = False,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Energies and other quantities along one or several trainings, one panel per quantity.

    Args:
        panels: by quantity, the curves over training steps by name of the training.
        onset: a step that is marked in every panel.
        columns: number of columns of panels.
        log: draw the quantities on logarithmic scales.
        figure: the figure; a new one by default.

    Returns:
        The figure.

    Raises:
        ValueError: if there are no panels, or the arrays of a curve differ in shape.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.plotting import Curve, energy_by_step
        >>> steps = np.array([100, 1000])
        >>> len(energy_by_step({"E": {"training": Curve(steps, np.array([4.0, 5.0]))}}).axes)
        1
    """
    require(len(panels) > 0, "panels", "none", "not be empty")
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = figure_of(figure, 3.7 * columns, 2.2 * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, (quantity, curves) in zip(grid.flat, panels.items(), strict=False):
        for number, (name, curve) in enumerate(curves.items()):
            x, value, low, high = _checked(name, curve)
            errors = None
            if low is not None and high is not None:
                errors = np.maximum([np.subtract(value, low), np.subtract(high, value)], 0)
            size = 5 if np.size(x) < 30 else 0
            axes.errorbar(
                x, value, errors, **style(number), markersize=size, capsize=size / 2, label=name
            )
        axes.set_title(quantity, fontsize=10)
        axes.set(xscale="log", yscale="log" if log else "linear")
        axes.grid(alpha=0.25)
        if onset is not None:
            axes.axvline(onset, color="#777777", linestyle=":")
    legend_above(figure, grid.flat[0], columns=3)
    marked = "" if onset is None else f"; dotted: step {onset:,}"
    figure.supxlabel(f"training steps{marked}", fontsize=10)
    return figure


def paths(run: Trajectories, *, axes: Axes | None = None) -> Axes:
    """Paths in two dimensions, brighter with more energy; their ends are black.

    Args:
        run: trajectories of shape (batch, 2), with saved paths.
        axes: the axes; new ones by default.

    Returns:
        The axes, drawn on.

    Raises:
        ValueError: if the samples are not points in two dimensions, or no path was saved.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import sample
        >>> from kinetic_jax.plotting import paths
        >>> run = sample(lambda t, x, cond: x, jnp.ones((3, 2)), num_steps=4, save_at=True)
        >>> len(paths(run).lines)
        4
    """
    from matplotlib import colormaps

    if run.path is None:
        raise ValueError("run must have saved paths: sample with save_at=True")
    points, energy = np.asarray(run.path), real_array("energy", run.energy.total)
    require(points.shape[2:] == (2,), "run", f"samples of shape {points.shape[2:]}", "be of (2,)")
    axes = axes_of(axes, 6.0, 4.4)
    span = max(float(np.ptp(energy)), np.finfo(float).tiny)
    shades = colormaps["viridis"]((energy - energy.min()) / span)
    for path, color in zip(points, shades, strict=True):
        axes.plot(*path.T, color=color, linewidth=0.6)
    axes.plot(*np.asarray(run.x1).T, "k.", markersize=2)
    axes.set(xlabel="x", ylabel="y", aspect="equal")
    return axes
