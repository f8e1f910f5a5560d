"""Histograms of energies, distances and their ratios."""

import numpy as np
from jaxtyping import ArrayLike, Bool, Float

from kinetic_jax._checks import real_array, require
from kinetic_jax.jobs import Diagnosis
from kinetic_jax.metrics import Memorization
from kinetic_jax.plotting._groups import by_energy_group
from kinetic_jax.plotting._style import (
    COLORS,
    COPY_COLOR,
    ENERGY_LABEL,
    OTHER_COLOR,
    Axes,
    Figure,
    SubFigure,
    axes_of,
    figure_of,
)

QUANTITIES = {"total": ENERGY_LABEL, "excess": "straightness excess (E less displacement)"}
RANGE = (0.001, 0.999)  # quantiles, as a few outliers would squeeze the other samples into one bar


def energy_histogram(
    energy: Float[ArrayLike, " n"],
    *,
    memorized: Bool[ArrayLike, " n"] | None = None,
    xlabel: str = ENERGY_LABEL,
    axes: Axes | None = None,
) -> Axes:
    """Histogram of the energies of samples, with copies in another colour.

    Args:
        energy: energies, or parts of them, shape (n,), finite.
        memorized: flags of the copies, shape (n,).
        xlabel: name of the energy.
        axes: the axes; new ones by default.

    Returns:
        The axes, drawn on.

    Raises:
        ValueError: if the shapes differ, or a number is not finite.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.plotting import energy_histogram
        >>> axes = energy_histogram(np.arange(9.0), memorized=np.arange(9) > 6)
        >>> axes.get_legend_handles_labels()[1]
        ['not memorised (7)', 'memorised (2)']
    """
    energies = real_array("energy", energy).astype(np.float64)
    require(energies.ndim == 1, "energy", energies.shape, "have shape (n,)")
    bad = int(np.sum(~np.isfinite(energies)))
    require(bad == 0, "energy", f"{bad} that are not", "be finite")
    axes = axes_of(axes, 7.0, 3.4)
    axes.set(xlabel=xlabel, ylabel="samples")
    if not energies.size:
        return _nothing(axes, "samples")
    low, high = np.quantile(energies, RANGE)
    edges = np.histogram_bin_edges(energies, bins=50, range=(low, max(high, low + 1e-6)))
    if memorized is None:
        axes.hist(energies, list(edges), color=OTHER_COLOR)
        return axes
    copies = np.asarray(memorized, bool)
    require(copies.shape == energies.shape, "memorized", copies.shape, f"be {energies.shape}")
    groups = [energies[~copies], energies[copies]]
    labels = [f"not memorised ({len(groups[0]):,})", f"memorised ({len(groups[1]):,})"]
    axes.hist(groups, list(edges), stacked=True, color=[OTHER_COLOR, COPY_COLOR], label=labels)
    axes.legend(frameon=False, fontsize=9)
    return axes


def diagnosis_figure(
    diagnosis: Diagnosis, *, figure: Figure | SubFigure | None = None
) -> Figure | SubFigure:
    """Histograms of energy and excess, and F_mem by fifth of each.

    Args:
        diagnosis: the result of `diagnose_job`.
        figure: the figure; a new one by default.

    Returns:
        The figure.

    Example:
        >>> import jax, numpy as np, tempfile
        >>> from kinetic_jax.jobs import JobSettings, diagnose_job, run_job
        >>> from kinetic_jax.networks import network_field
        >>> from kinetic_jax.plotting import diagnosis_figure
        >>> field = network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     job = run_job(field, folder, JobSettings(n=20, num_steps=4), say=None)
        ...     diagnosis = diagnose_job(job, np.array([[0.0, 0.0], [9.0, 9.0]]))
        >>> len(diagnosis_figure(diagnosis).axes) > 1
        True
    """
    memorization = diagnosis.memorization
    is_valid = diagnosis.valid
    figure = figure_of(figure, 10.0, 6.4)
    above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
    panels = above.subplots(1, len(QUANTITIES), sharey=True)
    for axes, (name, xlabel) in zip(panels, QUANTITIES.items(), strict=True):
        copies = memorization.memorized[is_valid]
        energy = getattr(diagnosis.energy, name)[is_valid]
        energy_histogram(energy, memorized=copies, xlabel=xlabel, axes=axes)
    panels[1].set_ylabel("")
    groups = {
        xlabel: getattr(diagnosis.fifths, name).memorized for name, xlabel in QUANTITIES.items()
    }
    if not is_valid.any():
        _nothing(below.subplots(), "samples")
        return figure
    level = 100 * diagnosis.confidence
    label = f"F_mem, {level:g}% intervals"
    floor = memorization.held_out
    references = None if floor is None else {label: floor.fraction}
    by_energy_group({label: groups}, references=references, figure=below)
    return figure


def ratio_histogram(
    memorization: Memorization, threshold: float, *, axes: Axes | None = None
) -> Axes:
    """Histogram of the distance ratios of samples and of held-out data, if any.

    Args:
        memorization: the result of `memorization`.
        threshold: ratio under which a sample is a copy, marked by a line.
        axes: the axes; new ones by default.

    Returns:
        The axes, drawn on.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax import memorization
        >>> from kinetic_jax.plotting import ratio_histogram
        >>> rows = np.arange(12.0).reshape(6, 2) ** 2
        >>> axes = ratio_histogram(memorization(rows + 0.1, rows), 1 / 3)
        >>> bool(axes.get_xlabel())
        True
    """
    axes = axes_of(axes, 7.0, 4.0)
    bins = list(np.linspace(0, 1, 49))  # 1/3 is an edge
    sets = [("samples", memorization, COLORS[0])]
    if memorization.held_out is not None:
        sets.append(("held-out data", memorization.held_out, "#999999"))
    for name, share, color in sets:
        ratios = share.ratios[share.valid]
        if not ratios.size:
            _nothing(axes, name)
            continue
        label = (
            f"{name}: F_mem {100 * share.fraction:.2f}% of {len(ratios):,} "
            f"({100 * share.low:.2f} to {100 * share.high:.2f})"
        )
        weights = np.full(len(ratios), 100 / len(ratios))
        axes.hist(ratios, bins, weights=weights, color=color, alpha=0.6, label=label)
    axes.axvline(threshold, color=COPY_COLOR, linewidth=1, label=f"threshold {threshold:.3g}")
    axes.set(xlabel="distance to the nearest training row / to the second nearest")
    axes.set(ylabel="share of the set in %", xlim=(0, 1))
    axes.figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    return axes


def distance_histogram(distances: Float[np.ndarray, "n k"], *, axes: Axes | None = None) -> Axes:
    """Histogram of the distances to the nearest and the k-th nearest training row.

    Args:
        distances: of `nearest_neighbors`, shape (n, k), finite.
        axes: the axes; new ones by default.

    Returns:
        The axes, drawn on.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax import nearest_neighbors
        >>> from kinetic_jax.plotting import distance_histogram
        >>> rows = np.arange(12.0).reshape(6, 2)
        >>> axes = distance_histogram(np.asarray(nearest_neighbors(rows + 0.1, rows).distances))
        >>> len(axes.get_legend_handles_labels()[1])
        2
    """
    axes = axes_of(axes, 7.0, 3.4)
    bins = list(np.histogram_bin_edges(distances, bins=50)) if distances.size else [0.0, 1.0]
    k = distances.shape[1]
    axes.hist(distances[:, 0], bins, color=COLORS[0], alpha=0.6, label="nearest training row")
    if k > 1:
        label = "second nearest" if k == 2 else f"nearest but {k - 1}"
        axes.hist(distances[:, -1], bins, color="#999999", alpha=0.6, label=label)
    if not distances.size:
        _nothing(axes, "samples")
    axes.set(xlabel="Euclidean distance", ylabel=f"samples (of {len(distances):,})")
    axes.set_xlim(left=0)
    axes.legend(frameon=False, fontsize=9)
    return axes


def _nothing(axes: Axes, name: str) -> Axes:
    axes.text(0.5, 0.5, f"no finite {name}", ha="center", transform=axes.transAxes)
    return axes
