"""Features of rows by a user's embedding."""

import tempfile
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from jax.typing import DTypeLike
from jaxtyping import ArrayLike

from kinetic_jax._checks import require
from kinetic_jax._progress import progress_bar
from kinetic_jax.streaming import Rows, checked_rows, is_on_host

Embedding = Callable[[np.ndarray], ArrayLike]
R = TypeVar("R", bound=Rows)


def embedded(
    name: str, rows: R, embed: Embedding | None, *, chunk_size: int, progress: bool | None
) -> R | np.ndarray:
    """`embed(rows)`, in memory, or in a temporary file for rows on the host.

    Rows that are not finite reach `embed` as zeros; their features are NaN.

    Raises:
        ValueError: if there are no rows, or `embed` does not return one row of features for each.
    """
    if embed is None:
        return rows
    require(callable(embed), "embed", repr(embed), "be a function of rows")
    total = checked_rows(name, rows)[0]
    features: np.ndarray | None = None
    with progress_bar(f"embedding {name}", total, show=progress) as update:
        for start in range(0, total, chunk_size):
            chunk = _features(name, np.asarray(rows[start : start + chunk_size]), embed)
            if features is None:
                features = _allocate((total, chunk.shape[1]), chunk.dtype, is_on_host(rows))
            features[start : start + len(chunk)] = chunk
            update(start + len(chunk), "")
    assert features is not None  # `checked_rows` refuses data without rows
    return features


def _features(name: str, rows: np.ndarray, embed: Embedding) -> np.ndarray:
    finite = np.isfinite(rows.reshape(len(rows), -1).astype(np.float64)).all(axis=1)
    if not finite.all():
        rows = np.where(finite.reshape(-1, *(1,) * (rows.ndim - 1)), rows, np.zeros_like(rows))
    features = np.asarray(embed(rows))
    require(
        features.ndim == 2 and len(features) == len(rows),
        "embed",
        f"shape {features.shape} of {len(rows)} rows of {name}",
        "return one row of features for each row",
    )
    if finite.all():
        return features
    features = features.astype(np.promote_types(features.dtype, np.float32))
    features[~finite] = np.nan
    return features


def _allocate(shape: tuple[int, int], dtype: DTypeLike, in_file: bool) -> np.ndarray:
    if not in_file:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:  # the mapping outlives it
        return np.memmap(file, dtype, "w+", shape=shape)
