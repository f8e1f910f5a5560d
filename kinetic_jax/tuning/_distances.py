"""Distances of samples from real data, which `tune` keeps bounded."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import float_array, require, short, whole_number
from kinetic_jax._mesh import gathered
from kinetic_jax._pytree import as_pytree
from kinetic_jax._streaming import DEFAULT_CHUNK_SIZE
from kinetic_jax.metrics import FrechetReference, kernel_distance
from kinetic_jax.metrics._features import Embedding, embedded, features
from kinetic_jax.metrics._kernel import discrepancy


@dataclasses.dataclass(frozen=True)
class Distance:
    """A distance of samples from real data, in two steps: features, and their distance.

    The steps are apart because `tune` resamples the features for its intervals.

    Attributes:
        of_features: from features, shape (n, d), to a number.
        embed: from samples, NumPy rows (n, *event), to their features; None: the rows, flattened.

    Raises:
        ValueError: if one of them is not a function.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.tuning import Distance
        >>> off_center = Distance(lambda rows: float(np.sum(rows.mean(axis=0) ** 2)))
        >>> off_center(off_center.features(np.ones((5, 2, 2))))
        4.0
    """

    of_features: Callable[[np.ndarray], float]
    embed: Embedding | None = None

    def __post_init__(self) -> None:
        is_function = callable(self.of_features)
        require(is_function, "of_features", short(self.of_features), "be a function of features")
        _check_embed(self.embed)

    def __call__(self, rows: Float[np.ndarray, "n d"]) -> float:
        """The distance of features."""
        return float(self.of_features(rows))

    def features(self, samples: PyTree[ArrayLike]) -> Float[np.ndarray, "n d"]:
        """The features of samples, NaN for samples that are not finite."""
        return _features("samples", samples, self.embed)


def frechet_to(held_out: PyTree[ArrayLike], *, embed: Embedding | None = None) -> Distance:
    """The Fréchet distance from held-out data, `kinetic_jax.frechet_distance`.

    Args:
        held_out: data that the model never saw, shape (n, *event); a pytree needs `embed`.
        embed: from NumPy rows (n, *event) to features (n, d); None: the rows, flattened.

    Returns:
        The distance, for `tune`.

    Raises:
        ValueError: if there are fewer than two rows, or features that are not finite.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.tuning import frechet_to
        >>> rows = np.random.default_rng(0).normal(size=(100, 3))
        >>> print(round(frechet_to(rows)(rows + 2.0), 6))
        12.0
    """
    rows = features("held_out", _features("held_out", held_out, embed))
    return Distance(FrechetReference(rows), embed)


def kernel_to(
    held_out: PyTree[ArrayLike],
    *,
    embed: Embedding | None = None,
    subset_size: int = 1000,
    num_subsets: int = 1,
) -> Distance:
    """The kernel distance from held-out data, `kinetic_jax.metrics.kernel_distance`.

    Args:
        held_out: as in `frechet_to`.
        embed: as in `frechet_to`.
        subset_size: as in `kernel_distance`.
        num_subsets: as in `kernel_distance`; the same subsets for every setting.

    Returns:
        The distance, for `tune`.

    Raises:
        ValueError: as `frechet_to` and `kernel_distance`.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.tuning import kernel_to
        >>> same, other = np.random.default_rng(0).normal(size=(2, 500, 4))
        >>> distance = kernel_to(same)
        >>> distance(other) < distance(other + 1)
        True
    """
    reference = features("held_out", _features("held_out", held_out, embed))
    size = whole_number("subset_size", subset_size, 2)
    number = whole_number("num_subsets", num_subsets, 1)

    def distance(rows: np.ndarray) -> float:
        subsets = kernel_distance(
            rows, reference, subset_size=size, num_subsets=number, progress=False
        )
        return subsets.value

    return Distance(distance, embed)


def kernel_penalty(
    held_out: Float[ArrayLike, "n *event"], *, embed: Callable[[Array], Array] | None = None
) -> "KernelPenalty":
    """The kernel distance from held-out data as a differentiable function, for gradients.

    The same estimate as `kernel_to`, of all pairs of rows, in the dtype of the samples.

    Args:
        held_out: a few hundred rows, shape (n, *event), n ≥ 2.
        embed: from rows (n, *event) to features (n, d), in JAX; None: the rows, flattened.

    Returns:
        A function of samples, shape (batch, *event), batch ≥ 2.

    Raises:
        ValueError: if there are fewer than two rows, or `embed` is not a function.

    Example:
        >>> import jax
        >>> from kinetic_jax.tuning import kernel_penalty
        >>> rows = jax.random.normal(jax.random.key(0), (2, 100, 3))
        >>> penalty = kernel_penalty(rows[0])
        >>> bool(penalty(rows[1]) < penalty(rows[1] + 1))
        True
    """
    _check_embed(embed)
    rows = float_array(gathered("held_out", held_out), "held_out")
    is_set = rows.ndim >= 1 and rows.shape[0] >= 2
    require(is_set, "held_out", f"shape {rows.shape}", "have at least two rows")
    return KernelPenalty(rows, None if embed is None else as_pytree(embed))


class KernelPenalty(eqx.Module):
    """The penalty that `kernel_penalty` returns."""

    held_out: Float[Array, "n *event"]
    embed: Callable[..., Any] | None

    def __call__(self, samples: Float[Array, "batch *event"]) -> Float[Array, ""]:
        """The kernel distance between the samples and the held-out data."""
        first, second = (self._features(rows) for rows in (samples, self.held_out))
        return jnp.asarray(discrepancy(first, second.astype(first.dtype)))

    def _features(self, rows: Array) -> Array:
        return rows.reshape(rows.shape[0], -1) if self.embed is None else self.embed(rows)


def _check_embed(embed: object) -> None:
    require(embed is None or callable(embed), "embed", short(embed), "be a function of rows")


def checked_distance(distance: object) -> Distance:
    """A distance, or a `Distance` made of any function of features."""
    if isinstance(distance, Distance):
        return distance
    require(callable(distance), "distance", short(distance), "be a Distance or a function")
    assert callable(distance)
    return Distance(distance)


def _features(
    name: str, samples: PyTree[ArrayLike], embed: Embedding | None
) -> Float[np.ndarray, "n d"]:
    if embed is not None:
        rows = embedded(name, samples, embed, chunk_size=DEFAULT_CHUNK_SIZE, progress=False)
        return np.asarray(rows, np.float64)
    samples = jax.tree.map(lambda leaf: gathered(name, leaf), samples)
    leaves = jax.tree.leaves(samples)
    is_array = len(leaves) == 1 and leaves[0] is samples
    require(is_array, name, short(samples), "be an array, or come with an embed")
    rows = np.asarray(samples)
    is_batch = rows.ndim >= 1 and rows.dtype.kind in "biuf"
    require(is_batch, name, f"{rows.dtype} of shape {rows.shape}", "be rows of real numbers")
    return rows.reshape(rows.shape[0], -1).astype(np.float64)
