"""Controls for KTS: a constant gain, noise on finished samples, rejection."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.claims._runs import Run
from benchmarks.claims._subjects import BATCH
from kinetic_jax.fields import VelocityField
from kinetic_jax.sampling import complete
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


def without_noise(
    field: VelocityField, images: np.ndarray, residual: np.ndarray, sigma: float
) -> np.ndarray:
    """Those samples completed: noise and what was left before are removed by one evaluation."""
    parts = [
        complete(field, images[rows], residual=residual[rows], noise=sigma)
        for rows in (slice(at, at + BATCH) for at in range(0, len(images), BATCH))
    ]
    return np.concatenate([np.asarray(part) for part in parts])


def one_of_two(run: Run, others: Run, quantity: str) -> Run:
    """Picks from each sample and another candidate the one with less of a quantity.

    A candidate whose trajectory failed is rejected; the rows are those of the noise of `run`.
    """
    pair = (run, others)
    values = np.full((2, len(run.is_valid)), np.inf)
    for own, candidate in zip(values, pair, strict=True):
        own[candidate.is_valid] = candidate.quantities[quantity]
    is_valid = np.asarray(run.is_valid | others.is_valid)
    takes_other = (values.argmin(axis=0) == 1)[is_valid]

    def pick(*arrays: np.ndarray) -> np.ndarray:
        spread = []
        for array, candidate in zip(arrays, pair, strict=True):
            rows = np.zeros((len(is_valid), *array.shape[1:]), array.dtype)
            rows[candidate.is_valid] = array
            spread.append(rows[is_valid])
        axes = (1,) * (spread[0].ndim - 1)
        return np.where(takes_other.reshape(-1, *axes), spread[1], spread[0])

    quantities = {
        name: pick(values, others.quantities[name]) for name, values in run.quantities.items()
    }
    return run._replace(
        images=pick(run.images, others.images),
        completed=pick(run.completed, others.completed),
        residual=pick(run.residual, others.residual),
        quantities=quantities,
        is_valid=is_valid,
        speed2=pick(run.speed2, others.speed2),
        evaluations=2 * run.evaluations,
    )
