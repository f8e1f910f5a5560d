"""The two ends of the scale: a look at the sample alone, and the distance to the training set."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import float_array, numbers, require
from kinetic_jax._streaming import DEFAULT_CHUNK_SIZE, Rows
from kinetic_jax.metrics._neighbors import find_neighbors


def total_variation(x1: Float[ArrayLike, "batch *event"]) -> Float[Array, " batch"]:
    """The total variation of an image: copies have the texture of real images, which blur has not.

    `Σ (|x_{i+1,j} − x_{i,j}| + |x_{i,j+1} − x_{i,j}|)`. It knows nothing of the model: what other
    statistics do not beat is no evidence of a copy.

    Args:
        x1: images, shape (batch, height, width) or (batch, height, width, channels).

    Returns:
        A score for each image, shape (batch,); NaN for images that are not finite.

    Raises:
        ValueError: if `x1` is not a batch of images.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.copies import total_variation
        >>> images = np.stack([np.zeros((4, 4)), np.eye(4)])
        >>> total_variation(images.astype(np.float32))
        Array([ 0., 12.], dtype=float32)
    """
    images = float_array(x1, "x1")
    expected = "be images, (batch, height, width) or (batch, height, width, channels)"
    require(images.ndim in (3, 4), "x1", f"shape {images.shape}", expected)
    axes = tuple(range(1, images.ndim))
    steps = (jnp.abs(jnp.diff(images, axis=axis)) for axis in (1, 2))
    total = sum(jnp.sum(step, axis=axes) for step in steps)
    return jnp.where(jnp.all(jnp.isfinite(images), axis=axes), total, jnp.nan)


def train_distance(x1: Float[ArrayLike, "batch *event"], train: Rows) -> Float[Array, " batch"]:
    """The oracle: minus the ratio of the distances to the nearest and second nearest row.

    Above −1/3 a sample is memorised by the published rule; see `memorization`, which also says
    which row it is. It needs the training data, which the other statistics do without.

    Args:
        x1: the samples, shape (batch, *event).
        train: the training rows, shape (n, *event), at least two; may be a memmap.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: if the shapes of rows differ or there are fewer than two training rows.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.copies import train_distance
        >>> train = np.array([[0.0, 0.0], [3.0, 4.0]], np.float32)
        >>> train_distance(np.array([[0.3, 0.4]], np.float32), train).round(2)
        Array([-0.11], dtype=float32)
    """
    samples = numbers("x1", x1)
    require(samples.ndim >= 2, "x1", f"shape {samples.shape}", "be a batch of samples")
    is_known = np.isfinite(samples).all(axis=tuple(range(1, samples.ndim)))
    ratio = np.full(len(samples), np.nan, np.float32)
    if is_known.any():
        near = find_neighbors(
            samples[is_known],
            train,
            2,
            names=("x1", "train"),
            chunk_size=DEFAULT_CHUNK_SIZE,
            progress=False,
        )
        first, second = np.asarray(near.distances, np.float64).T
        ratio[is_known] = np.where(second > 0, first / np.where(second > 0, second, 1), 1)
    return jnp.asarray(-ratio)
