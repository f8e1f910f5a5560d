"""Training rows that are copies of one another, where they decide about a sample."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from kinetic_jax.metrics._neighbors import flat_rows
from kinetic_jax.streaming import (
    Highest,
    Scaled,
    balance,
    lowest,
    read_again,
    stream_from_host,
    to_power_of_two,
)


def duplicated(
    distances: np.ndarray, indices: np.ndarray, train: Any, tolerance: float, chunk_size: int
) -> np.ndarray:
    """Whether the two training rows nearest to a sample lie within `tolerance` of each other.

    Args:
        distances: of the samples to them, shape (n, 2).
        indices: which rows they are, shape (n, 2).
        train: the training rows.
        tolerance: the greatest distance of duplicates.
        chunk_size: rows read together.

    Returns:
        Shape (n,).
    """
    # By the triangle inequality no others can be.
    with np.errstate(invalid="ignore"):  # ∞ − ∞ of samples whose squares are no numbers
        apart = distances[:, 1] - distances[:, 0]
    close = np.flatnonzero(apart <= tolerance + 1e-5 * distances[:, 1])
    found, block = np.zeros(len(distances), bool), max(chunk_size // 2, 1)
    for start in range(0, close.size, block):
        some = close[start : start + block]
        rows, place = read_again(train, jnp.asarray(indices[to_power_of_two(some)]))
        gaps = rows[place[:, 0]] - rows[place[:, 1]]
        factor = balance(gaps)
        gaps = jnp.sqrt(jnp.sum((gaps * factor) ** 2, axis=1)) / factor
        found[some] = np.asarray(gaps)[: some.size] <= tolerance
    return found


def beyond_duplicates(
    samples: Any, nearest: np.ndarray, train: Any, tolerance: float, *, chunk_size: int,
    progress: bool | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Distance and number of the row nearest to each sample but for duplicates of `nearest`.

    One more pass over the training rows, by differences.

    Raises:
        ValueError: if there are no other rows.
    """
    count = len(nearest)
    padded = to_power_of_two(np.arange(count))
    near, place = read_again(train, jnp.asarray(nearest[padded])[:, None])
    rows = near[place[:, 0]]
    queries = flat_rows("samples", samples)[padded].astype(rows.dtype)
    factor = balance(rows, queries)
    scores, index = stream_from_host(
        _OtherScore(jnp.asarray(tolerance * factor, rows.dtype)),
        Highest(1),
        (queries * factor, rows * factor),
        train if factor == 1 else Scaled(train, factor),
        chunk_size=chunk_size,
        dtype=rows.dtype,
        description="beyond duplicates",
        check=lambda *_: None,
        progress=progress,
    )
    squared = -np.asarray(scores)[:count, 0]
    alone = np.flatnonzero(squared >= -lowest(rows.dtype))
    if alone.size:
        raise ValueError(
            f"train must hold other rows than duplicates of row {int(nearest[alone[0]])}, got "
            f"none that are farther than {tolerance:g} from it"
        )
    return np.sqrt(squared) / factor, np.asarray(index)[:count, 0]


class _OtherScore(eqx.Module):
    """−||q − r||², by differences; the lowest for rows within reach of the query's nearest."""

    tolerance: Array

    def __call__(
        self, query: tuple[Array, Array], rows: Array, squares: Array, known: None
    ) -> Array:
        """The scores of a chunk."""
        del squares, known
        point, nearest = query
        apart = jnp.sqrt(jnp.sum((nearest[None, :] - rows) ** 2, axis=1))
        scores = -jnp.sum((point[None, :] - rows) ** 2, axis=1)
        return jnp.where(apart > self.tolerance, scores, lowest(rows.dtype))
