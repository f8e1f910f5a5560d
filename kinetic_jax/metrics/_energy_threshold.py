"""The energy above which memorisation is more frequent."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Shaped

from kinetic_jax._checks import (
    fraction,
    real_array,
    real_number,
    require,
    require_between,
    whole_number,
)
from kinetic_jax._progress import check_progress
from kinetic_jax.metrics._features import require_finite_numbers
from kinetic_jax.metrics._intervals import repeated


class EnergyThreshold(NamedTuple):
    """The result of `energy_threshold`.

    Attributes:
        value: the threshold, halfway between the energies of two samples; NaN if no split has a
            larger share of memorised samples above than below.
        low: lower end of its interval.
        high: upper end.
        below: share of memorised samples below it.
        above: share of memorised samples above it.
        p_value: of the permutation test: the share of random permutations of the labels whose
            best split is at least as likely.
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
    """The energy above which samples are memorised more often.

    The maximum-likelihood change point of a memorisation rate that steps up once, for samples in
    order of their energy. The interval contains the change points that lose no more
    log-likelihood than the true one loses in draws from the fitted step (a bootstrap of the
    change point itself would not cover). A permutation test decides if there is a step at all:
    unless the p-value is small, the threshold means nothing.

    Args:
        energy: energies, or a part of them, shape (n,), finite.
        memorized: the samples' `memorized` from `memorization`, shape (n,); valid samples only.
        least_share: the least share of the samples on either side, in (0, 0.5).
        confidence: level of the interval, in (0, 1).
        resamples: number of draws, and of permutations.
        seed: seed of both.
        progress: whether to draw a progress bar; None: on a terminal only.

    Returns:
        The threshold with its interval, the rates below and above it, and the p-value.

    Raises:
        ValueError: if the shapes differ, a number is not finite, or a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import energy_threshold
        >>> energy = np.arange(200.0)
        >>> threshold = energy_threshold(energy, energy > 149)
        >>> threshold.value, threshold.below, threshold.above
        (149.5, 0.0, 1.0)

    References:
        Hinkley and Hinkley, Inference about the change-point in a sequence of binomial variables,
        1970.
    """
    require_between("least_share", real_number("least_share", least_share), 0.0, 0.5)
    confidence, seed = fraction("confidence", confidence), whole_number("seed", seed, 0)
    resamples = whole_number("resamples", resamples, 1)
    check_progress(progress)
    energies, labels = real_array("energy", energy), real_array("memorized", memorized)
    require(energies.ndim == 1 and energies.size >= 2, "energy", energies.shape, "be (n,), n >= 2")
    fits = labels.shape == energies.shape
    require(
        fits, "memorized", f"shape {labels.shape}", f"have the energies' shape, {energies.shape}"
    )
    odd = int(np.sum(~np.isin(labels, (0, 1))))
    require(odd == 0, "memorized", f"{odd} that are not", "be true or false")
    require_finite_numbers("energy", energies)
    order = np.argsort(energies, kind="stable")
    energies, labels = energies[order], labels[order]
    least = max(1.0, least_share * labels.size)
    number = np.arange(1, labels.size)
    allowed = (number >= least) & (labels.size - number >= least) & (np.diff(energies) > 0)
    gains, draws = _log_likelihood_gains(labels, allowed), np.random.default_rng(seed)
    best = int(np.argmax(gains)) if gains.size else 0
    nan = float("nan")
    if not np.isfinite(gains[best]):
        return EnergyThreshold(nan, nan, nan, nan, nan, 1.0)

    def permuted() -> float:
        return _log_likelihood_gains(draws.permutation(labels), allowed).max()

    by_chance = repeated("permutations", resamples, permuted, progress)
    p_value = (1 + np.sum(by_chance >= gains[best] - 1e-9)) / (1 + resamples)
    deficits = _simulated_deficits(labels, allowed, best, resamples, draws)
    cutoff = np.quantile(deficits, confidence, method="higher")
    accepted = np.flatnonzero(gains >= gains[best] - cutoff - 1e-9)
    return EnergyThreshold(
        value=float(energies[best] + energies[best + 1]) / 2,
        low=float(energies[accepted[0]]),
        high=float(energies[accepted[-1] + 1]),
        below=float(labels[: best + 1].mean()),
        above=float(labels[best + 1 :].mean()),
        p_value=float(p_value),
    )


def _log_likelihood_gains(
    labels: Float[np.ndarray, " n"], allowed: Bool[np.ndarray, " n-1"]
) -> Float[np.ndarray, " n-1"]:
    """Gain in log-likelihood of a step after each sample over a constant rate; −∞ if no step up."""
    number, count = np.arange(1, labels.size), np.cumsum(labels)
    total, positive, count = labels.size, count[-1], count[:-1]
    below, above = count / number, (positive - count) / (total - number)
    step = _log_likelihood(count, number) + _log_likelihood(positive - count, total - number)
    return np.where(allowed & (above > below), step - _log_likelihood(positive, total), -np.inf)


def _simulated_deficits(
    labels: np.ndarray, allowed: np.ndarray, best: int, resamples: int, draws: np.random.Generator
) -> np.ndarray:
    """Log-likelihood that the true step loses to the best, in draws from the fitted step."""
    rates = np.empty(labels.size)
    for part in (slice(best + 1), slice(best + 1, None)):
        # Never 0 or 1: none among few samples does not make the rate 0.
        rates[part] = (labels[part].sum() + 0.5) / (labels[part].size + 1)
    deficits = np.zeros(resamples)
    for i in range(resamples):
        drawn = (draws.random(labels.size) < rates).astype(np.float64)
        gains = _log_likelihood_gains(drawn, allowed)
        deficits[i] = gains.max() - gains[best] if np.isfinite(gains.max()) else 0.0
    return deficits


def _log_likelihood(count: np.ndarray | float, number: np.ndarray | int) -> np.ndarray | float:
    """The maximum log-likelihood of `count` successes in `number` trials."""
    from scipy.special import xlogy

    share = count / number
    return xlogy(count, share) + xlogy(number - count, 1 - share)
