"""Scores of rows for a query by a matrix product."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def product_scores(
    query: Float[Array, " size"],
    rows: Float[Array, "chunk size"],
    squares: Float[Array, " chunk"],
    scale: Float[Array, ""],
) -> Float[Array, " chunk"]:
    """`scale q·r − ½ scale² ||r||²`, which equals ½||q||² − ½ ||q − scale r||².

    Nearer rows score higher. Mapped over queries it is one matrix product at the highest
    precision, which is not a TPU's default. For near copies the two terms cancel, so their
    distances must be measured again by differences.
    """
    # query @ rows.T, not rows @ query: mapped over queries it has shape (queries, chunk) directly.
    products = jnp.matmul(query, rows.T, precision=jax.lax.Precision.HIGHEST)
    return scale * products - (scale * scale / 2) * squares
