"""Samples that are no copies, for a detector that is fitted without labels."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import conditions_of, fraction, real_rows, require_key, whole_number
from kinetic_jax.copies._scoring import own_stream
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.sampling import Trajectories, noise, sample


def negatives(
    field: VelocityField,
    held_out: Float[ArrayLike, "batch *event"],
    cond: PyTree[Any] | None = None,
    *,
    key: PRNGKeyArray,
    t: float = 0.8,
    num_steps: int = 20,
) -> Trajectories:
    """Held-out data re-noised to time t, and denoised by the model: samples that are no copies.

    So much is left of each row that the model changes its details alone, and they look like its
    own samples but in what they show.

    Args:
        field: the model.
        held_out: rows on which it was not trained, in its scale, shape (batch, *event).
        cond: their conditions.
        key: of the noise; row i depends on (key, i) alone.
        t: the time to which rows are re-noised, in (0, 1).
        num_steps: Euler steps from there to t = 1.

    Returns:
        The run, for `copy_features(field, run, bins=0, ...)`: its profile begins at t.

    Raises:
        ValueError: as `sample`; if `t` is outside of (0, 1), or `key` is no random key.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField
        >>> from kinetic_jax.copies import copy_features, negatives
        >>> field, key = GaussianField(jnp.zeros(3), 0.5), jax.random.key(0)
        >>> run = negatives(field, jnp.ones((4, 3)), key=key, num_steps=5)
        >>> copy_features(field, run, key=key, bins=0).names
        ('self_consistency', 'spread')
    """
    model = as_field(field)
    require_key("key", key)
    count = whole_number("num_steps", num_steps, 1)
    rows, start = real_rows("held_out", held_out), fraction("t", t)
    cond = conditions_of(cond, len(rows), "held_out")
    own = noise(own_stream(key), jnp.arange(len(rows)), rows.shape[1:])
    noisy = start * rows + (1 - start) * own.astype(rows.dtype)
    return sample(model, noisy, cond, t0=start, num_steps=count)
