"""Rejection of the riskiest candidates, the same share of every stratum."""

import warnings
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Integer, PRNGKeyArray

from kinetic_jax._checks import (
    fraction,
    numbers,
    real_array,
    real_number,
    require,
    require_finite,
    require_key,
    require_known,
    whole_number,
)
from kinetic_jax.metrics._intervals import wilson

Labels: TypeAlias = Integer[ArrayLike, " n"] | Bool[ArrayLike, " n"]

DEFAULT_SHARE = 0.2


class Stratum(NamedTuple):
    """One stratum of a `Rejection`.

    Attributes:
        label: its label.
        candidates: how many there were.
        rejected: how many of them were rejected.
        unknown: how many of those that stay have an unknown risk.
        most: the greatest known risk among those that stay; NaN if there is none.
    """

    label: int
    candidates: int
    rejected: int
    unknown: int
    most: float


class Rejection(NamedTuple):
    """The result of `reject`.

    Attributes:
        kept: numbers of the candidates that stay, ascending, shape (kept,).
        rejected: numbers of the others, ascending, shape (rejected,).
        strata: the strata, by label.
        share: of the candidates that were rejected.
        low: lower end of its interval: Wilson's, for the share of further candidates that reach
            the `limit`. A share that was given is no estimate, and both ends are that share.
        high: upper end.
    """

    kept: Integer[np.ndarray, " kept"]
    rejected: Integer[np.ndarray, " rejected"]
    strata: tuple[Stratum, ...]
    share: float
    low: float
    high: float

    @property
    def unknown(self) -> int:
        """The number of candidates that stay with an unknown risk."""
        return sum(stratum.unknown for stratum in self.strata)

    @property
    def candidates_per_kept(self) -> float:
        """The cost: how many candidates were sampled for each that stays."""
        total = self.kept.size + self.rejected.size
        return total / self.kept.size if self.kept.size else float("inf")


def reject(
    risk: Float[ArrayLike, " n"],
    *,
    share: float | None = None,
    limit: float | None = None,
    strata: Labels | None = None,
    confidence: float = 0.95,
) -> Rejection:
    """Rejects the riskiest candidates, the same share of every stratum.

    The classes of a model are not copied equally often, so that rejection by risk alone moves the
    mix of classes. Within strata (predicted classes, or `clusters` of features) it stays.

    A NaN is an unknown risk, which is never taken for a low one: in each stratum those are rejected
    first, then the greatest risks, and of equals the later ones. The number in each stratum is in
    proportion to its candidates, rounded by largest remainders, so that the total is exact; of
    equal remainders the lower label's comes first.

    Args:
        risk: of each candidate, higher for a likelier copy, such as `snap`, shape (n,).
        share: of the candidates to reject, in [0, 1), rounded to a whole number of them. 0.2 if
            neither a share nor a limit is given.
        limit: as many are rejected as have this risk or more, or an unknown one. Without strata
            they are those; within strata the mix decides, so that one stratum may keep risks above
            the limit (see `most`), and another lose some below it.
        strata: the stratum of each candidate, whole numbers, shape (n,). None for one stratum.
        confidence: level of the interval of a share that follows from a limit, in (0, 1).

    Returns:
        The numbers of the candidates that stay, in their order, and counts by stratum.

    Raises:
        ValueError: if there are no candidates, both `share` and `limit` are given, one is out of
            range, or `strata` has another shape or is not of whole numbers.

    Example:
        Candidates 1 and 5 are the riskiest of their classes:

        >>> import numpy as np
        >>> from kinetic_jax.copies import reject
        >>> risk = np.array([0.1, 0.9, 0.2, 0.8, 0.7, 0.3, 0.0, 0.1, 0.2, 0.1])
        >>> label = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
        >>> reject(risk, share=0.2).rejected
        array([1, 3])
        >>> reject(risk, share=0.2, strata=label).rejected
        array([1, 5])
    """
    risks = checked_scores("risk", risk)
    labels = _labels(strata, risks.size)
    amount = checked_amount(share, limit, confidence)
    if amount.limit is None:
        count = int(np.floor(amount.share * risks.size + 0.5))
        low = high = count / risks.size
    else:
        # A comparison that is false for NaN: an unknown risk is not below the limit.
        count = int(np.sum(~(risks < amount.limit)))
        low, high = wilson(count, risks.size, amount.confidence)
    names, sizes = np.unique(labels, return_counts=True)
    out, parts = np.zeros(risks.size, bool), list[Stratum]()
    for name, number in zip(names.tolist(), _proportional(sizes, count), strict=True):
        members = np.flatnonzero(labels == name)
        out[_riskiest(risks, members)[:number]] = True
        parts.append(_stratum(name, risks[members], out[members]))
    kept, rejected = np.flatnonzero(~out), np.flatnonzero(out)
    return Rejection(kept, rejected, tuple(parts), count / risks.size, low, high)


class Amount(NamedTuple):
    """The share to reject, or the limit that decides it, and the level of its interval."""

    share: float
    limit: float | None
    confidence: float


def checked_amount(share: object, limit: object, confidence: object) -> Amount:
    """The checked arguments of `reject`.

    Raises:
        ValueError: if one is out of range, or both a share and a limit are given.
    """
    level = fraction("confidence", confidence)
    given = real_number("share", DEFAULT_SHARE if share is None else share)
    require(0 <= given < 1, "share", share, "lie in [0, 1)")
    if limit is None:
        return Amount(given, None, level)
    least = real_number("limit", limit)
    require(share is None, "limit", limit, "be left out where a share is given")
    return Amount(given, least, level)


def checked_scores(name: str, value: object) -> np.ndarray:
    """Scores as a float64 vector with at least one entry.

    Raises:
        ValueError: if they are traced, not real numbers, or no such vector.
    """
    scores = real_array(name, value)
    is_vector = scores.ndim == 1 and scores.size >= 1
    require(is_vector, name, f"shape {scores.shape}", "be a vector, one for each candidate")
    return scores


def _labels(strata: object, size: int) -> np.ndarray:
    if strata is None:
        return np.zeros(size, np.int64)
    labels = numbers("strata", strata)
    is_whole = labels.dtype.kind in "iub"
    require(is_whole, "strata", f"dtype {labels.dtype}", "be whole numbers")
    require(labels.shape == (size,), "strata", f"shape {labels.shape}", f"be of shape ({size},)")
    return labels.astype(np.int64)


def _proportional(sizes: np.ndarray, count: int) -> np.ndarray:
    """Shares of `count` in proportion to `sizes`, by largest remainders, in whole numbers."""
    # In Python's own numbers the products are exact.
    total = sum(map(int, sizes))
    parts = np.array([count * int(size) // total for size in sizes])
    remainders = np.array([count * int(size) % total for size in sizes])
    first = np.argsort(-remainders, kind="stable")[: count - int(parts.sum())]
    parts[first] += 1
    return parts


def _riskiest(risks: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The members in the order in which they are rejected."""
    own = risks[members]
    is_known = ~np.isnan(own)
    return members[np.lexsort((-members, -np.where(is_known, own, 0), is_known))]


def _stratum(label: int, risks: np.ndarray, out: np.ndarray) -> Stratum:
    stay = risks[~out]
    known = stay[~np.isnan(stay)]
    most = float(known.max()) if known.size else float("nan")
    return Stratum(label, risks.size, int(out.sum()), stay.size - known.size, most)


def clusters(
    features: Float[ArrayLike, "n features"], k: int, *, key: PRNGKeyArray
) -> Integer[np.ndarray, " n"]:
    """Clusters of samples by k-means, as the strata of `reject` where there is no classifier.

    Centres begin at rows drawn far apart (k-means++), and move 20 times.

    Args:
        features: of the samples, shape (n, features), in a scale in which distances have a
            meaning.
        k: the number of clusters, at most the number of different rows.
        key: a JAX random key of the first centres; the same key gives the same clusters.

    Returns:
        The number of the cluster of each sample, shape (n,). A cluster may lose all its members.

    Raises:
        ValueError: if the features are no finite matrix, `k` is out of range, or `key` is no key.

    Example:
        >>> import jax, numpy as np
        >>> from kinetic_jax.copies import clusters
        >>> rows = np.array([[0.0, 0.0], [9.0, 9.0], [0.1, 0.0], [9.0, 9.1]])
        >>> labels = clusters(rows, 2, key=jax.random.key(0))
        >>> bool(labels[0] == labels[2] != labels[1] == labels[3])
        True

    References:
        Arthur and Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007.
    """
    require_key("key", key)
    require_known("key", key)
    rows = real_array("features", features)
    is_matrix = rows.ndim == 2 and rows.size >= 1
    require(is_matrix, "features", f"shape {rows.shape}", "be a matrix, a row for each sample")
    require_finite("features", rows)
    most = len(np.unique(rows, axis=0))
    number = whole_number("k", k, 1, most, why=", the number of different rows")
    return _clustered(rows, number, key)


def _clustered(rows: np.ndarray, number: int, key: PRNGKeyArray) -> np.ndarray:
    from scipy.cluster.vq import kmeans2  # a slow import

    is_typed = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    entropy = np.asarray(jax.random.key_data(key) if is_typed else key, np.uint32)
    with warnings.catch_warnings():
        # A cluster that lost its members is a stratum without candidates.
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        drawn = np.random.default_rng(entropy.reshape(-1).tolist())
        _, labels = kmeans2(rows, number, iter=20, minit="++", seed=drawn)
    return np.asarray(labels, np.int64)
