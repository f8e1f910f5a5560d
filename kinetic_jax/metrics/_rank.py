"""Rank correlation, with an interval."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import fraction, real_array, require, whole_number
from kinetic_jax.metrics._features import require_finite_numbers
from kinetic_jax.metrics._intervals import percentiles, repeated


class Correlation(NamedTuple):
    """The result of `spearman`.

    Attributes:
        value: the correlation, in [−1, 1].
        low: lower end of its interval.
        high: upper end.
        reason: the reason if the correlation is undefined and all three are NaN; else empty.
    """

    value: float
    low: float
    high: float
    reason: str = ""


def spearman(
    a: Float[ArrayLike, " n"],
    b: Float[ArrayLike, " n"],
    *,
    given: Float[ArrayLike, " n"] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    progress: bool | None = None,
) -> Correlation:
    """Spearman's rank correlation of two quantities of the same samples.

    With `given`, the partial rank correlation, which holds a third quantity z fixed:
    (ρ_ab − ρ_az ρ_bz) / sqrt((1 − ρ_az²) (1 − ρ_bz²)). It is undefined, NaN with a reason, if
    `given` orders the samples like one of the two, or in reverse. The interval is a percentile
    bootstrap over samples, without resamples whose correlation is undefined. Leave out samples
    that are not finite, and report their number.

    Args:
        a: shape (n,), n ≥ 3.
        b: shape (n,).
        given: the quantity held fixed, shape (n,); none by default.
        confidence: level of the interval, in (0, 1).
        resamples: number of bootstrap draws.
        seed: seed of the draws.
        progress: whether to draw a progress bar; None: on a terminal only.

    Returns:
        The correlation with its interval, or NaN and the reason.

    Raises:
        ValueError: if the shapes differ, there are fewer than three samples, a number is not
            finite, all numbers are equal, or a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import spearman
        >>> x = np.arange(50.0)
        >>> print(round(spearman(x, x**3).value, 6))
        1.0
    """
    confidence, seed = fraction("confidence", confidence), whole_number("seed", seed, 0)
    resamples = whole_number("resamples", resamples, 1)
    first, second = real_array("a", a), real_array("b", b)
    require(first.ndim == 1 and first.size >= 3, "a", f"shape {first.shape}", "be (n,), n >= 3")
    require(first.shape == second.shape, "b", f"shape {second.shape}", f"have shape {first.shape}")
    quantities = {"a": first, "b": second}
    if given is not None:
        quantities["given"] = real_array("given", given)
        shape = quantities["given"].shape
        require(shape == first.shape, "given", f"shape {shape}", f"have shape {first.shape}")
    for name, values in quantities.items():
        require_finite_numbers(name, values)
        require(bool(np.ptp(values) > 0), name, "equal numbers alone", "vary, to have ranks")
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in quantities.values()]
    for name, order in zip(("a", "b"), ranks[:2], strict=True):
        if given is not None and _is_monotone(order, ranks[2]):
            nan = float("nan")
            return Correlation(nan, nan, nan, f"given is a monotone function of {name}")
    draws = np.random.default_rng(seed)

    def resample() -> float:
        rows = draws.integers(0, first.size, first.size)
        return _correlation([rankdata(order[rows]) for order in ranks])

    resampled = repeated("resamples", resamples, resample, progress)
    return Correlation(_correlation(ranks), *percentiles(resampled, confidence))


def _correlation(ranks: list[np.ndarray]) -> float:
    """The correlation of the first two, given the third if any; NaN if undefined."""
    if not all(np.ptp(order) for order in ranks):
        return float("nan")
    if len(ranks) == 3 and any(_is_monotone(order, ranks[2]) for order in ranks[:2]):
        return float("nan")
    rho = np.corrcoef(ranks)
    if len(ranks) == 2:
        return float(rho[0, 1])
    variances = (1 - rho[0, 2] ** 2) * (1 - rho[1, 2] ** 2)
    return float(np.clip((rho[0, 1] - rho[0, 2] * rho[1, 2]) / np.sqrt(variances), -1, 1))


def _is_monotone(ranks: np.ndarray, others: np.ndarray) -> bool:
    # Ranks are multiples of 1/2, so equality is exact.
    reverse = ranks.size + 1 - others
    return np.array_equal(ranks, others) or np.array_equal(ranks, reverse)
