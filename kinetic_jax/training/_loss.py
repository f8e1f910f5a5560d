"""The conditional flow-matching loss."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import as_array, conditions_of, require, require_key
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import split_alike
from kinetic_jax._norms import squared_norm
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.fields._field import check_inputs
from kinetic_jax.fields._flat import flattened
from kinetic_jax.fields._protocol import checked_velocity
from kinetic_jax.fields._step import require_step
from kinetic_jax.training._inputs import given_noise


def cfm_loss(
    field: VelocityField,
    key: PRNGKeyArray,
    x1: ArrayLike | PyTree[ArrayLike],
    cond: PyTree | None = None,
    *,
    x0: ArrayLike | PyTree[ArrayLike] | None = None,
) -> Float[Array, " batch"]:
    """The conditional flow-matching loss of each sample, on the linear path.

    `||v(t, x_t) − (x1 − x0)||²` with x0 ~ N(0, I), t uniform in [0, 1) and
    x_t = (1 − t) x0 + t x1: a SUM over all dimensions, without a factor ½, with one draw of (t, x0)
    per sample, in float32 or better. The minimizing field transports noise to the distribution of
    x1.

    Args:
        field: the velocity field of one sample; the loss is differentiable in its arrays.
        key: a JAX random key.
        x1: data, shape (batch, *event), or a pytree of such arrays; an array may be split over a
            mesh along the batch.
        cond: a pytree with a leading batch axis on every leaf, or None. A leaf of one row is the
            condition of every sample.
        x0: the noise of each sample, floating and in the shape of `x1`, for pairs of your own; only
            the times are then drawn, the same ones. None: draw it.

    Returns:
        Losses of shape (batch,), in float32 or better.

    Raises:
        ValueError: naming the argument with the wrong type or shape; if the field's output does
            not have the shape and dtype of a sample; for a field that needs the size of the step
            (`Field.with_step`).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import cfm_loss
        >>> still = lambda t, x, cond=None: jnp.zeros_like(x)
        >>> loss = cfm_loss(still, jax.random.key(0), jnp.zeros((10_000, 2)))
        >>> print(loss.mean().round(1))  # E||x0||², a χ² of two degrees of freedom
        2.0
        >>> x0 = jnp.ones((3, 2))  # to x1 = 0 along straight lines: v = −x0
        >>> cfm_loss(lambda t, x, cond=None: -x0[0], jax.random.key(0), jnp.zeros((3, 2)), x0=x0)
        Array([0., 0., 0.], dtype=float32)

    References:
        Lipman et al., Flow matching for generative modeling, arXiv 2210.02747, equation 9.
    """
    field = as_field(field)
    require_step(field, "in training")
    require_key("key", key)
    field, rows, spec = flattened("x1", field, x1)
    samples = as_array("x1", rows)
    is_floating = jnp.issubdtype(samples.dtype, jnp.floating)
    require(is_floating, "x1", f"dtype {samples.dtype}", "be floating")
    require(samples.ndim >= 1, "x1", f"shape {samples.shape}", "have a leading batch axis")
    cond = conditions_of(cond, samples.shape[0], "x1")
    check_inputs(field, "x1", samples, cond)
    expected = "move in flat space: the linear path leaves a manifold"
    require(field.manifold is None, "field", type(field.manifold).__name__, expected)
    wide = at_least_float32(samples.dtype)
    given = None if x0 is None else given_noise("x0", x0, "x1", samples, spec)
    key_time, key_noise = jax.random.split(key)
    times = jax.random.uniform(key_time, samples.shape[:1], wide)
    starts = noise_like(key_noise, samples) if given is None else given.astype(wide)
    times, x, target = points_at(times, starts, samples)

    def sample_loss(t: Array, x: Array, target: Array, c: PyTree) -> Array:
        velocity = checked_velocity(field(t, x, c), x)
        return squared_norm(velocity.astype(wide) - target)

    return jax.vmap(sample_loss)(*split_alike((times, x, target, cond)))


def drawn_noise(
    key: PRNGKeyArray, x1: Float[Array, "batch *event"]
) -> Float[Array, "batch *event"]:
    """The noise that `cfm_loss` draws from `key` for the rows of `x1`."""
    _, key_noise = jax.random.split(key)
    return noise_like(key_noise, x1)


def noise_like(key: PRNGKeyArray, x1: Float[Array, "batch *event"]) -> Float[Array, "batch *event"]:
    """Standard normal noise in the shape of `x1`, in float32 or better."""
    return jax.random.normal(key, x1.shape, at_least_float32(x1.dtype))


def points_at(
    times: Float[Array, " batch"],
    x0: Float[Array, "batch *event"],
    x1: Float[Array, "batch *event"],
) -> tuple[Float[Array, " batch"], Float[Array, "batch *event"], Float[Array, "batch *event"]]:
    """Times, a point of the linear path to each row at its time, and x1 − x0 there."""
    wide = x0.dtype

    def point(t: Array, start: Array, end: Array) -> tuple[Array, Array]:
        x = ((1 - t) * start + t * end.astype(wide)).astype(end.dtype)
        return x, end.astype(wide) - start

    x1, times, x0 = split_alike((x1, times, x0))
    return times, *jax.vmap(point)(times, x0, x1)
