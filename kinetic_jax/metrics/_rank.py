"""Rank correlation, with an interval."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import require, require_between
from kinetic_jax._progress import progress_bar
from kinetic_jax.metrics._intervals import percentiles


class Correlation(NamedTuple):
    """What `spearman` returns.

    Attributes:
        value: the correlation, in [−1, 1].
        low: lower end of its interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


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
    (ρ_ab − ρ_az ρ_bz) / sqrt((1 − ρ_az²) (1 − ρ_bz²)). The interval is a percentile bootstrap over
    samples. Leave samples that are not finite out, and say how many.

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
    require_between("confidence", confidence, 0.0, 1.0)
    require(resamples >= 1, "resamples", resamples, "be >= 1")
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    require(first.ndim == 1 and first.size >= 3, "a", f"shape {first.shape}", "be (n,), n >= 3")
    require(first.shape == second.shape, "b", f"shape {second.shape}", f"have {first.shape}")
    named = {"a": first, "b": second}
    if given is not None:
        named["given"] = np.asarray(given, np.float64)
        shape = named["given"].shape
        require(shape == first.shape, "given", f"shape {shape}", f"have {first.shape}")
    for name, values in named.items():
        bad = int(np.sum(~np.isfinite(values)))
        require(bad == 0, name, f"{bad} numbers that are not", "be finite")
        require(bool(np.ptp(values) > 0), name, "equal numbers alone", "vary, to have ranks")
    value = _correlation(*named.values())
    draws = np.random.default_rng(seed)
    found = []
    with progress_bar("resamples", resamples, show=progress) as update:
        for done in range(resamples):
            draw = draws.integers(0, first.size, first.size)
            found.append(_correlation(*(values[draw] for values in named.values())))
            update(done + 1, "")
    return Correlation(value, *percentiles(np.array(found), confidence))


def _correlation(*quantities: np.ndarray) -> float:
    """Of the first two, given the third if there is one."""
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in quantities]
    if not all(np.ptp(own) for own in ranks):
        return float("nan")  # a draw of equal numbers
    rho = np.corrcoef(ranks)
    if len(ranks) == 2:
        return float(rho[0, 1])
    left = (1 - rho[0, 2] ** 2) * (1 - rho[1, 2] ** 2)
    return float((rho[0, 1] - rho[0, 2] * rho[1, 2]) / np.sqrt(left)) if left > 0 else float("nan")
