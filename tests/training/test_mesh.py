"""`fit` and `cfm_loss` on data that are split over the axes of a mesh."""

import contextlib
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kinetic_jax import GaussianField, cfm_loss, fit

pytestmark = pytest.mark.long

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


X1 = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
FIELD = GaussianField(jax.device_put(np.ones(2, np.float32)), 0.5)


@jax.jit
@functools.partial(jax.value_and_grad, has_aux=True)
def loss(field, x1):
    losses = cfm_loss(field, KEY, x1)
    return losses.mean(), losses


def test_loss_of_split_data(mesh):
    split = jax.device_put(X1, NamedSharding(mesh, PartitionSpec("b")))
    (_, want), gradient = loss(FIELD, X1)
    # A device of its own sees two rows, and draws as for these alone.
    inside = jax.jit(
        jax.shard_map(
            lambda x1: cfm_loss(FIELD, KEY, x1), mesh=mesh, in_specs=PartitionSpec("b"),
            out_specs=PartitionSpec("b"),
        )
    )  # fmt: skip
    _, first = loss(FIELD, X1[:2])[0]
    np.testing.assert_allclose(np.asarray(inside(split))[:2], first, rtol=1e-5)
    np.testing.assert_allclose(cfm_loss(FIELD, KEY, split), want, rtol=1e-5)
    with jax.set_mesh(mesh):
        np.testing.assert_allclose(cfm_loss(FIELD, KEY, split), want, rtol=1e-5)
        (_, losses), slope = loss(FIELD, split)
        np.testing.assert_allclose(losses, want, rtol=1e-5)
        np.testing.assert_allclose(slope.mean, gradient.mean, rtol=1e-5)


def test_fit_on_split_data(mesh):
    labels = np.arange(8, dtype=np.int32) % 2

    def train(x1, labels):
        field = Shift(jax.device_put(np.zeros((3, 2), np.float32)))
        return fit(
            field, x1, cond=labels, null_cond=np.int32(2), cond_dropout=0.2, key=KEY, num_steps=5,
            optimizer=ADAM, batch_size=4,
        )  # fmt: skip

    want = train(X1, labels)
    split = jax.device_put((X1, labels), NamedSharding(mesh, PartitionSpec("b")))
    for context in (contextlib.nullcontext(), jax.set_mesh(mesh)):
        with context:
            result = train(*split)
            np.testing.assert_allclose(result.history.loss, want.history.loss, rtol=1e-6)
            table = jnp.sin(result.ema_field.table)  # they can be computed with
            np.testing.assert_allclose(table, np.sin(want.ema_field.table), rtol=1e-5)
            np.testing.assert_allclose(result.field.table, want.field.table, rtol=1e-5)


@pytest.mark.parametrize("coupling", ["minibatch_ot", "pairs"])
def test_couplings_on_split_data(mesh, coupling):
    """The assignment is solved on every device, from the gathered costs."""
    split = NamedSharding(mesh, PartitionSpec("b"))

    def train(place):
        given = place(1 - X1) if coupling == "pairs" else coupling
        settings = {"key": KEY, "num_steps": 5, "optimizer": ADAM, "batch_size": 4}
        return fit(FIELD, place(X1), coupling=given, **settings)

    want, got = train(lambda rows: rows), train(lambda rows: jax.device_put(rows, split))
    np.testing.assert_allclose(got.history.loss, want.history.loss, rtol=1e-5)
    np.testing.assert_allclose(got.field.mean, want.field.mean, rtol=1e-5)
