"""Rows seen through an embedding, a chunk at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kinetic_jax._checks import require
from kinetic_jax._progress import progress_bar
from kinetic_jax.streaming import checked_rows, is_on_host

Embedding = Callable[[Any], Any]


class EmbeddedRows:
    """An array-like of `embed(rows)` over rows on the host; each slice is embedded when read.

    Args:
        name: of the argument, for errors.
        rows: an array-like with a shape and slices.
        embed: from (some, *event) to features (some, d).
        most: rows handed to it at a time.
    """

    def __init__(self, name: str, rows: Any, embed: Embedding, most: int):
        self.name, self.rows, self.embed, self.most = name, rows, embed, most
        first = self[:1]
        self.shape, self.dtype = (rows.shape[0], first.shape[1]), first.dtype

    def __getitem__(self, which: Any) -> np.ndarray:
        given = np.asarray(self.rows[which])
        starts = range(0, len(given), self.most)
        return np.concatenate([self._embedded(given[at : at + self.most]) for at in starts])

    def _embedded(self, given: np.ndarray) -> np.ndarray:
        found = np.asarray(self.embed(given))
        require(
            found.ndim == 2 and found.shape[0] == given.shape[0],
            "embed",
            f"shape {found.shape} of {given.shape[0]} rows of {self.name}",
            "return one row of features for each row",
        )
        return found


def embedded(
    name: str, rows: Any, embed: Embedding | None, *, chunk_size: int, progress: bool | None
) -> Any:
    """`rows` through `embed`: at once if they are in memory, when read if they are on the host.

    Raises:
        ValueError: if there are no rows, or `embed` returns no features of them.
    """
    if embed is None:
        return rows
    shape = checked_rows(name, rows)
    lazy = EmbeddedRows(name, rows, embed, chunk_size)
    if is_on_host(rows):
        return lazy
    parts = []
    with progress_bar(f"embedding {name}", shape[0], show=progress) as update:
        for start in range(0, shape[0], chunk_size):
            parts.append(lazy[start : start + chunk_size])
            update(min(start + chunk_size, shape[0]), "")
    return np.concatenate(parts)
