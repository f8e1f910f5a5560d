"""Evidence that a model was read rightly: against the data, and against its own corrections."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

BINS = 4  # of time
HALVES = 2
# Widths of the smoothed data, times their overall standard deviation.
WIDTHS = (0.03, 0.1, 0.2, 0.4, 0.8)
ENTRIES = 2**22  # numbers of the data in the smoothed flow, and at most so many rows:
ROWS = 2048
NO_BETTER = 1.02  # times the Gaussian's loss: a greater one fits nothing
# Times the loss with a constant output, below which a model must be: one that beats the Gaussian,
# and others. A random correction of a nearly right path can do as well as the Gaussian.
INFORMS, INFORMS_MUCH = 0.98, 0.8
LEARNED = 0.85  # of what the smoothed data gain over the Gaussian, which a model must gain
CORRECTED = 0.03  # share of the loss that a linear correction may remove
LEVEL = 1e-3  # of the test of Gaussian data
MOST_COORDINATES = 64  # and as many directions
LEAST_ROWS = 200  # with fewer, that test finds nothing


class Neighbors(NamedTuple):
    """Some of the rows, less their mean, and where in the data they are."""

    rows: Float[Array, "some size"]
    places: Int[Array, " some"]
    widths: Float[Array, " widths"]


def neighbors_of(
    rows: Float[Array, "rows *event"], mean: Float[Array, "*event"], scale: float
) -> Neighbors:
    """The rows that make the smoothed flow."""
    size = max(1, rows[0].size)
    most = max(1, min(ROWS, ENTRIES // size))
    places = jnp.arange(0, rows.shape[0], -(-rows.shape[0] // most))
    some = rows[places].astype(mean.dtype) - mean[None]
    widths = jnp.asarray(np.multiply(WIDTHS, scale), mean.dtype)
    return Neighbors(some.reshape(len(places), size), places, widths)


def smoothed_velocities(
    neighbors: Neighbors,
    times: Float[Array, " times"],
    x: Float[Array, "times size"],
    picked: Int[Array, " times"],
) -> Float[Array, "widths times size"]:
    """The exact flow of other rows, each a Gaussian of some width, at points without their mean.

    The row from which a point was made is left out, so that this is an estimate from other data.
    """
    products = jnp.matmul(x, neighbors.rows.T, precision="highest")
    t = times[:, None]
    squares = jnp.sum(neighbors.rows**2, axis=1)[None, :]
    # ||x − t c||² without ||x||², which all rows share.
    apart = t**2 * squares - 2 * t * products
    is_own = picked[:, None] == neighbors.places[None, :]

    def of_width(width: Array) -> Array:
        variance = t**2 * width**2 + (1 - t) ** 2
        weights = jax.nn.softmax(jnp.where(is_own, -jnp.inf, -apart / (2 * variance)), axis=1)
        centers = jnp.matmul(weights, neighbors.rows, precision="highest")
        return centers + (t * width**2 - (1 - t)) / variance * (x - t * centers)

    return jax.lax.map(of_width, neighbors.widths)


def products_in_bins(
    features: list[Float[Array, "times size"]], weight: Float[Array, " times"]
) -> Float[Array, "halves bins features features"]:
    """Weighted inner products of features by bin of time, of even and of odd samples."""
    number = weight.shape[0]
    bins = jnp.arange(number) * BINS // number
    halves = jnp.arange(number) % HALVES
    cells = jax.nn.one_hot(halves * BINS + bins, HALVES * BINS, dtype=weight.dtype)
    products = jnp.stack([jnp.stack([jnp.sum(a * b, axis=1) for b in features]) for a in features])
    summed = jnp.einsum("abn,n,nc->cab", products, weight, cells, precision="highest")
    return summed.reshape(HALVES, BINS, len(features), len(features))


def share_of_linear_correction(
    products: Float[np.ndarray, "halves bins features features"],
) -> float:
    """The share of the loss that a linear correction removes, from `products_in_bins`.

    The first feature is the residual. Coefficients of the others are fitted in each bin on one half
    of the samples, and the loss is that of the other half.
    """
    products = products.astype(np.float64)
    if not np.isfinite(products).all():
        return float("nan")
    before = after = 0.0
    for half in range(HALVES):
        for fitted, other in zip(products[half], products[1 - half], strict=True):
            scale = np.sqrt(np.maximum(np.diag(fitted)[1:], 1e-30))
            normal = fitted[1:, 1:] / np.outer(scale, scale)
            wanted = fitted[1:, 0] / scale
            coefficients = np.linalg.lstsq(normal, wanted, rcond=1e-4)[0] / scale
            before += other[0, 0]
            after += other[0, 0] - 2 * coefficients @ other[1:, 0]
            after += coefficients @ other[1:, 1:] @ coefficients
    return 1 - after / before if before > 0 else 0.0


def may_be_gaussian(rows: Float[np.ndarray, "rows size"]) -> bool:
    """True if tests find no difference from a Gaussian with independent coordinates.

    Skewness and kurtosis of coordinates and of random directions, correlations of pairs, and
    those of squares, at the level 0.001 together. False for fewer than 200 rows.
    """
    number = len(rows)
    if number < LEAST_ROWS:
        return False
    from scipy.stats import norm, normaltest  # a slow import

    spread = rows.std(axis=0)
    varies = np.flatnonzero(spread > 0)
    rng = np.random.default_rng(0)
    picked = rng.permutation(varies)[:MOST_COORDINATES]
    some = (rows[:, picked] - rows[:, picked].mean(axis=0)) / spread[picked]
    directions = some @ rng.standard_normal((len(picked), MOST_COORDINATES))
    p_values = list(normaltest(np.concatenate([some, directions], axis=1)).pvalue)
    if len(picked) > 1:
        pairs = np.triu_indices(len(picked), 1)
        limit = 1 - 1e-9
        correlations = np.concatenate(
            [np.corrcoef(each, rowvar=False)[pairs] for each in (some, some**2)]
        )
        z = np.arctanh(np.clip(correlations, -limit, limit)) * np.sqrt(number - 3)
        p_values.append(2 * len(z) * norm.sf(np.abs(z).max()))
        return bool(min(p_values[:-1]) * 2 * len(p_values) > LEVEL and p_values[-1] * 2 > LEVEL)
    return bool(min(p_values) * len(p_values) > LEVEL)


class Reference(NamedTuple):
    """Losses that need no model, and what is known of the data."""

    gaussian: float
    smoothed: float
    may_be_gaussian: bool


def reason_against(loss: float, constant: float, correction: float, reference: Reference) -> str:
    """Why a convention of this loss does not fit; empty if it does."""
    gaussian = reference.gaussian
    if not np.isfinite(loss):
        return "its loss is not finite"
    if loss > NO_BETTER * gaussian:
        return f"its loss is {loss / gaussian:.3g} times that of a Gaussian flow"
    is_better = loss <= INFORMS * gaussian
    if loss > (INFORMS if is_better else INFORMS_MUCH) * constant:
        ratio = constant / loss
        return f"a constant in place of the model's outputs has a loss of only {ratio:.3g} times it"
    if not is_better and not reference.may_be_gaussian:
        return "it is no better than a Gaussian flow, and nothing says that the data are Gaussian"
    gained, possible = (1 - each / gaussian for each in (loss, reference.smoothed))
    if gained < LEARNED * possible:
        return (
            f"its loss is {gained:.1%} below that of a Gaussian flow, that of the smoothed flow of "
            f"other rows {possible:.1%}"
        )
    if correction > CORRECTED:
        return f"a linear correction of its velocities removes {correction:.1%} of the loss"
    return ""
