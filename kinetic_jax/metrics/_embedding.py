"""Rows seen through an embedding."""

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from kinetic_jax._checks import require
from kinetic_jax._progress import progress_bar
from kinetic_jax.streaming import checked_rows, is_on_host

Embedding = Callable[[Any], Any]


def embedded(
    name: str, rows: Any, embed: Embedding | None, *, chunk_size: int, progress: bool | None
) -> Any:
    """`embed(rows)`, each row once: in memory, or in a temporary file for rows on the host.

    A row that is not finite is not shown to `embed`; its features are NaN.

    Raises:
        ValueError: if there are no rows, or `embed` returns no features of them.
    """
    if embed is None:
        return rows
    require(callable(embed), "embed", repr(embed), "be a function of rows")
    shape = checked_rows(name, rows)
    found: Any = None
    with progress_bar(f"embedding {name}", shape[0], show=progress) as update:
        for start in range(0, shape[0], chunk_size):
            part = _features(name, np.asarray(rows[start : start + chunk_size]), embed)
            if found is None:
                found = _room((shape[0], part.shape[1]), part.dtype, is_on_host(rows))
            found[start : start + len(part)] = part
            update(start + len(part), "")
    return found


def _features(name: str, rows: np.ndarray, embed: Embedding) -> np.ndarray:
    finite = np.isfinite(rows.reshape(len(rows), -1).astype(np.float64)).all(axis=1)
    if not finite.all():
        rows = np.where(finite.reshape(-1, *(1,) * (rows.ndim - 1)), rows, np.zeros_like(rows))
    found = np.asarray(embed(rows))
    require(
        found.ndim == 2 and len(found) == len(rows),
        "embed",
        f"shape {found.shape} of {len(rows)} rows of {name}",
        "return one row of features for each row",
    )
    if finite.all():
        return found
    found = found.astype(np.promote_types(found.dtype, np.float32))
    found[~finite] = np.nan
    return found


def _room(shape: tuple[int, int], dtype: Any, in_a_file: bool) -> np.ndarray:
    if not in_a_file:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:  # the mapping outlives it
        return np.memmap(file, dtype, "w+", shape=shape)
