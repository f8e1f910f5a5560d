"""Calls of Optax under the promotions that it relies on."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def optax_promotion() -> Iterator[None]:
    """Enables the implicit promotions that Optax relies on."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
