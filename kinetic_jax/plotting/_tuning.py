"""The result of `tune`: scores against the change of the distance, and on fresh noise."""

from kinetic_jax.metrics import PairedDifference
from kinetic_jax.plotting._fronts import FrontSetting, fronts
from kinetic_jax.plotting._style import REFERENCE_COLOR, Figure, Interval, SubFigure
from kinetic_jax.tuning import SettingResult, Tuning


def tuning_front(
    tuning: Tuning,
    *,
    xlabel: str = "change of the distance over no gain",
    ylabel: str | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """The settings that `tune` tried, by `fronts`, with the bound as a line.

    Intervals are those of the changes over no gain; the chosen setting is drawn once more, as it
    was confirmed on fresh noise.

    Args:
        tuning: the result of `tune`.
        xlabel: label of the distance's change.
        ylabel: label of the mean score; None for shares of copies, drawn in %.
        figure: the figure; a new one by default.

    Returns:
        The figure.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import gain
        >>> from kinetic_jax.plotting import tuning_front
        >>> from kinetic_jax.tuning import Setting, tune
        >>> result = tune(
        ...     lambda t, x, cond=None: jnp.ones_like(x), [Setting("half", gain(lambda t: 0.5))],
        ...     objective=lambda drawn: drawn.run.energy.total, bound=2.0, shape=(1,),
        ...     distance=lambda rows: (rows.mean() - 1) ** 2, key=jax.random.key(0), num_steps=2)
        >>> [one.get_label() for one in tuning_front(result, ylabel="energy").axes[0].containers]
        ['half, fresh noise', 'half', 'no gain']
    """
    no_gain, *others = tuning.results
    drawn = [_drawn(no_gain.setting.name, no_gain)]
    drawn += [_drawn(one.setting.family or one.setting.name, one) for one in others]
    if tuning.confirmed is not None:
        name = f"{tuning.confirmed.setting.name}, fresh noise"
        drawn.append(_drawn(name, tuning.confirmed, is_control=True))
    picture = fronts(
        drawn, xlabel=xlabel, ylabel=ylabel, baseline=no_gain.setting.name, figure=figure
    )
    axes = picture.axes[0]
    axes.axvline(tuning.bound, color=REFERENCE_COLOR, linewidth=1, linestyle="-.")
    axes.annotate("bound", (tuning.bound, 1.0), xycoords=("data", "axes fraction"), va="bottom")
    return picture


def _drawn(family: str, result: SettingResult, is_control: bool = False) -> FrontSetting:
    change: PairedDifference = result.objective_change
    no_gain = result.objective - change.value
    scores = Interval(result.objective, no_gain + change.low, no_gain + change.high)
    return FrontSetting(family, scores, result.distance_change, is_control)
