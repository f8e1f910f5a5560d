"""Pictures of the claims, as PNG bytes; Matplotlib's own objects, no global state."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kinetic_jax.plotting import png

COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#222222",
    "#999999",
    "#882255",
    "#44aa99",
    "#332288",
    "#8a6d00",
    "#aa4499",
    "#117733",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h", "<", ">", "p", "d", "1")


def _bars(
    axis: Axes, x: Any, found: list[dict[str, Any]], *, flat: bool = False, **style: Any
) -> None:
    """Points with their intervals; `flat`: the intervals lie along x."""
    middle = np.array([one.get("value", one.get("mean")) for one in found], float)
    ends = np.array([[one["low"], one["high"]] for one in found], float).T
    error = np.maximum(np.abs(ends - middle), 0)
    places = {"x": middle, "y": x, "xerr": error} if flat else {"x": x, "y": middle, "yerr": error}
    axis.errorbar(**places, **({"capsize": 3, "markersize": 5, "elinewidth": 1.2} | style))


def by_group(
    panels: dict[str, dict[str, list[dict[str, Any]]]], label: str, *, columns: int
) -> bytes:
    """A panel for every quantity, a line for every series, a point for every group.

    Args:
        panels: by the label of its y axis (a second line is its title), series of groups by name.
        label: of the x axes.
        columns: of panels.
    """
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.2 * columns, 2.9 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, (name, series) in zip(axes.flat, panels.items(), strict=True):
        words, _, title = name.partition("\n")
        for number, (line, groups) in enumerate(series.items()):
            x = np.arange(1, len(groups) + 1) + 0.06 * (number - (len(series) - 1) / 2)
            _bars(axis, x, groups, color=COLORS[number], marker=MARKERS[number], label=line)
        axis.set_ylabel(words)
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(1, len(groups) + 1))
        axis.grid(alpha=0.25)
    figure.supxlabel(label, fontsize=10)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return png(figure)


def dots(
    panels: dict[str, dict[str, dict[str, dict[str, Any]]]], label: str, *, centre: float = 0.0
) -> bytes:
    """A panel for every model, a row for every quantity, a dot for every series."""
    some = next(iter(panels.values()))
    quantities = list(next(iter(some.values())))
    figure = Figure(
        figsize=(4.4 * max(len(panels), 1.6), 0.42 * len(quantities) + 1.6), layout="constrained"
    )
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, series) in zip(axes, panels.items(), strict=True):
        for number, (name, values) in enumerate(series.items()):
            y = np.arange(len(quantities)) + 0.16 * (number - (len(series) - 1) / 2)
            style = {"color": COLORS[number], "marker": MARKERS[number], "linestyle": "none"}
            _bars(axis, y, list(values.values()), flat=True, label=name, **style)
        axis.axvline(centre, color="#888888", linewidth=1)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.25, axis="x")
    axes[0].set_yticks(range(len(quantities)), quantities)
    axes[0].invert_yaxis()
    figure.supxlabel(label, fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    if any(labels):
        figure.legend(
            handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9
        )
    return png(figure)


def speeds(profiles: dict[str, Any], off: dict[str, Any]) -> bytes:
    """Mean ||u||² over t along each flow's own paths; ½||v||² along the learned ones."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    own, along = figure.subplots(1, 2)
    for number, (name, one) in enumerate(profiles.items()):
        ts, mean, error = (np.array(one[key]) for key in ("ts", "speed2", "error"))
        own.plot(ts, mean, color=COLORS[number], label=name)
        band = mean - 1.96 * error, mean + 1.96 * error
        own.fill_between(ts, *band, color=COLORS[number], alpha=0.25, linewidth=0)
    own.set(xlabel="time t (0 noise, 1 data)", ylabel="mean ||u||² along the flow's own paths")
    own.set_ylim(bottom=0)
    own.legend(frameon=False, fontsize=9, loc="lower left")
    for number, (name, words) in enumerate(
        {"exact": "exact flow, along the model's paths", "learned": "the model itself"}.items()
    ):
        ts, one = off["ts"], off[name]
        along.plot(ts, one["value"], color=COLORS[number], label=words)
        along.fill_between(
            ts, one["low"], one["high"], color=COLORS[number], alpha=0.25, linewidth=0
        )
    along.set(xlabel="time t", ylabel="median ½||v||²", yscale="log")
    along.legend(frameon=False, fontsize=9)
    for axis in (own, along):
        axis.grid(alpha=0.25)
    return png(figure)


def fronts(rows: list[dict[str, Any]], held_out: dict[str, Any]) -> bytes:
    """F_mem against the change of Fréchet distance: all rows, and the crowded corner by itself.

    Of the distances only differences are drawn, row by row on the same noise: they are surer than
    the distances themselves, and free of how many samples there are.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    whole, near = figure.subplots(1, 2)
    baseline = rows[0]
    families = list(dict.fromkeys(row["family"] for row in rows))
    for number, family in reversed(list(enumerate(families))):  # no gain on top
        # From no gain on, in the order of strengths: the way that is compared at equal distance.
        own = [row for row in (baseline, *rows[1:]) if row["family"] == family]
        own = own if family == baseline["family"] else [baseline, *own]
        shares = [{k: 100 * v for k, v in row["f_mem"].items()} for row in own]
        moved = [row["frechet change"] for row in own]
        middle = np.array([one["value"] for one in moved])
        ends = np.array([[one["low"], one["high"]] for one in moved]).T
        ours = family.startswith("KTS") or family == baseline["family"]
        style: dict[str, Any] = {
            "color": COLORS[number % len(COLORS)],
            "marker": MARKERS[number % len(MARKERS)],
            "linestyle": "-" if ours else ":",
            "linewidth": 1.2,
        }
        for axis in (whole, near):
            _bars(axis, middle, shares, label=family, xerr=np.abs(ends - middle), **style)
    floor = held_out["frechet"] - held_out["no gain"]
    for axis in (whole, near):
        axis.axhline(
            100 * held_out["f_mem"]["value"],
            color="#777777",
            linestyle="--",
            label="held-out images: F_mem",
        )
        axis.axvline(floor, color="#777777", linestyle="-.", label="held-out images: distance")
        axis.grid(alpha=0.25)
    whole.set_ylabel("F_mem in % (lower is better)")
    whole.set_title("all settings", fontsize=10)
    near.set_title("near no gain", fontsize=10)
    size = baseline["frechet"]["value"]
    near.set_xlim(-0.15 * size, 0.1 * size)
    figure.supxlabel(
        f"change of the Fréchet distance to held-out images, which without a gain is {size:.2f} "
        "(classifier features)",
        fontsize=10,
    )
    known = dict(zip(*reversed(whole.get_legend_handles_labels()), strict=True))
    labels = families + [words for words in known if words not in families]
    figure.legend(
        [known[words] for words in labels],
        labels,
        loc="outside upper center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    return png(figure)


def rows(panels: dict[str, dict[str, dict[str, Any]]]) -> bytes:
    """A row for every setting, a panel for every quantity, intervals along x."""
    names = list(next(iter(panels.values())))
    families = [name.split(":")[0] for name in names]
    colors = dict(zip(dict.fromkeys(families), COLORS, strict=False))
    figure = Figure(figsize=(10, 0.3 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    for axis, (label, values) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        for place, (name, family) in enumerate(zip(names, families, strict=True)):
            style = {"color": colors[family], "marker": "o", "linestyle": "none"}
            _bars(axis, [place], [values[name]], flat=True, **style)
        axis.axvline(0, color="#888888", linewidth=1)
        axis.set_xlabel(f"{label}, 95%")
        axis.grid(alpha=0.25, axis="x")
    first = np.atleast_1d(axes)[0]
    first.set_yticks(range(len(names)), names, fontsize=9)
    first.invert_yaxis()
    return png(figure)


def training(
    table: list[dict[str, Any]],
    control: list[dict[str, Any]],
    onset: int | None,
    quantities: dict[str, str],
) -> bytes:
    """F_mem, Fréchet distance and every kinetic quantity over the steps of two trainings."""
    curves: dict[str, Any] = {
        "F_mem in %": lambda one: {k: 100 * v for k, v in one["f_mem"].items()},
        "Fréchet distance": lambda one: one["frechet"],
    }
    curves |= {
        words: lambda one, name=name: one["quantities"][name] for name, words in quantities.items()
    }
    trainings = {"of few images, which it comes to copy": table, "of all images": control}
    figure = Figure(figsize=(11, 7.2), layout="constrained")
    axes = figure.subplots(3, 3, sharex=True)
    for axis, (words, curve) in zip(axes.flat, curves.items(), strict=True):
        for number, (name, rows) in enumerate(trainings.items()):
            steps = [one["step"] for one in rows]
            if rows:
                _bars(
                    axis,
                    steps,
                    [curve(one) for one in rows],
                    color=COLORS[number],
                    marker=MARKERS[number],
                    label=f"model {name}",
                )
        axis.set_title(words, fontsize=10)
        axis.set_xscale("log")
        axis.grid(alpha=0.25)
        if onset is not None:
            axis.axvline(onset, color="#777777", linestyle=":")
    figure.legend(
        *axes.flat[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=2,
        frameon=False,
        fontsize=9,
    )
    dotted = "" if onset is None else "; dotted: F_mem first clearly above held-out images"
    figure.supxlabel(f"training steps{dotted}", fontsize=10)
    figure.supylabel(
        "F_mem, distance, and means of kinetic quantities (½ Σ over pixels)", fontsize=10
    )
    return png(figure)
