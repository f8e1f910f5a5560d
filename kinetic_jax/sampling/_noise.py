"""Initial noise, a function of the key and the sample's global index alone."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Integer, PRNGKeyArray

from kinetic_jax._checks import is_concrete, numbers, require, require_key, whole_numbers
from kinetic_jax._state import EventShape, State, StateSpec, checked_event_shape


def noise(key: PRNGKeyArray, index: int | Integer[ArrayLike, "*batch"], shape: EventShape) -> State:
    """Standard normal x0 for the samples with the given global indices.

    Row i depends on (key, index[i]) alone: not on the batch it is drawn in, the number of devices
    or how often a job was resumed.

    Args:
        key: a JAX random key.
        index: global sample indices, of shape (batch,), such as `jnp.arange(8)` for eight samples;
            a scalar for ONE sample, without a batch axis.
        shape: the event's shape; a dict of shapes for states that are dicts.

    Returns:
        Noise of shape (batch, *shape); (*shape,) for a scalar index. For a dict of shapes a dict of
        such arrays, drawn as one vector.

    Raises:
        ValueError: if `key` is not one random key, an index is not a whole number from 0 to 2³² − 1
            (up to there `jax.random.fold_in` tells them apart), or `shape` no tuple of sides
            or dict of such.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import noise
        >>> key = jax.random.key(0)
        >>> rows = noise(key, jnp.arange(4), (3,))
        >>> bool((rows[2] == noise(key, 2, (3,))).all())
        True
    """
    require_key("key", key)
    checked = checked_event_shape(shape, "shape", 0)
    if isinstance(checked, StateSpec):
        return checked.restored(noise(key, index, (checked.size,)))
    shape = whole_numbers("shape", shape, 0)
    indices = _as_indices(index)

    def one(i: Array) -> Array:
        return jax.random.normal(jax.random.fold_in(key, i), shape)

    rows = indices.reshape(-1)
    # Only threefry draws the same under vmap: what TPU generators draw depends on the batch.
    independent = "threefry" in str(jax.random.key_impl(key))
    draws = jax.vmap(one)(rows) if independent else jax.lax.map(one, rows)
    return draws.reshape(*indices.shape, *shape)


def _as_indices(index: ArrayLike) -> Array:
    if not is_concrete(index):
        indices = jnp.asarray(index)
        kind = jnp.issubdtype(indices.dtype, jnp.integer)
        require(kind, "index", f"dtype {indices.dtype}", "be whole numbers")
        return indices
    # In NumPy, which wraps nothing: JAX would take 2³² + 5 for 5.
    given = numbers("index", index)
    kind = np.issubdtype(given.dtype, np.integer) or given.size == 0
    require(kind, "index", f"dtype {given.dtype}", "be whole numbers")
    inside = bool(np.all((given >= 0) & (given < 2**32)))
    require(inside, "index", given, "be whole numbers from 0 to 2³² − 1")
    return jnp.asarray(given.astype(np.uint32))
