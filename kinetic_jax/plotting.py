"""Figures as PNG bytes, without Matplotlib's global state."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kinetic_jax.jobs import Diagnosis
from kinetic_jax.metrics import EnergyGroup, Memorization

COPY_COLOR = "#d55e00"
ENERGY_LABEL = "kinetic path energy E (½ ∫ ||u||² dt)"
TITLES = {"total": ENERGY_LABEL, "excess": "straightness excess (E less displacement)"}
RANGE = (0.001, 0.999)  # quantiles, as a few outliers would squeeze the other samples into one bar


def png(figure: Figure) -> bytes:
    """The figure as reproducible PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140, metadata={"Software": None})
    return buffer.getvalue()


def diagnosis_figure(diagnosis: Diagnosis) -> bytes:
    """Histograms of energy and excess, and F_mem by fifth of each, as PNG bytes."""
    fifths = diagnosis.fifths
    memorization = diagnosis.memorization
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, len(fifths), sharey="row", squeeze=False)
    is_valid = diagnosis.valid
    copies = memorization.memorized[is_valid]
    for column, (name, groups) in enumerate(fifths._asdict().items()):
        above, below = axes[:, column]
        if not groups.memorized:
            above.text(0.5, 0.5, "no finite samples", ha="center", transform=above.transAxes)
            continue
        _histogram(above, getattr(diagnosis.energy, name)[is_valid].astype(np.float64), copies)
        for group in groups.memorized[1:]:
            above.axvline(group.lowest, color="#bbbbbb", linewidth=1, zorder=0)
        above.set(xlabel=f"{TITLES[name]}; grey lines part the fifths")
        _by_fifth(below, groups.memorized, diagnosis.confidence)
        if memorization.held_out is not None:
            floor = 100 * memorization.held_out.fraction
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
    low, high = np.quantile(energy, RANGE)
    bins = list(np.histogram_bin_edges(energy, bins=60, range=(low, max(high, low + 1e-6))))
    groups = [energy[~copies], energy[copies]]
    labels = [f"not memorised ({len(groups[0]):,})", f"memorised ({len(groups[1]):,})"]
    axis.hist(groups, bins, stacked=True, color=["#7fa8c9", COPY_COLOR], label=labels)


def _by_fifth(axis: Axes, groups: list[EnergyGroup], confidence: float) -> None:
    x = np.arange(1, len(groups) + 1)
    middle = 100 * np.array([group.mean for group in groups])
    ends = 100 * np.array([(group.low, group.high) for group in groups]).T
    axis.errorbar(
        x,
        middle,
        yerr=np.abs(ends - middle),
        color=COPY_COLOR,
        marker="o",
        capsize=4,
        label=f"samples, {100 * confidence:g}% intervals",
    )
    axis.set_xticks(x)


def ratio_histogram(memorization: Memorization, threshold: float) -> bytes:
    """Histogram of the distance ratios of samples and held-out data, as PNG bytes."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axis = figure.subplots()
    bins = list(np.linspace(0, 1, 49))  # 1/3 is an edge
    sets = [("samples", memorization, "#0072b2")]
    if memorization.held_out is not None:
        sets.append(("held-out data", memorization.held_out, "#999999"))
    for name, data, color in sets:
        ratios = data.ratios[data.valid]
        if not ratios.size:
            axis.text(0.5, 0.5, f"no finite {name}", ha="center", transform=axis.transAxes)
            continue
        label = (
            f"{name}: F_mem {100 * data.fraction:.2f}% of {len(ratios):,} "
            f"({100 * data.low:.2f} to {100 * data.high:.2f})"
        )
        weights = np.full(len(ratios), 100 / max(len(ratios), 1))
        axis.hist(ratios, bins, weights=weights, color=color, alpha=0.6, label=label)
    axis.axvline(threshold, color=COPY_COLOR, linewidth=1, label=f"threshold {threshold:.3g}")
    axis.set(xlabel="distance to the nearest training row / to the second nearest")
    axis.set(ylabel="share of the set in %", xlim=(0, 1))
    figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    return png(figure)


def distance_histogram(distances: np.ndarray) -> bytes:
    """Histogram of the distances to the nearest and the k-th nearest training row."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axis = figure.subplots()
    bins = list(np.histogram_bin_edges(distances, bins=50)) if distances.size else [0.0, 1.0]
    k = distances.shape[1]
    axis.hist(distances[:, 0], bins, color="#0072b2", alpha=0.6, label="nearest training row")
    if k > 1:
        label = "second nearest" if k == 2 else f"nearest but {k - 1}"
        axis.hist(distances[:, -1], bins, color="#999999", alpha=0.6, label=label)
    if not distances.size:
        axis.text(0.5, 0.5, "no finite samples", ha="center", transform=axis.transAxes)
    axis.set(xlabel="Euclidean distance", ylabel=f"samples (of {len(distances):,})")
    axis.set_xlim(left=0)
    axis.legend(frameon=False, fontsize=9)
    return png(figure)
