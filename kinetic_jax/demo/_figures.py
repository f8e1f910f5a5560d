"""Figures of the demo, as PNG bytes; without Matplotlib's global state."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kinetic_jax.demo._rows import RowPlan
from kinetic_jax.demo._statistics import RowResult
from kinetic_jax.plotting import COPY_COLOR, ENERGY_LABEL, png

COLORS = ("#222222", "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#999999")
MARKERS = ("o", "s", "^", "v", "D", "X")


def sample_grid(row: RowResult, train: np.ndarray, *, columns: int = 14) -> bytes:
    """Samples from low to high energy, each above its nearest training image."""
    order = np.argsort(row.energy["total"], kind="stable")
    figure = Figure(figsize=(9, 7.2), layout="constrained")
    axes = figure.subplots(10, columns, gridspec_kw={"hspace": 0.02, "wspace": 0.02})
    for fifth, members in enumerate(np.array_split(order, 5)):
        picks = members[np.linspace(0, len(members) - 1, columns).round().astype(int)]
        for column, sample in enumerate(picks):
            above, below = axes[2 * fifth, column], axes[2 * fifth + 1, column]
            _digit(above, row.images[sample], COPY_COLOR if row.memorized[sample] else None)
            _digit(below, train[row.indices[sample]], None)
        low, high = row.energy["total"][members[[0, -1]]]
        axes[2 * fifth, 0].set_ylabel(
            f"E {low:.0f}\nto {high:.0f}", rotation=0, ha="right", va="center", fontsize=9
        )
        axes[2 * fifth + 1, 0].set_ylabel(
            "nearest", rotation=0, ha="right", va="center", fontsize=9, color="#777777"
        )
    figure.suptitle(
        "Samples by fifths of energy, lowest at the top; below each its nearest training image.\n"
        "Framed: memorised.",
        fontsize=11,
    )
    return png(figure)


def _digit(axis: Axes, image: np.ndarray, frame: str | None) -> None:
    axis.imshow(image, cmap="gray_r", vmin=-1, vmax=1)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(frame or "#dddddd")
        spine.set_linewidth(2.5 if frame else 0.5)


def energy_histogram(row: RowResult) -> bytes:
    """Histogram of the energy, with copies in another colour."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axis = figure.subplots()
    energy = row.energy["total"]
    bins = np.histogram_bin_edges(energy, bins=40)
    groups = [energy[~row.memorized], energy[row.memorized]]
    labels = [f"not memorised ({len(groups[0])})", f"memorised ({len(groups[1])})"]
    axis.hist(groups, bins=list(bins), stacked=True, color=["#7fa8c9", COPY_COLOR], label=labels)
    axis.set(xlabel=ENERGY_LABEL, ylabel="samples")
    axis.legend(frameon=False)
    return png(figure)


def speed_profile(plans: list[RowPlan], rows: list[RowResult], tau_split: float) -> bytes:
    """Mean ||u||² and gain over t for every row."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    speed, gain = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1.4)})
    for plan, row, color in zip(plans, rows, COLORS, strict=True):
        style = "--" if plan.stop_at < 1 else "-"
        # KTS coincides with the launch row, then with the landing row; a broad line stays visible.
        width = {"linewidth": 4.5, "alpha": 0.45} if plan.name == "KTS" else {}
        speed.plot(row.ts, row.speed2, color=color, linestyle=style, label=plan.name, **width)
        gain.plot(row.ts, plan.gain[: len(row.ts)], color=color, linestyle=style, **width)
    for axis in (speed, gain):
        axis.axvline(tau_split, color="#bbbbbb", linewidth=1, zorder=0)
    speed.set(ylabel="mean ||u||²")
    speed.legend(frameon=False, fontsize=9, ncols=2)
    gain.set(xlabel="time t (0 noise, 1 data); the grey line is tau_split", ylabel="gain η(t)")
    return png(figure)


def goldilocks(fifths: dict[str, list[dict[str, Any]]], held_out: dict[str, Any]) -> bytes:
    """Confidence and F_mem by fifths of energy and of its straightness excess."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(2, len(fifths), sharex=True, sharey="row", squeeze=False)
    titles = {"total": "by kinetic path energy", "excess": "by straightness excess"}
    for column, (part, groups) in enumerate(fifths.items()):
        x = np.arange(1, len(groups) + 1)
        for row, (name, label, color) in enumerate(
            (("confidence", "classifier confidence", "#0072b2"), ("f_mem", "F_mem", COPY_COLOR))
        ):
            axis = axes[row, column]
            middle = np.array([group[name] for group in groups])
            ends = np.array([group[f"{name}_interval"] for group in groups]).T
            axis.errorbar(x, middle, yerr=np.abs(ends - middle), color=color, marker="o", capsize=4)
            axis.axhline(held_out[name], color="#777777", linestyle=":", label="held-out digits")
            if column == 0:
                axis.set_ylabel(label)
        axes[0, column].set_title(titles[part], fontsize=11)
        axes[1, column].set_xlabel("fifth of the samples, lowest to highest")
        axes[1, column].set_xticks(x)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=9)
    return png(figure)


def memorization_front(table: list[dict[str, Any]], held_out: dict[str, Any]) -> bytes:
    """F_mem against Fréchet distance, with the scores of held-out digits."""
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axis = figure.subplots()
    for row, color, marker in zip(table, COLORS, MARKERS, strict=True):
        low, high = row["f_mem_interval"]
        axis.errorbar(
            row["frechet"],
            100 * row["f_mem"],
            yerr=[[100 * (row["f_mem"] - low)], [100 * (high - row["f_mem"])]],
            color=color,
            marker=marker,
            markersize=8,
            capsize=4,
            linestyle="none",
            label=row["name"],
        )
    axis.axhline(100 * held_out["f_mem"], color="#777777", linestyle=":", label="held-out digits")
    axis.axvline(
        held_out["frechet_floor"],
        color="#777777",
        linestyle="-.",
        linewidth=1,
        label="two halves of held-out digits",
    )
    axis.set(
        xlabel="Fréchet distance to held-out digits, in classifier features (lower is better)",
        ylabel="F_mem in % (lower is better)",
    )
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=-0.03 * axis.get_ylim()[1])
    figure.legend(loc="outside lower center", frameon=False, fontsize=9, ncols=3)
    return png(figure)
