"""The conditional flow-matching loss."""

from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from kinetic_jax.energy import squared_norm
from kinetic_jax.fields import VelocityField, checked_velocity


def cfm_loss(
    field: VelocityField,
    key: PRNGKeyArray,
    x1: Float[Array, "batch *event"],
    cond: PyTree[Any] | None = None,
) -> Float[Array, " batch"]:
    """The conditional flow-matching loss of each sample, on the linear path.

    `||v(t, x_t) − (x1 − x0)||²` with x0 ~ N(0, I), t uniform in [0, 1) and
    x_t = (1 − t) x0 + t x1: a SUM over all dimensions, without a ½; one draw of (t, x0) per
    sample. Its minimum over all fields is the field that carries noise to the distribution of x1.

    Args:
        field: the velocity field of one sample; the loss differentiates in its arrays.
        key: a JAX random key.
        x1: data, shape (batch, *event).
        cond: a pytree with a leading batch axis on every leaf, or None.

    Returns:
        Losses of shape (batch,), in float32 or better.

    Raises:
        ValueError: if the field's output has not the shape and dtype of a sample.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import cfm_loss
        >>> still = lambda t, x, cond=None: jnp.zeros_like(x)
        >>> loss = cfm_loss(still, jax.random.key(0), jnp.zeros((10_000, 2)))
        >>> print(loss.mean().round(1))  # E||x0||², a χ² of two degrees of freedom
        2.0

    References:
        Lipman et al., Flow matching for generative modeling, arXiv 2210.02747, equation 9.
    """
    key_time, key_noise = jax.random.split(key)
    times = jax.random.uniform(key_time, x1.shape[:1], x1.dtype)
    x0 = jax.random.normal(key_noise, x1.shape, x1.dtype)

    def one(t: Array, start: Array, end: Array, c: PyTree[Any]) -> Array:
        velocity = checked_velocity(field(t, (1 - t) * start + t * end, c), end)
        return squared_norm(velocity - (end - start))

    return jax.vmap(one)(times, x0, x1, cond)
