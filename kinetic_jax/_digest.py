"""Digests of arrays: whether two are the same without keeping both."""

import hashlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

_READ_TOGETHER = 2**22  # numbers


def digest(arrays: Iterable[Any]) -> str:
    """SHA-256 over shapes, dtypes and bytes, in hexadecimal; a part in memory at a time.

    Random keys count by their data; a memmap, or anything with a shape and slices, is read by rows.
    """
    total = hashlib.sha256()
    for leaf in arrays:
        array = _readable(leaf)
        total.update(f"{array.shape}{array.dtype}".encode())
        for part in _parts(array):
            total.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _readable(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    lazy = hasattr(leaf, "shape") and not isinstance(leaf, jax.Array)
    return leaf if lazy else np.asarray(leaf)


def _parts(array: Any) -> Iterable[np.ndarray]:
    if not array.shape:
        return [np.asarray(array)]
    rows = max(_READ_TOGETHER // max(int(np.prod(array.shape[1:])), 1), 1)
    starts = range(0, array.shape[0], rows)
    return (np.asarray(array[start : start + rows]) for start in starts)
