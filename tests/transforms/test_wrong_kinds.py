"""Arguments of a wrong kind of the functions that make fields and transforms are named."""

import pickle
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax import (
    cfg,
    chain,
    from_linen,
    from_nnx,
    from_reversed_time,
    from_scaled_time,
    from_vector_field,
    gain,
    identity,
    kts,
    kts_gain,
    path_norm,
)

FIELD = lambda t, x, cond=None: x  # noqa: E731
MODEL = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
KINDS = {
    "None": None,
    "a string": "abc",
    "a complex number": 1j,
    "a list": [1.0, 2.0],
    "a nested object": {"a": [object()]},
    "NaN": float("nan"),
}
# Of each function: how an argument is given to it, and the kinds that are right there.
CALLS = {
    "alpha0": (lambda bad: kts(alpha0=bad), ()),
    "beta0": (lambda bad: kts(beta0=bad), ()),
    "tau_split": (lambda bad: kts(0.1, tau_split=bad), ()),
    "launch": (lambda bad: kts(0.1, launch=bad), ()),
    "landing": (lambda bad: kts(0.1, landing=bad), ()),
    "k": (lambda bad: kts(0.1, k=bad), ()),
    "allow_reversal": (lambda bad: kts(0.1, allow_reversal=bad), ()),
    "t": (lambda bad: kts_gain(bad, 0.1, 0.1), ("a list",)),
    "fn": (lambda bad: gain(bad), ()),
    "the output of fn": (lambda bad: gain(lambda t: bad), ("a list", "NaN", "a complex number")),
    "scale": (lambda bad: cfg(bad, 0.0), ()),
    "null_cond": (lambda bad: cfg(1.0, bad), ("a list", "a complex number")),
    "interval": (lambda bad: cfg(1.0, 0.0, interval=bad), ()),
    "interval, its end": (lambda bad: cfg(1.0, 0.0, interval=(0.0, bad)), ()),
    "transforms[1]": (lambda bad: chain(identity(), bad), ()),
    "field": (lambda bad: kts(0.1)(bad), ()),
    "field, guided": (lambda bad: cfg(1.0, 0.0)(bad), ()),
    "field, reversed": (lambda bad: from_reversed_time(bad), ()),
    "field, scaled": (lambda bad: from_scaled_time(bad, time_scale=2.0), ()),
    "time_scale": (lambda bad: from_reversed_time(FIELD, time_scale=bad), ()),
    "time_scale, forward": (lambda bad: from_scaled_time(FIELD, time_scale=bad), ()),
    "norm": (lambda bad: path_norm(bad), ()),
    "vf": (lambda bad: from_vector_field(bad), ()),
    "model": (lambda bad: from_nnx(bad), ()),
    "module": (lambda bad: from_linen(bad, {}), ()),
    "variables": (lambda bad: from_linen(nn.Dense(2), bad), ()),
    "call": (lambda bad: from_nnx(MODEL, call=bad), ("None",)),
    "args": (lambda bad: from_nnx(MODEL, args=bad), ("None",)),
    "event_shape": (lambda bad: from_nnx(MODEL, event_shape=bad), ("None",)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CALLS)
def test_an_argument_of_a_wrong_kind_is_named(name, kind, own_messages):
    call, right = CALLS[name]
    if kind in right:
        return
    with pytest.raises(ValueError, match=name.split(",")[0].replace("[", r"\[")):
        call(KINDS[kind])


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
