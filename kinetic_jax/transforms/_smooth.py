"""The velocity averaged over a neighbourhood of x."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import (
    float_scalar,
    is_concrete,
    require,
    require_finite,
    require_key,
    whole_number,
)
from kinetic_jax._dtypes import as_time, at_least_float32
from kinetic_jax._state import State
from kinetic_jax.fields import VelocityField, WrappedField, as_field


class SmoothedField(WrappedField):
    """The averaged velocity field; see `smooth`."""

    keeps_pace = True
    sigma: Float[Array, ""]
    key: PRNGKeyArray
    num: int = eqx.field(static=True)

    def __call__(self, t: Float[ArrayLike, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The mean velocity around one sample."""
        # Drawn for the numbers of the whole state, however they are divided into arrays.
        flat, restored = ravel_pytree(x)
        t, sigma, wide = as_time(t, x), self.sigma.astype(flat.dtype), at_least_float32(flat.dtype)
        draws = jax.random.normal(self.key, (self.num, flat.size), wide).astype(flat.dtype)

        def at_point(draw: Array) -> Array:
            if self.manifold is None:
                point = restored(flat + sigma * draw)
            else:
                point = self.manifold.exp(x, self.manifold.tangent(x, restored(sigma * draw)))
            return ravel_pytree(self.field(t, point, cond))[0]

        return restored(jnp.mean(jax.vmap(at_point)(draws), axis=0, dtype=wide).astype(flat.dtype))


class Smooth(eqx.Module):
    """The transform that `smooth` returns."""

    sigma: Float[Array, ""]
    key: PRNGKeyArray
    num: int = eqx.field(static=True)

    def __call__(self, field: VelocityField) -> SmoothedField:
        """Wraps `field`."""
        return SmoothedField(as_field(field), self.sigma, self.key, self.num)


def smooth(sigma: ArrayLike, num: int, key: PRNGKeyArray) -> Smooth:
    """The velocity averaged over `num` points around x: `mean_j v(t, x + σ ε_j)`.

    The ε_j ~ N(0, I) are drawn once, from `key`: the same for all samples and times, so that the
    field is a function of (t, x). On a manifold, `exp` of their tangent parts leads to the points.
    `num` evaluations of the network count as one.

    Args:
        sigma: σ, the size of the neighbourhood, not negative; traced.
        num: number of points.
        key: JAX random key of the points; traced.

    Returns:
        The transform of fields, a pytree.

    Raises:
        ValueError: if `sigma` is negative or not finite, `num` below 1, or `key` not a key.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax.transforms import smooth
        >>> step = lambda t, x, cond=None: jnp.sign(x)
        >>> smoothed = smooth(1.0, 1000, jax.random.key(0))(step)
        >>> abs(smoothed(jnp.array(0.5), jnp.zeros(1))[0]) < 0.1
        Array(True, dtype=bool)
    """
    size = float_scalar(sigma, "sigma")
    require_finite("sigma", size)
    if is_concrete(size):
        require(float(size) >= 0, "sigma", sigma, "not be negative")
    require_key("key", key)
    return Smooth(size, key, whole_number("num", num, 1))
