"""Rank correlation, with an interval."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import fraction, real_array, require, whole_number
from kinetic_jax._progress import progress_bar
from kinetic_jax.metrics._intervals import percentiles


class Correlation(NamedTuple):
    """What `spearman` returns.

    Attributes:
        value: the correlation, in [−1, 1].
        low: lower end of its interval.
        high: upper end.
        reason: why there is none, if all three are NaN; empty otherwise.
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
    """Spearman's rank correlation of two quantities of the same samples (energy and support, say).

    With `given` the partial correlation: what is left of it once the ranks of both are cleared of
    what they share with those of a third quantity,
    (ρ_ab − ρ_az ρ_bz) / sqrt((1 − ρ_az²) (1 − ρ_bz²)). There is none, and NaN with a reason, where
    `given` orders the samples as one of the two does, or the other way round: nothing is left of
    that one. The interval is a percentile bootstrap over samples, of the resamples that have a
    correlation. Leave samples that are not finite out, and say how many.

    Args:
        a: shape (n,), n ≥ 3.
        b: shape (n,).
        given: the quantity held fixed, shape (n,); none by default.
        confidence: of the interval, in (0, 1).
        resamples: bootstrap draws.
        seed: of those draws.
        progress: whether to draw a progress bar; None: on a terminal only.

    Raises:
        ValueError: if the shapes differ, there are fewer than three samples, a number is not
            finite, all are equal, or a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax import spearman
        >>> x = np.arange(50.0)
        >>> print(round(spearman(x, x**3).value, 6))
        1.0
    """
    confidence, seed = fraction("confidence", confidence), whole_number("seed", seed, 0)
    resamples = whole_number("resamples", resamples, 1)
    first, second = real_array("a", a), real_array("b", b)
    require(first.ndim == 1 and first.size >= 3, "a", f"shape {first.shape}", "be (n,), n >= 3")
    require(first.shape == second.shape, "b", f"shape {second.shape}", f"have {first.shape}")
    named = {"a": first, "b": second}
    if given is not None:
        named["given"] = real_array("given", given)
        shape = named["given"].shape
        require(shape == first.shape, "given", f"shape {shape}", f"have {first.shape}")
    for name, values in named.items():
        bad = int(np.sum(~np.isfinite(values)))
        require(bad == 0, name, f"{bad} numbers that are not", "be finite")
        require(bool(np.ptp(values) > 0), name, "equal numbers alone", "vary, to have ranks")
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in named.values()]
    for name, own in zip(("a", "b"), ranks[:2], strict=True):
        if given is not None and _same_order(own, ranks[2]):
            nan = float("nan")
            return Correlation(nan, nan, nan, f"given is a monotone function of {name}")
    draws = np.random.default_rng(seed)
    redrawn: list[float] = []
    with progress_bar("resamples", resamples, show=progress) as update:
        for done in range(resamples):
            draw = draws.integers(0, first.size, first.size)
            redrawn.append(_correlation([rankdata(own[draw]) for own in ranks]))
            update(done + 1, "")
    return Correlation(_correlation(ranks), *percentiles(np.array(redrawn), confidence))


def _correlation(ranks: list[np.ndarray]) -> float:
    """Of the first two, given the third if there is one; NaN where there is none."""
    if not all(np.ptp(own) for own in ranks):
        return float("nan")  # a draw of equal numbers
    if len(ranks) == 3 and any(_same_order(own, ranks[2]) for own in ranks[:2]):
        return float("nan")
    rho = np.corrcoef(ranks)
    if len(ranks) == 2:
        return float(rho[0, 1])
    left = (1 - rho[0, 2] ** 2) * (1 - rho[1, 2] ** 2)
    return float(np.clip((rho[0, 1] - rho[0, 2] * rho[1, 2]) / np.sqrt(left), -1, 1))


def _same_order(ranks: np.ndarray, others: np.ndarray) -> bool:
    """Whether two quantities are monotone functions of each other: exact, as ranks are halves."""
    reverse = ranks.size + 1 - others
    return np.array_equal(ranks, others) or np.array_equal(ranks, reverse)
