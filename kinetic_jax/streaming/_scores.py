"""Scores of rows for a query, from one matrix product."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def product_scores(
    query: Float[Array, " size"],
    rows: Float[Array, "chunk size"],
    squares: Float[Array, " chunk"],
    scale: Float[Array, ""],
) -> Float[Array, " chunk"]:
    """`scale q·r − ½ scale² ||r||²`: up to −½||q||², this is −½ ||q − scale r||².

    The higher, the nearer. Mapped over queries it is one matrix product, at the precision that a
    TPU would otherwise not give it. What the two terms have in common cancels: near copies must
    be measured again by differences.
    """
    # query @ rows.T, not rows @ query: mapped over queries the result is (queries, chunk) in place.
    products = jnp.matmul(query, rows.T, precision=jax.lax.Precision.HIGHEST)
    return scale * products - (scale * scale / 2) * squares
