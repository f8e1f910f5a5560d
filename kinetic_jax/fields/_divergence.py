"""The divergence of a velocity, exact or estimated, beside the velocity itself."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import varied_as

# Directions along which derivatives are taken together: as many tangents of the field's inner
# arrays are in memory.
DIRECTIONS_AT_ONCE = 8


def velocity_and_divergence(
    velocity: Callable[[Array], Array],
    x: Float[Array, "*event"],
    probes: Float[Array, "probes *event"] | None,
) -> tuple[Float[Array, "*event"], Float[Array, ""]]:
    """u(x) and div u(x) = tr J of ONE sample, by products with J = ∂u/∂x in forward mode.

    The velocity is computed and linearised once. The trace is Σ_i e_i·(J e_i) over all d unit
    vectors, or, given probes ε of independent entries ±1, the mean of ε·(J ε): it has no bias, and
    no error where J is diagonal. Nothing of size d × d is held, under `grad` neither.

    Args:
        velocity: u at one time, a function of x.
        x: the sample.
        probes: directions of Hutchinson's estimate; None for the trace itself.

    References:
        Grathwohl et al., FFJORD, arXiv 1810.01367, equation 8.
    """
    if probes is not None and len(probes) == 1:  # layer by layer, so in less memory than below
        probe = varied_as(probes[0], lambda: x)
        value, moved = jax.jvp(velocity, (x,), (probe,))
        return value, _dot(probe, moved)
    value, product = jax.linearize(velocity, x)

    def along(direction: Array) -> Array:
        direction = varied_as(direction, lambda: x)
        return _dot(direction, product(direction))

    def along_axis(number: Array) -> Array:
        return along(jax.nn.one_hot(number, x.size, dtype=x.dtype).reshape(x.shape))

    if probes is None:
        return value, jnp.sum(_mapped(along_axis, jnp.arange(x.size)))
    return value, jnp.mean(_mapped(along, probes))


def _mapped(
    function: Callable[[Array], Array], directions: Num[Array, "count *shape"]
) -> Float[Array, " count"]:
    """`function` of every direction, a few together."""
    if len(directions) <= DIRECTIONS_AT_ONCE:
        return jax.vmap(function)(directions)
    # Computed again for derivatives, which would otherwise hold the tangents of all directions.
    lean = functools.partial(jax.checkpoint, prevent_cse=False)(function)
    return jax.lax.map(lean, directions, batch_size=DIRECTIONS_AT_ONCE)


def _dot(a: Array, b: Array) -> Array:
    wide = at_least_float32(a.dtype)
    return jnp.sum(a.astype(wide) * b.astype(wide))
