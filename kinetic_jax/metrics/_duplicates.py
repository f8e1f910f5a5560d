"""Duplicates among the training rows nearest to a sample."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from kinetic_jax._streaming import (
    Highest,
    Rows,
    Scaled,
    balance,
    lowest,
    read_again,
    stream_from_host,
    to_power_of_two,
)
from kinetic_jax.metrics._neighbors import flat_rows


def duplicated(
    distances: Float[np.ndarray, "n 2"],
    indices: Int[np.ndarray, "n 2"],
    train: Rows,
    tolerance: float,
    chunk_size: int,
) -> Bool[np.ndarray, " n"]:
    """True for samples whose two nearest training rows lie within `tolerance` of each other."""
    # The triangle inequality rules out all other samples.
    with np.errstate(invalid="ignore"):  # ∞ − ∞ for samples that are not valid
        gaps = distances[:, 1] - distances[:, 0]
    candidates = np.flatnonzero(gaps <= tolerance + 1e-5 * distances[:, 1])
    is_duplicate, block_size = np.zeros(len(distances), bool), max(chunk_size // 2, 1)
    for start in range(0, candidates.size, block_size):
        block = candidates[start : start + block_size]
        rows, place = read_again(train, jnp.asarray(indices[to_power_of_two(block)]))
        differences = rows[place[:, 0]] - rows[place[:, 1]]
        factor = balance(differences)
        lengths = jnp.sqrt(jnp.sum((differences * factor) ** 2, axis=1)) / factor
        is_duplicate[block] = np.asarray(lengths)[: block.size] <= tolerance
    return is_duplicate


def beyond_duplicates(
    samples: Array | np.ndarray,
    nearest: np.ndarray,
    train: Rows,
    tolerance: float,
    *,
    chunk_size: int,
    progress: bool | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Distance and number of the row nearest to each sample, except duplicates of `nearest`.

    Takes another pass over the training rows, by differences.
    """
    count = len(nearest)
    padded = to_power_of_two(np.arange(count))
    distinct, place = read_again(train, jnp.asarray(nearest[padded])[:, None])
    rows = distinct[place[:, 0]]
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
        progress=progress,
    )
    squared = -np.asarray(scores)[:count, 0]
    without_other = np.flatnonzero(squared >= -lowest(rows.dtype))
    if without_other.size:
        raise ValueError(
            f"train must hold other rows than duplicates of row {int(nearest[without_other[0]])}, "
            f"got none farther than {tolerance:g} from it"
        )
    return np.sqrt(squared) / factor, np.asarray(index)[:count, 0]


class _OtherScore(eqx.Module):
    """−||q − r||² by differences; the lowest score for duplicates of the query's nearest row."""

    tolerance: Array

    def __call__(
        self, query: tuple[Array, Array], rows: Array, squares: Array, known: None
    ) -> Array:
        del squares, known
        point, nearest = query
        gaps = jnp.sqrt(jnp.sum((nearest[None, :] - rows) ** 2, axis=1))
        scores = -jnp.sum((point[None, :] - rows) ** 2, axis=1)
        return jnp.where(gaps > self.tolerance, scores, lowest(rows.dtype))
