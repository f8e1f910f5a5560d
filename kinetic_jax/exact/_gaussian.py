"""The exact flow of Gaussian data."""

from typing import Any

import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import float_array, float_scalar, is_concrete, require, require_finite
from kinetic_jax.fields import Field


class GaussianField(Field):
    """The velocity field that carries N(0, I) to N(mean, diag(scale²)) on the linear path.

    `v(t, x) = μ + (t s² − (1 − t)) / (t² s² + (1 − t)²) (x − t μ)`, the conditional expectation of
    x1 − x0 given x_t. Its flow map is x1 = μ + s x0, and for a scalar s a path's energy is
    `E = ||μ||²/2 + (s − 1) μ·x0 + (1 + s² − πs/2) ||x0||²/2`.

    Args:
        mean: μ, of the event's shape.
        scale: s > 0, a scalar or an array of the event's shape.

    Raises:
        ValueError: if the mean is not finite, or the scale is not finite, positive, and a scalar
            or of the mean's shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import GaussianField, sample
        >>> field = GaussianField(jnp.array([3.0, 0.0]), 0.5)
        >>> x0 = jnp.array([[1.0, 2.0], [0.0, -1.0]])
        >>> sample(field, x0, num_steps=500).x1.round(1)
        Array([[ 3.5,  1. ],
               [ 3. , -0.5]], dtype=float32)
    """

    mean: Float[Array, "*event"]
    scale: Float[Array, "..."]
    takes_cond = False

    def __init__(self, mean: ArrayLike, scale: ArrayLike):
        self.mean = float_array(mean, "mean")
        self.scale = float_array(scale, "scale")
        require(
            self.scale.shape in ((), self.mean.shape),
            "scale",
            self.scale.shape,
            f"be a scalar or have the mean's shape {self.mean.shape}",
        )
        require_finite("mean", self.mean)
        require_finite("scale", self.scale)
        if is_concrete(self.scale):
            require(bool(np.all(np.asarray(self.scale) > 0)), "scale", scale, "be positive")

    def __call__(
        self, t: Float[ArrayLike, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Float[Array, "*event"]:
        """The velocity of one sample; `cond` is not used."""
        del cond
        x, wanted = float_array(x, "x"), self.mean.shape
        fits = x.shape[x.ndim - len(wanted) :] == wanted if x.ndim >= len(wanted) else False
        require(fits, "x", f"shape {x.shape}", f"have the mean's shape, {wanted}")
        time, mean = float_scalar(t, "t").astype(x.dtype), self.mean.astype(x.dtype)
        require_finite("t", time)
        variance = self.scale.astype(x.dtype) ** 2
        rate = (time * variance - (1 - time)) / (time**2 * variance + (1 - time) ** 2)
        return mean + rate * (x - time * mean)
