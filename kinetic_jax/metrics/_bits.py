"""Log densities as bits per dimension of raw data."""

import math
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import ArrayLike, Float

from kinetic_jax._checks import (
    real_array,
    real_number,
    require,
    require_finite,
    short,
    whole_number,
)
from kinetic_jax.fields import Field


@runtime_checkable
class HasScale(Protocol):
    """Scaled data, x = (raw − shift)/scale: a `kinetic_jax.networks.Scaling`."""

    scale: float


def bits_per_dimension(
    log_density: Float[ArrayLike, "*batch"],
    scaling: Field | HasScale,
    num_dimensions: int | None = None,
) -> Float[np.ndarray, "*batch"]:
    """Bits per dimension of raw data, in units of one level: the negative log likelihood of images.

    With x = (raw − shift)/scale and d dimensions, `−log p(raw)/(d log 2)`, which is
    `−log p(x)/(d log 2) + log2 |scale|`: for pixels of 8 bits in [−1, 1], scale 127.5, a uniform
    density over their 256 levels has 8.

    A density of pixels that are whole numbers has no bound. For a figure that is comparable, and
    bounds the likelihood of the whole numbers, add uniform noise in [0, 1) to the raw values before
    they are scaled (dequantisation); this function does not.

    Args:
        log_density: log p(x) in nats, from `encode(log_density=)` or `sample`; any shape.
        scaling: a `kinetic_jax.networks.Scaling`, or a field that declares one.
        num_dimensions: the number of dimensions, d. Default: of the field's `event_shape`.

    Returns:
        Bits per dimension as float64, of the shape of `log_density`. Smaller is better.

    Raises:
        ValueError: if a log density is not finite (leave out samples whose `status` is not 0),
            there is no scaling, or the number of dimensions is unknown or below 1.

    Example:
        >>> import numpy as np
        >>> from kinetic_jax.metrics import bits_per_dimension
        >>> from kinetic_jax.networks import Scaling
        >>> uniform = np.array([784 * np.log(127.5 / 256)])  # over 256 levels, on the scale of x
        >>> bits_per_dimension(uniform, Scaling(127.5, 127.5), 784).round(6)
        array([8.])

    References:
        Theis et al., A note on the evaluation of generative models, arXiv 1511.01844, section 3.1.
    """
    densities = real_array("log_density", log_density)
    require_finite("log_density", densities)
    shape = scaling.event_shape if isinstance(scaling, Field) else None
    known: object = scaling.scaling if isinstance(scaling, Field) else scaling
    if not isinstance(known, HasScale):
        got = short(scaling) if known is scaling else f"{type(scaling).__name__}, which has none"
        raise ValueError(
            "scaling must be a kinetic_jax.networks.Scaling, or a field that declares one, "
            f"got {got}"
        )
    if num_dimensions is None:
        expected = "be given where no field declares its event shape"
        require(shape is not None, "num_dimensions", None, expected)
        sides = jax.tree.leaves(shape, is_leaf=lambda node: isinstance(node, tuple))
        num_dimensions = sum(map(math.prod, sides))
    size = whole_number("num_dimensions", num_dimensions, 1)
    scale = real_number("scaling", known.scale)
    require(scale != 0, "scaling", scale, "have a scale other than 0")
    return np.asarray(-densities / (size * math.log(2)) + math.log2(abs(scale)))
