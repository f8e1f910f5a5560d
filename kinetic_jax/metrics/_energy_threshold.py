"""The energy at which memorisation takes off."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped
from scipy.special import xlogy

from kinetic_jax._checks import require, require_between


class EnergyThreshold(NamedTuple):
    """What `energy_threshold` returns.

    Attributes:
        value: the energy that parts the samples, halfway between two of them; NaN where no
            splitting leaves more memorised samples above than below.
        low: lower end of its bootstrap interval.
        high: upper end.
        below: share of memorised samples under it.
        above: share of memorised samples over it.
        p_value: how often a splitting of samples whose energies say nothing about memorisation
            (the labels permuted) looks as good.
    """

    value: float
    low: float
    high: float
    below: float
    above: float
    p_value: float


def energy_threshold(
    energy: Float[ArrayLike, " n"],
    memorized: Shaped[ArrayLike, " n"],
    *,
    least_share: float = 0.05,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> EnergyThreshold:
    """The energy above which samples are memorised more often: where the curve takes off.

    The change point of greatest likelihood of a rate that steps up once, for samples in order of
    their energy. An interval by resampling the samples, and a permutation test of whether there
    is a step at all: with a p-value that is not small, the threshold means nothing.

    Args:
        energy: energies, or a part of them, shape (n,), finite.
        memorized: as `memorization` says, shape (n,).
        least_share: of the samples on either side, in (0, 0.5).
        confidence: of the interval, in (0, 1).
        resamples: bootstrap draws, and permutations.
        seed: of both.

    Raises:
        ValueError: if the shapes differ, a number is not finite, or a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax import energy_threshold
        >>> energy = np.arange(200.0)
        >>> found = energy_threshold(energy, energy > 149)
        >>> found.value, found.below, found.above
        (149.5, 0.0, 1.0)
    """
    require_between("least_share", least_share, 0.0, 0.5)
    require_between("confidence", confidence, 0.0, 1.0)
    require(resamples >= 1, "resamples", resamples, "be >= 1")
    amounts, labels = np.asarray(energy, np.float64), np.asarray(memorized)
    require(amounts.ndim == 1 and amounts.size >= 2, "energy", amounts.shape, "be (n,), n >= 2")
    fits = labels.shape == amounts.shape
    require(fits, "memorized", f"shape {labels.shape}", f"have the energies', {amounts.shape}")
    require(bool(np.isin(labels, (0, 1)).all()), "memorized", labels, "be true or false")
    bad = int(np.sum(~np.isfinite(amounts)))
    require(bad == 0, "energy", f"{bad} numbers that are not", "be finite")
    order = np.argsort(amounts, kind="stable")
    amounts, steps = amounts[order], labels[order].astype(np.float64)
    once, draws = np.ones(amounts.size), np.random.default_rng(seed)
    gain, value, rates = _step(amounts, steps, once, least_share)
    values, chance = np.empty(resamples), 0
    for i in range(resamples):
        often = np.bincount(draws.integers(0, once.size, once.size), minlength=once.size)
        values[i] = _step(amounts, steps, often.astype(np.float64), least_share)[1]
        chance += _step(amounts, draws.permutation(steps), once, least_share)[0] >= gain
    low = high = float("nan")
    if np.isfinite(values).any():
        tail = (1 - confidence) / 2
        low, high = np.nanquantile(values, [tail, 1 - tail])
    p_value = (1 + chance) / (1 + resamples)
    return EnergyThreshold(value, float(low), float(high), *rates, p_value)


def _step(
    amounts: np.ndarray, labels: np.ndarray, often: np.ndarray, least_share: float
) -> tuple[float, float, tuple[float, float]]:
    """Log-likelihood gained by the best step up, where it is, and the rates beside it.

    Args:
        amounts: in rising order.
        labels: 0 or 1.
        often: how many times each sample counts.
        least_share: of the samples on either side.
    """
    number, count = np.cumsum(often), np.cumsum(often * labels)
    total, positive = number[-1], count[-1]
    number, count = number[:-1], count[:-1]
    least = max(1.0, least_share * total)
    allowed = (number >= least) & (total - number >= least) & (np.diff(amounts) > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        below, above = count / number, (positive - count) / (total - number)
        gain = _likelihood(count, number) + _likelihood(positive - count, total - number)
    gain = np.where(allowed & (above > below), gain - _likelihood(positive, total), -np.inf)
    best = int(np.argmax(gain))
    if not np.isfinite(gain[best]):
        return -np.inf, float("nan"), (float("nan"), float("nan"))
    value = (amounts[best] + amounts[best + 1]) / 2
    return float(gain[best]), float(value), (float(below[best]), float(above[best]))


def _likelihood(count: Any, number: Any) -> Any:
    """The greatest log-likelihood of `count` successes of `number`."""
    share = count / number
    return xlogy(count, share) + xlogy(number - count, 1 - share)
