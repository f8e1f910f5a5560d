"""Fields of a user's own making around the package's: taken as they are."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from kinetic_jax import GaussianField, cfg, from_reversed_time, kts, sample
from kinetic_jax.networks import network_field


@functools.cache
def image():
    return network_field("mlp", (2, 2), key=jax.random.key(0), width=8, depth=1, num_classes=3)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


class Flat(eqx.Module):
    """Another shape than the field inside."""

    field: object

    def __call__(self, t, x, cond=None):
        return self.field(t, x.reshape(2, 2), cond).reshape(-1)


class OneBased(eqx.Module):
    """Other labels than the field inside."""

    field: object

    def __call__(self, t, x, cond=None):
        return self.field(t, x, cond - 1)


def test_a_wrapper_may_change_shape_and_labels():
    x0, labels = normal(2, 2, 2), np.int32([0, 3])
    want = sample(image(), x0, labels, num_steps=3)
    flat = sample(Flat(image()), x0.reshape(2, 4), labels, num_steps=3)
    np.testing.assert_array_equal(flat.x1, np.reshape(want.x1, (2, 4)))
    moved = sample(OneBased(image()), x0, labels + 1, num_steps=3)
    np.testing.assert_array_equal(moved.x1, want.x1)


def test_what_is_inside_transforms_is_still_asked():
    x0 = normal(2, 2, 2)
    shaped = kts(0.1)(from_reversed_time(image()))
    with pytest.raises(ValueError, match=r"cond must lie in \[0, 3\]"):
        sample(shaped, x0, np.int32([0, 4]))
    with pytest.raises(
        ValueError, match=r"x0 must have the field's event shape, \(2, 2\), got .*\(4,\)"
    ):
        sample(shaped, x0.reshape(2, 4))
    with pytest.raises(ValueError, match=r"null_cond must lie in \[0, 3\], got 7"):
        cfg(2.0, null_cond=7)(shaped)


class Still(nnx.Module):
    """An NNX module that is a field of one sample."""

    def __init__(self):
        self.rate = nnx.Param(jnp.array(2.0))

    def __call__(self, t, x, cond=None):
        return self.rate[...] * x


class StillLinen(nn.Module):
    """A linen module that is one, once bound."""

    @nn.compact
    def __call__(self, t, x, cond=None):
        return self.param("rate", lambda key: jnp.array(2.0)) * x


def test_modules_that_are_fields_of_one_sample():
    x0 = normal(3, 2)
    want = sample(lambda t, x, cond=None: 2.0 * x, x0, num_steps=5).x1
    np.testing.assert_allclose(sample(Still(), x0, num_steps=5).x1, want, rtol=1e-6)
    module = StillLinen()
    bound = module.bind(module.init(jax.random.key(0), 0.0, x0[0]))
    np.testing.assert_allclose(sample(bound, x0, num_steps=5).x1, want, rtol=1e-6)


class Holder:
    def __call__(self, t, x, cond=None):
        return -self.rate * x


def test_an_object_is_read_anew_whatever_it_held_before():
    x0, holder = normal(3, 2), Holder()
    for rate in (1.0, jnp.float32(2.0), jnp.float32(3.0)):
        holder.rate = rate
        np.testing.assert_allclose(sample(holder, x0, num_steps=1).x1, (1 - rate) * x0, rtol=1e-6)


@dataclasses.dataclass
class Rate:
    """Has an == that fails on arrays, and no hash."""

    rate: object

    def __call__(self, t, x, cond=None):
        return -self.rate * x


def test_callable_dataclasses():
    x0 = normal(3, 2)
    for rate in (2.0, 3.0):
        field = Rate(rate * jnp.ones(2))
        np.testing.assert_allclose(sample(field, x0, num_steps=1).x1, (1 - rate) * x0, rtol=1e-6)


def test_a_method_is_one_function_however_often_it_is_looked_up():
    traces = []

    class Model:
        def velocity(self, t, x, cond=None):
            traces.append(1)
            return x

    model, x0 = Model(), normal(3, 2)
    sample(model.velocity, x0, num_steps=2)
    first = len(traces)
    sample(model.velocity, x0, num_steps=2)
    assert len(traces) - first <= 1  # looked at again, but not compiled again


@pytest.mark.parametrize("time", [0.3, np.float64(0.3), np.float32(0.3)], ids=str)
def test_plain_numbers_as_times(time):
    """A hand-written loop counts its time in them."""
    inner = GaussianField(jnp.ones(2), 0.5)

    def labelled(t, x, cond):
        return x * t + cond

    x = jnp.array([0.5, -1.0])
    guided = cfg(2.0, 0.0, interval=(0.1, 0.8))(labelled)
    for field, cond in (
        (inner, None), (kts(0.1)(inner), None), (from_reversed_time(inner), None), (guided, 1.0),
    ):  # fmt: skip
        cond = None if cond is None else jnp.asarray(cond, jnp.float32)
        np.testing.assert_allclose(
            field(time, x, cond), field(jnp.asarray(0.3, jnp.float32), x, cond), rtol=1e-6
        )
