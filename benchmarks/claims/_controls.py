"""Controls for KTS: a constant gain, and noise on finished samples."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from kinetic_jax.transforms import Transform, gain, kts_gain


def constant_like(alpha0: float, beta0: float, tau_split: float, steps: int) -> Transform:
    """The constant gain with the ∫ η dt that a KTS setting has on the same uniform grid."""
    eta = kts_gain(jnp.arange(steps) / steps, alpha0, beta0, tau_split)
    mean = jnp.asarray(np.asarray(eta, np.float64).mean(), jnp.float32)
    return gain(jax.tree_util.Partial(_constant_gain, mean))


def _constant_gain(c: Array, t: Array) -> Array:
    return c.astype(t.dtype) * jnp.ones_like(t)


def with_noise(images: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """Finished samples with noise on them: a trivial way to lower F_mem."""
    draws = np.random.default_rng(seed).normal(size=images.shape)
    return (images + sigma * draws).astype(images.dtype)
