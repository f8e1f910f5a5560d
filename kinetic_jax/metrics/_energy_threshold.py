"""The energy at which memorisation takes off."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from kinetic_jax._checks import (
    fraction,
    real_array,
    real_number,
    require,
    require_between,
    whole_number,
)
from kinetic_jax._progress import check_progress, progress_bar


class EnergyThreshold(NamedTuple):
    """What `energy_threshold` returns.

    Attributes:
        value: the energy that parts the samples, halfway between two of them; NaN where no
            splitting leaves more memorised samples above than below.
        low: lower end of its interval.
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
    progress: bool | None = None,
) -> EnergyThreshold:
    """The energy above which samples are memorised more often: where the curve takes off.

    The change point of greatest likelihood of a rate that steps up once, for samples in order of
    their energy. The interval holds the steps that lose no more likelihood than the true one
    does in draws from the fitted step (a bootstrap of the change point itself would not cover). A
    permutation test tells whether there is a step at all: with a p-value that is not small, the
    threshold means nothing.

    Args:
        energy: energies, or a part of them, shape (n,), finite.
        memorized: as `memorization` says, shape (n,); valid samples alone.
        least_share: of the samples on either side, in (0, 0.5).
        confidence: of the interval, in (0, 1).
        resamples: draws, and permutations.
        seed: of both.
        progress: whether to draw a progress bar; None: on a terminal only.

    Raises:
        ValueError: if the shapes differ, a number is not finite, or a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax import energy_threshold
        >>> energy = np.arange(200.0)
        >>> found = energy_threshold(energy, energy > 149)
        >>> found.value, found.below, found.above
        (149.5, 0.0, 1.0)

    References:
        Hinkley and Hinkley, Inference about the change-point in a sequence of binomial variables,
        1970.
    """
    require_between("least_share", real_number("least_share", least_share), 0.0, 0.5)
    confidence, seed = fraction("confidence", confidence), whole_number("seed", seed, 0)
    resamples = whole_number("resamples", resamples, 1)
    check_progress(progress)
    amounts, labels = real_array("energy", energy), real_array("memorized", memorized)
    require(amounts.ndim == 1 and amounts.size >= 2, "energy", amounts.shape, "be (n,), n >= 2")
    fits = labels.shape == amounts.shape
    require(fits, "memorized", f"shape {labels.shape}", f"have the energies', {amounts.shape}")
    odd = int(np.sum(~np.isin(labels, (0, 1))))
    require(odd == 0, "memorized", f"{odd} that are not", "be true or false")
    bad = int(np.sum(~np.isfinite(amounts)))
    require(bad == 0, "energy", f"{bad} numbers that are not", "be finite")
    order = np.argsort(amounts, kind="stable")
    amounts, steps = amounts[order], labels[order].astype(np.float64)
    least = max(1.0, least_share * steps.size)
    number = np.arange(1, steps.size)
    allowed = (number >= least) & (steps.size - number >= least) & (np.diff(amounts) > 0)
    curve, draws = _gains(steps, allowed), np.random.default_rng(seed)
    best = int(np.argmax(curve)) if curve.size else 0
    nan = float("nan")
    if not np.isfinite(curve[best]):
        return EnergyThreshold(nan, nan, nan, nan, nan, 1.0)
    by_chance = []
    with progress_bar("permutations", resamples, show=progress) as update:
        for done in range(resamples):
            by_chance.append(_gains(draws.permutation(steps), allowed).max())
            update(done + 1, "")
    p_value = (1 + np.sum(np.array(by_chance) >= curve[best] - 1e-9)) / (1 + resamples)
    cutoff = np.quantile(_lost(steps, allowed, best, resamples, draws), confidence, method="higher")
    accepted = np.flatnonzero(curve >= curve[best] - cutoff - 1e-9)
    return EnergyThreshold(
        value=float(amounts[best] + amounts[best + 1]) / 2,
        low=float(amounts[accepted[0]]),
        high=float(amounts[accepted[-1] + 1]),
        below=float(steps[: best + 1].mean()),
        above=float(steps[best + 1 :].mean()),
        p_value=float(p_value),
    )


def _gains(labels: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Log-likelihood that a step up after each sample gains over one rate; −∞ where there is none.

    Args:
        labels: 0 or 1, in order of energy, shape (n,).
        allowed: where a step may be, shape (n − 1,).
    """
    number, count = np.arange(1, labels.size), np.cumsum(labels)
    total, positive, count = labels.size, count[-1], count[:-1]
    below, above = count / number, (positive - count) / (total - number)
    gain = _likelihood(count, number) + _likelihood(positive - count, total - number)
    return np.where(allowed & (above > below), gain - _likelihood(positive, total), -np.inf)


def _lost(
    labels: np.ndarray, allowed: np.ndarray, best: int, resamples: int, draws: np.random.Generator
) -> np.ndarray:
    """How much likelihood the true step lacks to the best one, in draws from the fitted step."""
    rates = np.empty(labels.size)
    for part in (slice(best + 1), slice(best + 1, None)):
        # Not 0 or 1: a rate of none among few is no certainty.
        rates[part] = (labels[part].sum() + 0.5) / (labels[part].size + 1)
    lost = np.zeros(resamples)
    for i in range(resamples):
        curve = _gains((draws.random(labels.size) < rates).astype(np.float64), allowed)
        top = curve.max()
        lost[i] = top - curve[best] if np.isfinite(top) else 0.0
    return lost


def _likelihood(count: Any, number: Any) -> Any:
    """The greatest log-likelihood of `count` successes of `number`."""
    from scipy.special import xlogy

    share = count / number
    return xlogy(count, share) + xlogy(number - count, 1 - share)
