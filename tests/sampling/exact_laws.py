"""Exact flows with a full Jacobian, and the log densities of the laws they end in, in NumPy."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

MEANS = np.array([[2.0, 0.0, -1.0], [-1.5, 1.0, 0.5]])
SHARES = np.array([0.7, 0.3])
SPREAD = 0.6
MEAN, SCALES = np.array([1.0, -2.0, 0.5]), np.array([0.5, 1.5, 0.8])
ROTATION = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]


def rate_and_variance(t, variance):
    """Of v = μ + rate (x − t μ), the flow of N(μ, variance), and the variance at time t."""
    at_t = t**2 * variance + (1 - t) ** 2
    return (t * variance - (1 - t)) / at_t, at_t


class GaussianFlow(eqx.Module):
    """To N(μ, R diag(s²) Rᵀ); diagonal with R = I."""

    mean: jax.Array
    scales: jax.Array
    axes: jax.Array

    def __call__(self, t, x, cond=None):
        rate, _ = rate_and_variance(t, self.scales**2)
        return self.mean + self.axes @ (rate * (self.axes.T @ (x - t * self.mean)))


class MixtureFlow(eqx.Module):
    """To Σ_k π_k N(μ_k, s² I): the mean of its Gaussians' flows under their posterior."""

    means: jax.Array
    shares: jax.Array
    spread: jax.Array

    def __call__(self, t, x, cond=None):
        rate, variance = rate_and_variance(t, self.spread**2)
        apart = x[None, :] - t * self.means
        scores = jnp.log(self.shares) - jnp.sum(apart**2, axis=1) / (2 * variance)
        return jax.nn.softmax(scores) @ (self.means + rate * apart)


class Law(NamedTuple):
    field: eqx.Module  # float32
    log_density: object  # at rows, in float64
    score: object


def gaussian_log_density(x, axes):
    moved = (x - MEAN) @ axes / SCALES
    return -np.sum(moved**2, axis=1) / 2 - np.sum(np.log(SCALES)) - 1.5 * np.log(2 * np.pi)


def mixture_parts(x):
    apart = MEANS[None] - x[:, None]
    squares = np.sum(apart**2, axis=2) / (2 * SPREAD**2)
    return apart, np.log(SHARES) - squares - 3 * np.log(SPREAD) - 1.5 * np.log(2 * np.pi)


def mixture_score(x):
    apart, logs = mixture_parts(x)
    weights = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
    return np.einsum("bk,bkd->bd", weights, apart) / SPREAD**2


def floats(*arrays):
    return (jnp.asarray(array, jnp.float32) for array in arrays)


LAWS = {
    name: Law(
        GaussianFlow(*floats(MEAN, SCALES, axes)),
        lambda x, axes=axes: gaussian_log_density(x, axes),
        lambda x, axes=axes: -((x - MEAN) @ axes / SCALES**2) @ axes.T,
    )
    for name, axes in (("diagonal", np.eye(3)), ("full", ROTATION))
}
LAWS["mixture"] = Law(
    MixtureFlow(*floats(MEANS, SHARES, SPREAD)),
    lambda x: np.log(np.exp(mixture_parts(x)[1]).sum(axis=1)),
    mixture_score,
)


def in_float64(field):
    """The field with its numbers in double precision, under x64."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), field)
