"""Checks of samples and features, and features by a user's embedding."""

import functools
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, PyTree

from kinetic_jax._checks import numbers, real_array, require, short
from kinetic_jax._mesh import gathered
from kinetic_jax._progress import progress_bar
from kinetic_jax._streaming import Rows, checked_rows, is_on_host

Embedding = Callable[[Any], ArrayLike]


def require_finite_numbers(name: str, values: np.ndarray) -> None:
    """Checks statistics' input, with the number of entries that are not finite."""
    broken = int(np.sum(~np.isfinite(values)))
    require(broken == 0, name, f"{broken} numbers that are not", "be finite")


def rows_in_memory(name: str, rows: ArrayLike) -> Array | np.ndarray:
    """`rows` as an array of real numbers with at least one row."""
    array = gathered(name, rows) if isinstance(rows, jax.Array) else numbers(name, rows)
    require(array.dtype.kind != "c", name, f"dtype {array.dtype}", "hold real numbers")
    require(array.shape[:1] not in ((), (0,)), name, array.shape, "have rows")
    return array


def features(name: str, array: ArrayLike) -> np.ndarray:
    """`array` as finite float64 features of shape (n, d), n ≥ 2."""
    rows = real_array(name, array)
    is_set = rows.ndim == 2 and rows.shape[0] >= 2 and rows.shape[1] >= 1
    require(is_set, name, f"shape {rows.shape}", "be features of shape (n >= 2, d >= 1)")
    broken = int(np.sum(~np.isfinite(rows).all(axis=1)))
    require(broken == 0, name, f"{broken} rows that are not", "be finite")
    return rows


def two_sets(
    a: ArrayLike, b: ArrayLike, names: tuple[str, str] = ("a", "b")
) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of `features` with the same d."""
    first, second = features(names[0], a), features(names[1], b)
    size = first.shape[1]
    expected = f"have the {size} features of {names[0]}"
    require(second.shape[1] == size, names[1], f"{second.shape[1]} features", expected)
    return first, second


def embedded(
    name: str,
    rows: PyTree[Rows],
    embed: Embedding | None,
    *,
    chunk_size: int,
    progress: bool | None,
) -> PyTree[Rows]:
    """`embed(rows)`, in memory, or in a temporary file for rows on the host.

    Of a pytree, `embed` receives a pytree of arrays of the same rows. Rows that are not finite
    reach `embed` as zeros; their features are NaN.
    """
    if embed is None:
        return rows
    require(callable(embed), "embed", short(embed), "be a function of rows")
    leaves = jax.tree.leaves(rows)
    total = min(checked_rows(name, leaf)[0] for leaf in leaves)
    is_large = any(map(is_on_host, leaves))
    features: np.ndarray | None = None
    with progress_bar(f"embedding {name}", total, show=progress) as update:
        for start in range(0, total, chunk_size):
            part = slice(start, start + chunk_size)
            chunk = _features(name, jax.tree.map(lambda a, p=part: np.asarray(a[p]), rows), embed)
            if features is None:
                features = _allocate((total, chunk.shape[1]), chunk.dtype, is_large)
            features[start : start + len(chunk)] = chunk
            update(start + len(chunk), "")
    assert features is not None  # `checked_rows` refuses data without rows
    return features


def _features(name: str, rows: PyTree[np.ndarray], embed: Embedding) -> np.ndarray:
    def are_finite(array: np.ndarray) -> np.ndarray:
        each = np.isfinite(array.reshape(len(array), -1).astype(np.float64))
        return np.asarray(each.all(axis=1))

    def or_zeros(array: np.ndarray) -> np.ndarray:
        is_row = finite.reshape(-1, *(1,) * (array.ndim - 1))
        return np.where(is_row, array, np.zeros_like(array))

    finite: np.ndarray = functools.reduce(np.logical_and, map(are_finite, jax.tree.leaves(rows)))
    features = np.asarray(embed(rows if finite.all() else jax.tree.map(or_zeros, rows)))
    require(
        features.ndim == 2 and len(features) == len(finite),
        "embed",
        f"shape {features.shape} of {len(finite)} rows of {name}",
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
