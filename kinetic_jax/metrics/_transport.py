"""The least and other energies that a flow from noise to some data needs (Benamou and Brenier)."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from kinetic_jax._checks import (
    fraction,
    numbers,
    real_array,
    require,
    require_finite,
    require_key,
    require_known,
    whole_number,
)
from kinetic_jax.metrics._intervals import Interval, bootstrap_mean
from kinetic_jax.sampling import noise


class TransportBounds(NamedTuple):
    """Mean kinetic path energies of flows from N(0, I) to data, with the ½; see `transport_bounds`.

    Attributes:
        floor: Gelbrich's bound of W2²/2, below which no flow to these moments is.
        assignment: W2²/2 between as many draws of noise and rows of the data, or None.
        gaussian: of the exact flow of the Gaussian with the data's moments.
        independent: of straight lines between independent noise and data.
        num_assigned: how many rows `assignment` compares; 0 for None.
    """

    floor: float
    assignment: float | None
    gaussian: float
    independent: float
    num_assigned: int


def transport_bounds(
    data: Float[ArrayLike, "rows *event"],
    *,
    key: PRNGKeyArray | None = None,
    num_assigned: int = 1000,
) -> TransportBounds:
    """The least mean energy of a flow to some data, and that of three references.

    A flow from N(0, I) to the data has a mean energy `E ≥ W2²/2` (Benamou and Brenier), the
    squared distance of optimal transport. With the mean μ of the data and their standard deviations
    s_j along the principal axes,

    - `W2²/2 ≥ (||μ||² + Σ (1 − s_j)²)/2` (Gelbrich), with equality for Gaussian data;
    - W2²/2 itself between n draws of noise and n rows is the least cost of an assignment, which is
      above that of the distributions, more so in many dimensions;
    - the exact flow of the Gaussian with the same moments has
      `(||μ||² + Σ (1 + s_j² − π s_j/2))/2`;
    - straight lines between independent ends, the ceiling of flow matching's own coupling, have
      `(||μ||² + Σ s_j² + d)/2`.

    Args:
        data: the data in the scale of the flow, shape (rows, *event).
        key: a JAX random key of the noise and the rows of the assignment; None for none.
        num_assigned: n, at most the number of rows; time grows as n³ (1,000 take about a second).

    Returns:
        The four energies; `assignment` is None without a `key`.

    Raises:
        ValueError: if there are fewer than two rows, they are not finite, or `key` is not a key.

    Example:
        >>> import jax
        >>> from kinetic_jax.metrics import transport_bounds
        >>> data = 2.0 + 0.5 * jax.random.normal(jax.random.key(0), (2000, 1))
        >>> bounds = transport_bounds(data, key=jax.random.key(1))
        >>> round(bounds.floor, 1), round(bounds.gaussian, 1), round(bounds.independent, 1)
        (2.1, 2.2, 2.6)

    References:
        Benamou and Brenier, Numerische Mathematik 84, 2000; Gelbrich, Mathematische Nachrichten
        147, 1990.
    """
    require_known("data", data)
    if key is not None:
        require_key("key", key)
        require_known("key", key)
    most = whole_number("num_assigned", num_assigned, 1)
    rows = numbers("data", data)
    is_set = rows.ndim >= 1 and rows.shape[0] >= 2
    require(is_set, "data", f"shape {rows.shape}", "have at least two rows")
    rows = real_array("data", rows).reshape(rows.shape[0], -1)
    require_finite("data", rows)
    mean = rows.mean(axis=0)
    deviations = np.linalg.svd(rows - mean, compute_uv=False) / np.sqrt(rows.shape[0])
    # Fewer rows than dimensions: the data do not vary along the others.
    scales = np.zeros(rows.shape[1])
    scales[: deviations.size] = deviations[: scales.size]
    square = float(mean @ mean)
    size = 0 if key is None else min(most, rows.shape[0])
    return TransportBounds(
        (square + float(np.sum((1 - scales) ** 2))) / 2,
        None if key is None else _assigned(rows, key, size),
        (square + float(np.sum(1 + scales**2 - np.pi / 2 * scales))) / 2,
        (square + float(np.sum(scales**2)) + rows.shape[1]) / 2,
        size,
    )


def _assigned(rows: np.ndarray, key: PRNGKeyArray, size: int) -> float:
    """Half the mean squared distance of the best assignment of noise to rows."""
    from scipy.optimize import linear_sum_assignment  # slow imports
    from scipy.spatial.distance import cdist

    key_rows, key_noise = jax.random.split(key)
    picked = np.asarray(jax.random.choice(key_rows, len(rows), (size,), replace=False))
    starts = noise(key_noise, np.arange(size), (rows.shape[1],))
    costs = cdist(np.asarray(starts, np.float64), rows[picked], "sqeuclidean")
    return float(costs[linear_sum_assignment(costs)].mean() / 2)


class Efficiency(NamedTuple):
    """The result of `efficiency`.

    Attributes:
        value: the floor over the mean energy: 1 for optimal transport to Gaussian data.
        low: lower end of its interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


def efficiency(
    energy: Float[ArrayLike, " n"],
    bounds: TransportBounds,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Efficiency:
    """The nearness of a flow to optimal transport: `bounds.floor` over its mean energy.

    Args:
        energy: energies of samples, `run.energy.total` at rest (without `frame` or `mass`), (n,).
        bounds: from `transport_bounds` of the data.
        confidence: level of the interval, a bootstrap of the mean energy, in (0, 1).
        resamples: number of bootstrap draws.
        seed: seed of the draws.

    Returns:
        The efficiency with its interval.

    Raises:
        ValueError: if the energies are not finite and positive, or a setting is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField, noise, sample
        >>> from kinetic_jax.metrics import efficiency, transport_bounds
        >>> data = 0.5 * jax.random.normal(jax.random.key(0), (4000, 3))
        >>> x0 = noise(jax.random.key(1), jnp.arange(500), (3,))
        >>> run = sample(GaussianField(jnp.zeros(3), 0.5), x0)
        >>> share = efficiency(run.energy.total, transport_bounds(data))
        >>> 0.5 < share.low < share.value < share.high < 0.6  # (1 − ½)²/(1 + ¼ − π/4) = 0.54
        True
    """
    is_bounds = isinstance(bounds, TransportBounds)
    require(is_bounds, "bounds", type(bounds).__name__, "be what transport_bounds returned")
    energies = real_array("energy", energy)
    is_vector = energies.ndim == 1 and energies.size >= 1
    require(is_vector, "energy", f"shape {energies.shape}", "be a vector of energies")
    require_finite("energy", energies)
    require(bool(np.all(energies > 0)), "energy", energies.min(), "be positive")
    confidence = fraction("confidence", confidence)
    draws = np.random.default_rng(whole_number("seed", seed, 0))
    ends = bootstrap_mean(energies, confidence, whole_number("resamples", resamples, 1), draws)
    interval = Interval(bounds.floor / ends.high, bounds.floor / ends.low)
    return Efficiency(bounds.floor / float(energies.mean()), *interval)
