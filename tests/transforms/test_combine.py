"""`chain` from left to right, compared with wrapping by hand; `identity`."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import GaussianField, cfg, chain, gain, identity, kts
from kinetic_jax.fields import as_field

FIELD = GaussianField(jnp.array([1.0, -2.0]), 0.7)


def LABELLED(t, x, cond=None):
    return x if cond is None else x + cond


X = jnp.array([0.4, 1.3])


def shift(amount):
    """A transform that does not commute with a gain."""
    return lambda field: lambda t, x, cond=None: field(t, x, cond) + amount


def velocity(transform, t=0.25, field=FIELD):
    return np.asarray(transform(field)(jnp.array(t), X))


def test_the_first_wraps_the_field_first():
    v = np.asarray(FIELD(jnp.array(0.25), X))
    double = gain(lambda t: 2.0)
    np.testing.assert_allclose(velocity(chain(shift(1.0), double)), 2 * (v + 1), rtol=1e-6)
    np.testing.assert_allclose(velocity(chain(double, shift(1.0))), 2 * v + 1, rtol=1e-6)


def test_manual_application():
    a, b, c = shift(3.0), kts(0.5), shift(-1.0)
    want = c(b(a(FIELD)))(jnp.array(0.25), X)
    np.testing.assert_array_equal(velocity(chain(a, b, c)), want)


def test_association_does_not_matter():
    a, b, c = shift(3.0), gain(lambda t: 1 + t), shift(-1.0)
    flat = velocity(chain(a, b, c))
    np.testing.assert_array_equal(velocity(chain(chain(a, b), c)), flat)
    np.testing.assert_array_equal(velocity(chain(a, chain(b, c))), flat)
    np.testing.assert_array_equal(velocity(chain(chain(), a, chain(b), identity(), c)), flat)


def test_empty_chain_and_identity_return_the_field_itself():
    assert chain()(FIELD) is FIELD
    assert identity()(FIELD) is FIELD
    assert chain(identity(), chain())(FIELD) is FIELD


def test_gains_multiply():
    t = 0.9
    got = velocity(chain(kts(0.2, 0.01), gain(lambda t: 3.0), kts(0.0, 0.02)), t)
    s = (t - 0.6) / 0.4
    factor = 3 * (1 - 0.01 * np.expm1(3 * s)) * (1 - 0.02 * np.expm1(3 * s))
    np.testing.assert_allclose(got, factor * np.asarray(FIELD(jnp.array(t), X)), rtol=1e-5)


@pytest.mark.parametrize(
    "transform",
    [
        kts(0.1, tau_split=0.75),
        chain(kts(0.1, tau_split=0.75), identity()),
        chain(kts(0.1, tau_split=0.75), gain(lambda t: 2.0)),
        chain(gain(lambda t: 2.0), kts(0.1, tau_split=0.75)),
        chain(kts(0.1, tau_split=0.75), cfg(2.0, 0.0)),
        chain(cfg(2.0, 0.0, interval=(0.1, 0.5)), chain(kts(0.1, tau_split=0.75))),
        chain(
            kts(0.1, tau_split=0.25), kts(0.1, tau_split=0.75)
        ),  # the outer gain is the one that acts last
    ],
)
def test_tau_split_is_carried(transform):
    assert float(as_field(transform(LABELLED)).tau_split) == 0.75


@pytest.mark.parametrize("transform", [identity(), chain(), gain(lambda t: 2.0), cfg(2.0, 0.0)])
def test_no_tau_split_where_there_is_no_kts(transform):
    assert as_field(transform(LABELLED)).tau_split is None


def test_not_callable():
    # Without the run-time type check that these tests run under, as users call it.
    with pytest.raises(ValueError, match=r"transforms\[1\] must be callable, got 0\.5"):
        inspect.unwrap(chain)(kts(0.1), 0.5)


def test_numbers_of_all_links_are_leaves():
    both = chain(kts(0.5, 0.01, 0.6, k=3.0), cfg(2.0, jnp.zeros(2), interval=(0.25, 0.75)))
    numbers = sorted(float(jnp.sum(leaf)) for leaf in jax.tree.leaves(both))
    np.testing.assert_allclose(numbers, [0.0, 0.01, 0.25, 0.5, 0.6, 0.75, 2.0, 3.0], rtol=1e-6)
