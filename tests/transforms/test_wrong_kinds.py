"""Gains that are no numbers, shaping without strength, and transforms that are pickled."""

import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import cfg, chain, gain, identity, kts


@pytest.mark.parametrize("value", [float("nan"), 1j, [1.0, 2.0]], ids=str)
def test_a_gain_that_is_no_real_number_is_refused(value):
    with pytest.raises(ValueError, match=r"fn must return one number|gain must stay finite"):
        gain(lambda t: jnp.asarray(value))


def test_shaping_without_a_strength_says_so():
    with pytest.warns(UserWarning, match=r"kts\(\) has no strength and changes nothing"):
        kts(tau_split=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kts(0.0, 0.0)
        kts(alpha0=0.0)


@pytest.mark.parametrize(
    "transform",
    [
        kts(0.1, 0.01),
        kts(0.1, 0.01, launch="constant", landing="linear"),
        kts(0.1, 0.01, launch="exponential", landing="constant"),
        chain(cfg(2.0, 0.0, interval=(0.1, 0.9)), kts(0.1), identity()),
    ],
)
def test_a_transform_of_named_shapes_and_its_field_can_be_pickled(transform):
    t, x, cond = jnp.array(0.3), jnp.array([1.0, 2.0]), jnp.array(1.0)
    field = transform(guided)
    want = field(t, x, cond)
    for again in (pickle.loads(pickle.dumps(field)), pickle.loads(pickle.dumps(transform))(guided)):
        np.testing.assert_array_equal(again(t, x, cond), want)
        assert jax.tree.structure(again) == jax.tree.structure(field)


def guided(t, x, cond=None):
    return x + cond
