"""Digests of arrays, which show whether two are the same without keeping both."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from kinetic_jax._streaming import Rows

NUMBERS_AT_ONCE = 2**22


def digest(arrays: Iterable[Any]) -> str:
    """SHA-256 over shapes, dtypes and bytes, in hexadecimal.

    Random keys count by their data; a memmap, or anything with a shape and slices, is read in
    chunks of rows.
    """
    checksum = hashlib.sha256()
    for leaf in arrays:
        array = leaf
        if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            array = jax.random.key_data(array)
        if isinstance(array, jax.Array | np.generic) or not hasattr(array, "shape"):
            array = np.asarray(array)
        checksum.update(f"{array.shape}{array.dtype}".encode())
        for rows in _chunks(array):
            checksum.update(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
    return checksum.hexdigest()


def _chunks(array: Rows) -> Iterator[np.ndarray]:
    if not array.shape:
        yield np.asarray(array)
        return
    rows = max(NUMBERS_AT_ONCE // max(int(np.prod(array.shape[1:])), 1), 1)
    for start in range(0, array.shape[0], rows):
        yield np.asarray(array[start : start + rows])
