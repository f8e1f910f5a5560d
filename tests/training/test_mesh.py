"""`fit` and `cfm_loss` on data that are split over the axes of a mesh."""

import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kinetic_jax import GaussianField, cfm_loss, fit

KEY = jax.random.key(0)
ADAM = optax.adam(1e-2)


class Shift(eqx.Module):
    """v = E[label]."""

    table: jax.Array

    def __call__(self, t, x, cond=None):
        return self.table[cond]


@pytest.fixture(params=[AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def mesh(request):
    return jax.make_mesh((4,), ("b",), axis_types=(request.param,))


def test_loss_of_split_data(mesh):
    field = GaussianField(jnp.ones(2), 0.5)
    x1 = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)), jnp.float32)
    split = jax.device_put(x1, NamedSharding(mesh, PartitionSpec("b")))

    @eqx.filter_value_and_grad(has_aux=True)
    def loss(field, x1, cond=None):
        losses = cfm_loss(field, KEY, x1)
        return losses.mean(), losses

    (_, want), gradient = loss(field, x1)
    inside = jax.shard_map(
        lambda x1: cfm_loss(field, KEY, x1), mesh=mesh, in_specs=PartitionSpec("b"),
        out_specs=PartitionSpec("b"),
    )  # fmt: skip
    np.testing.assert_allclose(
        np.asarray(inside(split))[:2], cfm_loss(field, KEY, x1[:2]), rtol=1e-5
    )
    np.testing.assert_allclose(cfm_loss(field, KEY, split), want, rtol=1e-5)
    with jax.set_mesh(mesh):
        for call in (loss, eqx.filter_jit(loss)):
            (_, losses), slope = call(field, split)
            np.testing.assert_allclose(losses, want, rtol=1e-5)
            np.testing.assert_allclose(slope.mean, gradient.mean, rtol=1e-5)


def test_fit_on_split_data(mesh):
    x1 = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)), jnp.float32)
    labels = jnp.arange(8) % 2

    def train(x1, labels):
        field = Shift(jnp.zeros((3, 2)))
        return fit(
            field, x1, cond=labels, null_cond=jnp.array(2), cond_dropout=0.2, key=KEY, num_steps=5,
            optimizer=ADAM, batch_size=4,
        )  # fmt: skip

    want = train(x1, labels)
    sharding = NamedSharding(mesh, PartitionSpec("b"))
    split = jax.device_put((x1, labels), sharding)
    for context in (contextlib.nullcontext(), jax.set_mesh(mesh)):
        with context:
            result = train(*split)
            np.testing.assert_allclose(result.history.loss, want.history.loss, rtol=1e-6)
            table = jnp.sin(result.ema_field.table)  # they can be computed with
            np.testing.assert_allclose(table, np.sin(want.ema_field.table), rtol=1e-5)
            np.testing.assert_allclose(result.field.table, want.field.table, rtol=1e-5)
