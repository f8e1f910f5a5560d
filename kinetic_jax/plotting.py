"""The picture of a diagnosed job."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kinetic_jax.experiments._figures import COPY_COLOR, ENERGY_LABEL, png
from kinetic_jax.jobs import Diagnosis

TITLES = {"total": ENERGY_LABEL, "excess": "straightness excess (E less displacement)"}
SHOWN = (0.001, 0.999)  # quantiles; a few far out would squeeze the others into one bar


def diagnosis_figure(found: Diagnosis) -> bytes:
    """How energy and excess are spread, copies apart, and F_mem by fifth of each; PNG bytes."""
    fifths = found.summary["fifths"]
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, len(fifths), sharey="row", squeeze=False)
    good = (found.table["status"] == 0) & found.memorization.valid
    copies = found.memorization.memorized[good]
    for column, (name, groups) in enumerate(fifths.items()):
        above, below = axes[:, column]
        if not groups:
            above.text(0.5, 0.5, "no finite samples", ha="center", transform=above.transAxes)
            continue
        _histogram(above, found.table[name][good].astype(np.float64), copies)
        for group in groups[1:]:
            above.axvline(group["range"][0], color="#bbbbbb", linewidth=1, zorder=0)
        above.set(xlabel=f"{TITLES[name]}; grey lines part the fifths")
        _by_fifth(below, groups, found.summary["confidence"])
        if found.memorization.held_out is not None:
            floor = 100 * found.memorization.held_out.fraction
            below.axhline(floor, color="#777777", linestyle=":", label="held-out data")
        below.set(xlabel=f"fifth of the samples by {name}, lowest to highest")
    axes[0, 0].set_ylabel("samples")
    axes[1, 0].set_ylabel("F_mem in %")
    axes[1, 0].set_ylim(bottom=-0.03 * axes[1, 0].get_ylim()[1])
    for axis in axes[:, 0]:
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=9)
    return png(figure)


def _histogram(axis: Axes, energy: np.ndarray, copies: np.ndarray) -> None:
    low, high = np.quantile(energy, SHOWN)
    bins = list(np.histogram_bin_edges(energy, bins=60, range=(low, max(high, low + 1e-6))))
    groups = [energy[~copies], energy[copies]]
    labels = [f"not memorised ({len(groups[0]):,})", f"memorised ({len(groups[1]):,})"]
    axis.hist(groups, bins, stacked=True, color=["#7fa8c9", COPY_COLOR], label=labels)


def _by_fifth(axis: Axes, groups: list[dict[str, Any]], confidence: float) -> None:
    x = np.arange(1, len(groups) + 1)
    middle = 100 * np.array([group["f_mem"] for group in groups])
    ends = 100 * np.array([group["f_mem_interval"] for group in groups]).T
    axis.errorbar(x, middle, yerr=np.abs(ends - middle), color=COPY_COLOR, marker="o", capsize=4,
                  label=f"samples, {100 * confidence:g}% intervals")  # fmt: skip
    axis.set_xticks(x)
