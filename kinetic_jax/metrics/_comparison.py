"""Settings compared on the same noise: paired differences, and which setting beats which."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from kinetic_jax._checks import fraction, real_array, require, short, whole_number
from kinetic_jax.metrics._intervals import bootstrap_mean


class PairedDifference(NamedTuple):
    """The result of `paired_difference`.

    Attributes:
        value: mean of the differences; NaN without pairs.
        low: lower end of its interval.
        high: upper end.
        number: number of pairs.
    """

    value: float
    low: float
    high: float
    number: int


def paired_difference(
    values: Shaped[ArrayLike, " n"],
    baseline: Shaped[ArrayLike, " n"],
    *,
    interval: Literal["share", "bootstrap"] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PairedDifference:
    """The mean of `values − baseline`, two settings measured on samples from the same noise.

    Differences of flags (0 and 1, as memorised or not) have Wald's interval with half a pair added
    to each direction, which has a width if no pair differs; others have a percentile bootstrap.

    Args:
        values: the quantity under one setting, shape (n,); NaN where its sample failed.
        baseline: the quantity under the other, shape (n,); NaN where its sample failed. A pair
            with a NaN is left out.
        interval: "share" for flags, "bootstrap" for any numbers; None: by the values.
        confidence: level of the interval, in (0, 1).
        resamples: number of bootstrap draws.
        seed: seed of the draws.

    Returns:
        The mean difference with its interval, and the number of pairs.

    Raises:
        ValueError: if the shapes differ, a number is infinite, or a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import paired_difference
        >>> before, after = np.array([1, 1, 0, 1.0]), np.array([0, 1, 0, np.nan])
        >>> change = paired_difference(after, before)
        >>> round(change.value, 3), change.number
        (-0.333, 3)

    References:
        Agresti and Min, Simple improved confidence intervals for comparing matched proportions,
        Statistics in Medicine 24, 2005.
    """
    from scipy.stats import norm  # a slow import

    confidence, seed = fraction("confidence", confidence), whole_number("seed", seed, 0)
    resamples = whole_number("resamples", resamples, 1)
    is_name = isinstance(interval, str) and interval in ("share", "bootstrap")
    require(
        interval is None or is_name, "interval", short(interval), "be 'share', 'bootstrap' or None"
    )
    own, other = real_array("values", values), real_array("baseline", baseline)
    require(own.ndim == 1, "values", own.shape, "have shape (n,)")
    require(
        other.shape == own.shape, "baseline", other.shape, f"have the values' shape, {own.shape}"
    )
    differences = own.astype(np.float64) - other
    differences = differences[~np.isnan(differences)]
    require(bool(np.isfinite(differences).all()), "values", "infinite numbers", "be finite or NaN")
    if not differences.size:
        return PairedDifference(float("nan"), float("nan"), float("nan"), 0)
    is_share = bool(np.isin(differences, (-1, 0, 1)).all())
    require(
        is_share or interval != "share", "values", "other numbers", "be 0 or 1 for interval='share'"
    )
    mean, number = float(differences.mean()), differences.size
    if is_share if interval is None else interval == "share":
        z = float(norm.isf((1 - confidence) / 2))
        more, less = np.sum(differences > 0) + 0.5, np.sum(differences < 0) + 0.5
        middle = (more - less) / (number + 2)
        variance = more + less - (more - less) ** 2 / (number + 2)
        half = z * np.sqrt(variance) / (number + 2)
        return PairedDifference(mean, float(middle - half), float(middle + half), number)
    draws = np.random.default_rng(seed)
    return PairedDifference(
        mean, *bootstrap_mean(differences, confidence, resamples, draws), number
    )


def resampled(
    statistic: Callable[[np.ndarray], float],
    rows: Shaped[ArrayLike, "valid ..."],
    *,
    is_valid: Shaped[ArrayLike, " n"] | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> Float[np.ndarray, " resamples"]:
    """A statistic of bootstrap resamples of the noise from which samples started.

    With the same seed and size of the noise, the same rows are drawn for every setting: differences
    of two results are paired, and their small-sample bias cancels.

    Args:
        statistic: a number of some rows, such as a `FrechetReference`.
        rows: features of the valid samples, in the order of the noise.
        is_valid: flags of the samples that did not fail, shape (n,); all by default.
        resamples: number of draws.
        seed: seed of the draws.

    Raises:
        ValueError: if `is_valid` has not as many flags as there are rows, or a setting is out of
            range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics._comparison import resampled
        >>> rows = np.array([0.0, 1.0, 2.0])
        >>> change = resampled(np.mean, rows + 1) - resampled(np.mean, rows)
        >>> print(change.min().round(9), change.max().round(9))
        1.0 1.0
    """
    resamples, seed = whole_number("resamples", resamples, 1), whole_number("seed", seed, 0)
    data = np.asarray(rows)
    flags = np.ones(len(data), bool) if is_valid is None else np.asarray(is_valid, bool)
    count = int(flags.sum())
    require(count == len(data), "is_valid", f"{count} flags", f"mark the {len(data)} rows")
    place = np.cumsum(flags) - 1  # the index among the valid rows
    draws, number = np.random.default_rng(seed), len(flags)
    results = []
    for _ in range(resamples):
        drawn = draws.integers(number, size=number)
        results.append(statistic(data[place[drawn[flags[drawn]]]]))
    return np.array(results)


def beaten_by(
    copied: Shaped[ArrayLike, "settings *samples"],
    distance: Float[ArrayLike, " settings"],
    *,
    groups: Sequence[str] | None = None,
    confidence: float | None = None,
) -> list[list[int]]:
    """The settings that beat each setting in copies and distance; the front is beaten by none.

    A setting beats another if it is no worse in both and better in one, as measured. With
    `confidence`, it must have clearly fewer copies on the same noise, at a distance that is no
    greater: the interval of the paired difference lies below 0 at a level that allows for all
    pairs (a Bonferroni correction).

    Args:
        copied: shares of copies, shape (settings,); with `confidence` flags of copies, shape
            (settings, samples), NaN where a sample failed.
        distance: a distance from real data, shape (settings,).
        groups: names, shape (settings,): only settings of different groups are compared; all by
            default.
        confidence: level at which no pair at all is found by chance, in (0, 1); None: compare the
            shares as they were measured.

    Returns:
        For each setting the indices of those that beat it.

    Raises:
        ValueError: if the shapes do not fit, or `confidence` lies outside (0, 1).

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics._comparison import beaten_by
        >>> shares, distances = np.array([0.4, 0.3, 0.3]), np.array([1.0, 2.0, 2.5])
        >>> beaten_by(shares, distances)  # the third is beaten by the second
        [[], [], [1]]
    """
    shares, distances = real_array("copied", copied), real_array("distance", distance)
    rank = 1 if confidence is None else 2
    expected = "have shape (settings,)" if rank == 1 else "have shape (settings, samples)"
    require(shares.ndim == rank, "copied", shares.shape, expected)
    fits = distances.shape == shares.shape[:1]
    require(fits, "distance", distances.shape, f"have shape {shares.shape[:1]}")
    names = list(range(len(distances))) if groups is None else list(groups)
    require(len(names) == len(distances), "groups", len(names), f"be {len(distances)}")
    pairs = sum(a != b for a in names for b in names)
    level = 1 - (1 - fraction("confidence", confidence)) / max(pairs, 1) if rank == 2 else None

    def beats(one: int, other: int) -> bool:
        if names[one] == names[other] or distances[one] > distances[other]:
            return False
        if level is not None:
            return paired_difference(shares[one], shares[other], confidence=level).high < 0
        if shares[one] > shares[other]:
            return False
        return bool((shares[one], distances[one]) != (shares[other], distances[other]))

    every = range(len(distances))
    return [[one for one in every if beats(one, other)] for other in every]
