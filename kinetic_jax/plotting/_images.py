"""Rows of images, with the nearest training images below them."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Shaped

from kinetic_jax._checks import real_array, require, whole_number
from kinetic_jax.plotting._style import (
    COPY_COLOR,
    REFERENCE_COLOR,
    Axes,
    Figure,
    SubFigure,
    figure_of,
)


def image_grid(
    rows: Mapping[str, Shaped[ArrayLike, "n height width *channels"]],
    *,
    nearest: Mapping[str, Shaped[ArrayLike, "n height width *channels"]] | None = None,
    framed: Mapping[str, Bool[ArrayLike, " n"]] | None = None,
    columns: int = 12,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Rows of images by label, in the scale [−1, 1].

    Args:
        rows: images by label of the row, each (n, height, width) or with one or three channels;
            the first `columns` are drawn.
        nearest: by label, images drawn in a row below: the nearest training images.
        framed: by label, flags of the images that get a frame, shape (n,): copies.
        columns: number of images in a row.
        figure: the figure; a new one by default.

    Returns:
        The figure.

    Raises:
        ValueError: if there are no rows, a row is not of images, `nearest` and `framed` are not of
            the rows or have other sizes.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.plotting import image_grid
        >>> images = np.zeros((3, 8, 8))
        >>> len(image_grid({"samples": images}, nearest={"samples": images}, columns=3).axes)
        6
    """
    columns = whole_number("columns", columns, 1)
    require(len(rows) > 0, "rows", "none", "not be empty")
    nearest, framed = nearest or {}, framed or {}
    for name, labels in (("nearest", nearest), ("framed", framed)):
        others = sorted(set(labels) - set(rows))
        require(not others, name, others, f"name rows among {list(rows)}")
    drawn: list[tuple[str, np.ndarray, np.ndarray]] = []
    for label, row in rows.items():
        images = _images(f"row {label!r}", row)
        flags = np.asarray(framed.get(label, np.zeros(len(images))), bool)
        fits = flags.shape == (len(images),)
        require(fits, f"framed of {label!r}", flags.shape, f"have shape ({len(images)},)")
        drawn.append((label, images, flags))
        if label in nearest:
            below = _images(f"nearest of {label!r}", nearest[label])
            fits = len(below) == len(images)
            require(fits, f"nearest of {label!r}", len(below), f"be {len(images)} images")
            drawn.append(("nearest", below, np.zeros(len(below), bool)))
    height, width = drawn[0][1].shape[1:3]
    figure = figure_of(figure, 11.0, 10.2 / columns * len(drawn) * height / width + 0.1)
    grid = figure.subplots(len(drawn), columns, squeeze=False)
    for line, (label, images, flags) in zip(grid, drawn, strict=True):
        for axes, image, is_framed in zip(line, images, flags, strict=False):
            _draw(axes, image, bool(is_framed))
        for axes in line[len(images) :]:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        color = REFERENCE_COLOR if label == "nearest" else "#000000"
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9, color=color)
    return figure


def riskiest(
    x1: Shaped[ArrayLike, "n height width *channels"],
    risk: Float[ArrayLike, " n"],
    *,
    nearest: Shaped[ArrayLike, "n height width *channels"] | None = None,
    memorized: Bool[ArrayLike, " n"] | None = None,
    columns: int = 12,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """The samples with the greatest risk of being copies, doubtful ones, and the least risky.

    Args:
        x1: samples in the scale [−1, 1], shape (n, height, width), or with one or three channels.
        risk: the probability that each is a copy, such as `CopyDetector.score`, shape (n,); those
            that are not finite are left out.
        nearest: the nearest training image of each sample, drawn below it.
        memorized: whether each is a copy, shape (n,): copies get a frame.
        columns: number of images in a row.
        figure: the figure; a new one by default.

    Returns:
        The figure.

    Raises:
        ValueError: if no risk is known, or the arrays are not of n images.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.plotting import riskiest
        >>> len(riskiest(np.zeros((30, 8, 8)), np.linspace(0, 1, 30), columns=5).axes)
        15
    """
    images, risks = _images("x1", x1), real_array("risk", risk)
    count = whole_number("columns", columns, 1)
    fits = risks.shape == (len(images),)
    require(fits, "risk", f"shape {risks.shape}", f"be of shape ({len(images)},)")
    known = np.flatnonzero(np.isfinite(risks))
    require(known.size > 0, "risk", "no finite number", "have some")
    order = known[np.argsort(-risks[known], kind="stable")]
    doubtful = np.abs(risks[order] - 0.5).argsort(kind="stable")[:count]
    picks = {
        "riskiest": order[:count],
        "doubtful": order[np.sort(doubtful)],
        "least risky": order[::-1][:count],
    }
    labelled = {
        f"{name}\n{risks[places].min():.2f} to {risks[places].max():.2f}": places
        for name, places in picks.items()
    }

    def by_label(name: str, array: Shaped[ArrayLike, "..."] | None) -> dict[str, np.ndarray]:
        if array is None:
            return {}
        rows = np.asarray(array)
        fits = len(rows) == len(images)
        require(fits, name, f"{len(rows)} rows", f"have {len(images)}, one for each sample")
        return {label: rows[places] for label, places in labelled.items()}

    figure = image_grid(
        by_label("x1", images),
        nearest=by_label("nearest", nearest),
        framed=by_label("memorized", memorized),
        columns=count,
        figure=figure,
    )
    if memorized is not None:
        figure.text(0.01, 0.01, "framed: copies", color=COPY_COLOR, fontsize=9)
    return figure


def _images(name: str, images: Shaped[ArrayLike, "..."]) -> np.ndarray:
    array = real_array(name, images)
    fits = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))
    require(fits, name, f"shape {array.shape}", "be (n, height, width) or (n, height, width, 1|3)")
    return array


def _draw(axes: Axes, image: np.ndarray, is_framed: bool) -> None:
    if image.ndim == 3 and image.shape[2] == 3:
        axes.imshow(np.clip((image + 1) / 2, 0, 1))
    else:
        axes.imshow(image.reshape(image.shape[:2]), cmap="gray_r", vmin=-1, vmax=1)
    axes.set(xticks=[], yticks=[])
    color, width = (COPY_COLOR, 2.5) if is_framed else ("#dddddd", 0.5)
    axes.spines[:].set(color=color, linewidth=width)


def images_by_energy(
    images: Shaped[ArrayLike, "n height width *channels"],
    energy: Float[ArrayLike, " n"],
    *,
    nearest: Shaped[ArrayLike, "n height width *channels"] | None = None,
    memorized: Bool[ArrayLike, " n"] | None = None,
    num_groups: int = 5,
    columns: int = 12,
    name: str = "E",
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Samples from each group of energy, evenly spread over it, lowest at the top.

    Args:
        images: the samples, shape (n, height, width) or with channels, in the scale [−1, 1].
        energy: their energies, or another quantity, shape (n,).
        nearest: the nearest training image of each, drawn below it.
        memorized: flags of the copies, which get a frame, shape (n,).
        num_groups: number of groups, at most n.
        columns: number of images drawn of each group.
        name: name of the quantity in the labels.
        figure: the figure; a new one by default.

    Returns:
        The figure.

    Raises:
        ValueError: if the sizes differ, or a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.plotting import images_by_energy
        >>> figure = images_by_energy(np.zeros((9, 8, 8)), np.arange(9.0), num_groups=3, columns=3)
        >>> print(figure.axes[0].get_ylabel())
        E 0
        to 2
    """
    columns, energies = whole_number("columns", columns, 1), real_array("energy", energy)
    require(energies.ndim == 1 and energies.size >= 1, "energy", energies.shape, "have shape (n,)")
    num_groups = whole_number("num_groups", num_groups, 1, energies.size)
    samples = {"images": images, "nearest": nearest, "memorized": memorized}
    for given, array in samples.items():
        count = energies.size if array is None else len(np.asarray(array))
        require(count == energies.size, given, count, f"be {energies.size}, one per energy")
    picks: dict[str, np.ndarray] = {}
    for members in np.array_split(np.argsort(energies, kind="stable"), num_groups):
        spread = np.linspace(0, len(members) - 1, min(columns, len(members))).round().astype(int)
        low, high = energies[members[[0, -1]]]
        picks[f"{name} {low:.3g}\nto {high:.3g}"] = members[spread]

    def by_row(array: Shaped[ArrayLike, "n ..."]) -> dict[str, np.ndarray]:
        return {label: np.asarray(array)[chosen] for label, chosen in picks.items()}

    return image_grid(
        by_row(images),
        nearest=None if nearest is None else by_row(nearest),
        framed=None if memorized is None else by_row(memorized),
        columns=columns,
        figure=figure,
    )
