"""Losses of a model under all conventions, at the same points."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from kinetic_jax.energy._path_energy import squared_norm
from kinetic_jax.exact import GaussianField
from kinetic_jax.fields import Field
from kinetic_jax.training._evidence import Neighbors, products_in_bins, smoothed_velocities
from kinetic_jax.training._loss import noise_like, points_at
from kinetic_jax.training._readings import Rates


class Measured(NamedTuple):
    """Losses by (clock, convention), and what else is known of the samples."""

    losses: Float[Array, "clocks conventions"]
    constant: Float[Array, "clocks conventions"]  # with a constant output
    products: Float[Array, "clocks conventions halves bins features features"]
    gaussian: Float[Array, ""]
    smoothed: Float[Array, " widths"]


@eqx.filter_jit
def measured_losses(
    field: Field,
    rows: Float[Array, "rows *event"],
    cond: PyTree[Array],
    key: PRNGKeyArray,
    times: Float[Array, " times"],
    rates: Rates,
    gaussian: GaussianField,
    neighbors: Neighbors,
) -> Measured:
    """Weighted mean losses at the same points for all."""
    key_rows, key_noise = jax.random.split(key)
    picked = jax.random.randint(key_rows, times.shape, 0, rows.shape[0])
    x1, cond = jax.tree.map(lambda leaf: leaf[picked], (rows, cond))
    times, x, target = points_at(times, noise_like(key_noise, x1), x1)
    wide = x.astype(target.dtype)
    weight = 30 * (times * (1 - times)) ** 2

    def spread(values: Array) -> Array:
        return values.reshape(-1, *(1,) * (x.ndim - 1))

    def flat(values: Array) -> Array:
        return values.reshape(len(times), -1)

    def loss_of(velocity: Array) -> Array:
        return jnp.mean(weight * jax.vmap(squared_norm)(velocity - target))

    centered = flat(wide - spread(times) * gaussian.mean[None])

    def of_clock(rates: Rates) -> tuple[Array, Array, Array]:
        at = (spread(rates.size) * wide).astype(x.dtype)
        outputs = jax.vmap(field)(rates.reading, at, cond).astype(wide.dtype)
        constant = jnp.mean(outputs, axis=0, keepdims=True)

        def of_convention(pair: tuple[Array, Array]) -> tuple[Array, Array, Array]:
            of_x, of_output = map(spread, pair)
            velocity = of_x * wide + of_output * outputs
            residual, moved = flat(target - velocity), flat(velocity - gaussian.mean[None])
            features = [residual, moved, centered, jnp.ones_like(centered)]
            return (
                loss_of(velocity),
                loss_of(of_x * wide + of_output * constant),
                products_in_bins(features, weight),
            )

        return jax.lax.map(of_convention, (rates.of_x, rates.of_output))

    losses, constant, products = jax.lax.map(of_clock, rates)
    smoothed = smoothed_velocities(neighbors, times, centered, picked)
    moved = smoothed + gaussian.mean.reshape(1, 1, -1)
    of_widths = jax.vmap(lambda velocity: loss_of(velocity.reshape(x.shape)))(moved)
    of_gaussian = loss_of(jax.vmap(gaussian)(times, wide))
    return Measured(losses, constant, products, of_gaussian, of_widths)
