"""A check of the checkpoint that `snap` compares with: it must not copy itself."""

import math
from typing import Any

import jax
import numpy as np
from jaxtyping import ArrayLike, Bool, Float, PRNGKeyArray, PyTree

from kinetic_jax import _checks
from kinetic_jax._checks import conditions_of, fraction, require, require_key, whole_number
from kinetic_jax.copies._guesses import snap
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.metrics import Estimate
from kinetic_jax.metrics._intervals import wilson

# Of mean squares: half the distance from the sample, and ½ of what the median sample has.
HALVED, ABOVE_MEDIAN = math.log(4), math.log(2)


def check_earlier(
    earlier: VelocityField,
    earliest: VelocityField,
    x1: PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    key: PRNGKeyArray,
    limit: float = 0.01,
    confidence: float = 0.95,
    batch_size: int = 500,
) -> Estimate:
    """Refuses a checkpoint that copies already, by `snap` against a still earlier one.

    A checkpoint that knows copies by heart hides them: `snap(field, earlier, ...)` is then about 0
    for them as well. A sample of `earlier` *snaps* if `snap > min(ln 4, median + ln 2)`, the rule
    of `kinetic_jax.comparison.compare`.

    Args:
        earlier: the checkpoint.
        earliest: one from before it, or a model trained on other data.
        x1: samples of `earlier`, shape (batch, *event), or a pytree of such arrays.
        cond: their conditions.
        key: of the noise of `snap`, which all samples share.
        limit: the share of samples that may snap, in (0, 1).
        confidence: of the interval of that share.
        batch_size: samples in memory together.

    Returns:
        The share of samples that snap, with its Wilson interval.

    Raises:
        ValueError: if the lower end of that interval is above `limit`; fewer than two samples are
            finite; or as `snap`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import kinetic_jax as kj
        >>> from kinetic_jax.copies import check_earlier
        >>> key, broad = jax.random.key(0), kj.GaussianField(jnp.zeros(16), 1.0)
        >>> x0 = kj.noise(key, jnp.arange(100), (16,))
        >>> fine = kj.GaussianField(jnp.zeros(16), 0.9)
        >>> check_earlier(fine, broad, kj.sample(fine, x0, num_steps=20).x1, key=key).value
        0.0
        >>> atoms = kj.EmpiricalField(jax.random.normal(jax.random.key(1), (10, 16)))
        >>> check_earlier(atoms, broad, kj.sample(atoms, x0, num_steps=20).x1, key=key)
        Traceback (most recent call last):
        ...
        ValueError: earlier must be a model from before copying, got one 100% [96.3%, 100%] of \
whose samples snap against earliest
    """
    earlier, earliest = as_field(earlier, "earlier"), as_field(earliest, "earliest")
    require_key("key", key)
    limit, confidence = fraction("limit", limit), fraction("confidence", confidence)
    number, size = _checks.batch_size("x1", x1), whole_number("batch_size", batch_size, 1)
    cond = conditions_of(cond, number, "x1")
    scores = []
    for start in range(0, number, size):
        rows = slice(start, start + size)
        part, given = jax.tree.map(lambda leaf, rows=rows: leaf[rows], (x1, cond))
        scores.append(np.asarray(snap(earlier, earliest, part, given, key=key), np.float64))
    is_known = np.isfinite(np.concatenate(scores))
    require(bool(is_known.sum() >= 2), "x1", f"{is_known.sum()} finite samples", "have two or more")
    share = share_snapped(np.concatenate(scores)[is_known], confidence)
    value, low, high = (f"{100 * end:.3g}%" for end in (share.value, share.low, share.high))
    copying = f"one {value} [{low}, {high}] of whose samples snap against earliest"
    require(share.low <= limit, "earlier", copying, "be a model from before copying")
    return share


def share_snapped(scores: Float[np.ndarray, " n"], confidence: float) -> Estimate:
    """The share of samples that snap, with its Wilson interval."""
    count = int(snapped(scores).sum())
    return Estimate(count / len(scores), *wilson(count, len(scores), confidence))


def snapped(scores: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Flags of the samples that snap: see `check_earlier`. Scores are finite."""
    if not scores.size:
        return np.zeros(0, bool)
    return scores > min(HALVED, float(np.median(scores)) + ABOVE_MEDIAN)
