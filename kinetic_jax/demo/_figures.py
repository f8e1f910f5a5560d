"""Pictures of the demo, as PNG bytes; Matplotlib's own objects, no global state."""

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kinetic_jax.experiments._rows import RowPlan
from kinetic_jax.experiments._statistics import RowResult
from kinetic_jax.metrics import Memorization

COLORS = ("#222222", "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#999999")
MARKERS = ("o", "s", "^", "v", "D", "X")
COPY_COLOR = "#d55e00"
ENERGY_LABEL = "kinetic path energy E (½ ∫ ||u||² dt)"


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, the same bytes whenever it is drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140, metadata={"Software": None})
    return buffer.getvalue()


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
    """How energy is spread over the samples, copies apart."""
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
    """Mean ||u||² over t for every row, the gain under it."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    speed, gain = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1.4)})
    for plan, row, color in zip(plans, rows, COLORS, strict=True):
        style = "--" if plan.stop_at < 1 else "-"
        # KTS coincides with the launch row, then with the landing row: broad, it shows under both.
        broad = {"linewidth": 4.5, "alpha": 0.45} if plan.name == "KTS" else {}
        speed.plot(row.ts, row.speed2, color=color, linestyle=style, label=plan.name, **broad)
        gain.plot(row.ts, plan.gain[: len(row.ts)], color=color, linestyle=style, **broad)
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
        for row, (what, words, color) in enumerate(
            (("confidence", "classifier confidence", "#0072b2"), ("f_mem", "F_mem", COPY_COLOR))
        ):
            axis = axes[row, column]
            middle = np.array([group[what] for group in groups])
            ends = np.array([group[f"{what}_interval"] for group in groups]).T
            axis.errorbar(x, middle, yerr=np.abs(ends - middle), color=color, marker="o", capsize=4)
            axis.axhline(held_out[what], color="#777777", linestyle=":", label="held-out digits")
            if column == 0:
                axis.set_ylabel(words)
        axes[0, column].set_title(titles[part], fontsize=11)
        axes[1, column].set_xlabel("fifth of the samples, lowest to highest")
        axes[1, column].set_xticks(x)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=9)
    return png(figure)


def memorization_front(table: list[dict[str, Any]], held_out: dict[str, Any]) -> bytes:
    """F_mem against Fréchet distance, with what held-out digits score."""
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
    axis.axvline(held_out["frechet_floor"], color="#777777", linestyle="-.", linewidth=1,
                 label="two halves of held-out digits")  # fmt: skip
    axis.set(
        xlabel="Fréchet distance to held-out digits, in classifier features (lower is better)",
        ylabel="F_mem in % (lower is better)",
    )
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=-0.03 * axis.get_ylim()[1])
    figure.legend(loc="outside lower center", frameon=False, fontsize=9, ncols=3)
    return png(figure)


def ratio_histogram(found: Memorization, threshold: float) -> bytes:
    """How near samples (and held-out data) are to one training row rather than the next."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axis = figure.subplots()
    bins = list(np.linspace(0, 1, 49))  # one of them ends at 1/3
    sets = [("samples", found, "#0072b2")]
    if found.held_out is not None:
        sets.append(("held-out data", found.held_out, "#999999"))
    for name, one, color in sets:
        ratios = one.ratios[one.valid]
        if not ratios.size:
            axis.text(0.5, 0.5, f"no finite {name}", ha="center", transform=axis.transAxes)
            continue
        label = (
            f"{name}: F_mem {100 * one.fraction:.2f}% of {len(ratios):,} "
            f"({100 * one.low:.2f} to {100 * one.high:.2f})"
        )
        weights = np.full(len(ratios), 100 / max(len(ratios), 1))
        axis.hist(ratios, bins, weights=weights, color=color, alpha=0.6, label=label)
    axis.axvline(threshold, color=COPY_COLOR, linewidth=1, label=f"threshold {threshold:.3g}")
    axis.set(xlabel="distance to the nearest training row / to the second nearest")
    axis.set(ylabel="share of the set in %", xlim=(0, 1))
    figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    return png(figure)


def distance_histogram(distances: np.ndarray) -> bytes:
    """How far samples are from their nearest training row, and from the k-th nearest."""
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
