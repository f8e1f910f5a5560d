"""Colours, figures and error bars that all pictures share."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
    from matplotlib.figure import SubFigure as SubFigure
else:  # for runtime type checks, without importing Matplotlib
    Axes = Figure = SubFigure = Any

COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222",
    "#999999", "#882255", "#44aa99", "#332288", "#8a6d00", "#aa4499", "#117733",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h", "<", ">", "p", "d", "1")
COPY_COLOR, OTHER_COLOR, REFERENCE_COLOR = "#d55e00", "#7fa8c9", "#777777"
ENERGY_LABEL = "kinetic path energy E (½ ∫ ||u||² dt)"
TIME_LABEL = "time t (0 noise, 1 data)"


@runtime_checkable
class Estimate(Protocol):
    """A value with its interval: a `Correlation`, a `RocAuc`, a `PairedDifference`."""

    @property
    def value(self) -> float:
        """The value."""
        ...

    @property
    def low(self) -> float:
        """Lower end of its interval; NaN if it has none."""
        ...

    @property
    def high(self) -> float:
        """Upper end of its interval; NaN if it has none."""
        ...


class Interval(NamedTuple):
    """A value with its interval, from numbers that are at hand.

    Attributes:
        value: the value.
        low: lower end of its interval; NaN if it has none.
        high: upper end.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")


def png(picture: Axes | Figure | SubFigure) -> bytes:
    """The figure of a picture as reproducible PNG bytes.

    Args:
        picture: what a function of this module returned.

    Returns:
        The bytes of a PNG file, of 140 dots per inch.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.plotting import energy_histogram, png
        >>> png(energy_histogram(np.arange(9.0)))[1:4]
        b'PNG'
    """
    buffer, root = io.BytesIO(), picture.figure.figure  # axes may be of a subfigure
    root.savefig(buffer, format="png", dpi=140, metadata={"Software": None})
    return buffer.getvalue()


def figure_of(figure: Figure | SubFigure | None, width: float, height: float) -> Figure | SubFigure:
    """The figure, or a new one of a width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained") if figure is None else figure


def axes_of(axes: Axes | None, width: float, height: float) -> Axes:
    """The axes, or those of a new figure of a width and height in inches."""
    return figure_of(None, width, height).subplots() if axes is None else axes


def style(number: int) -> dict[str, Any]:
    """Colour and marker of a series."""
    return {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}


def error_bars(
    axes: Axes,
    places: Sequence[float] | np.ndarray,
    estimates: Sequence[Estimate],
    *,
    is_flat: bool = False,
    **options: Any,
) -> None:
    """Points with their intervals along y, or along x if `is_flat`."""
    values, low, high = (
        np.array([getattr(one, name) for one in estimates], np.float64)
        for name in ("value", "low", "high")
    )
    errors = np.nan_to_num(np.maximum([values - low, high - values], 0))
    options = {"capsize": 3, "markersize": 5, "elinewidth": 1.2} | options
    if is_flat:
        axes.errorbar(values, places, xerr=errors, **options)
    else:
        axes.errorbar(places, values, yerr=errors, **options)


def legend_above(figure: Figure | SubFigure, axes: Axes, columns: int) -> None:
    """A legend of one panel's series above all panels, if they have names."""
    handles, labels = axes.get_legend_handles_labels()
    if any(labels):
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=columns,
            frameon=False,
            fontsize=9,
        )
