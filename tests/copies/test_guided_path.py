"""Accumulated guidance against loops in NumPy's double precision."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import cfg, noise, sample
from kinetic_jax.copies import accumulated_guidance

CENTRES = np.array([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0], [0.0, 0.0, 0.0]])
NULL = 2
LABELS = np.array([0, 1, 0, 1, 0])
X0 = noise(jax.random.key(0), jnp.arange(5), (3,))


def field(t, x, label):
    """Towards the centre of a class, turning."""
    centre = jnp.asarray(CENTRES, x.dtype)[label]
    return (centre - x) * (1 + t) + jnp.sin(x + centre)


def velocity(t, x, label):
    return (CENTRES[label] - x) * (1 + t) + np.sin(x + CENTRES[label])


def by_loop(nodes, scale=1.0, interval=(0.0, 1.0)):
    """Sums, terms and ends of Euler's path under `v_n + scale (v_c − v_n)`."""
    totals, all_norms, ends = [], [], []
    for x, label in zip(np.asarray(X0, np.float64), LABELS, strict=True):
        norms = []
        for left, right in itertools.pairwise(nodes):
            given, none = velocity(left, x, label), velocity(left, x, NULL)
            norms.append(np.sqrt(np.sum((given - none) ** 2)))
            inside = interval[0] <= left <= interval[1]
            x = x + (right - left) * (none + (scale if inside else 1.0) * (given - none))
        totals.append(np.dot(norms, np.diff(nodes)))
        all_norms.append(norms)
        ends.append(x)
    return np.array(totals), np.array(all_norms), np.array(ends)


def assert_is(path, wanted):
    for got, expected in zip((path.total, path.norms, path.x), wanted, strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5)


def test_along_the_plain_path():
    path = accumulated_guidance(field, X0, LABELS, null_cond=NULL, num_steps=8)
    assert_is(path, by_loop(np.arange(9) / 8))
    np.testing.assert_array_equal(path.ts, np.arange(8) / 8)
    assert path.num_evals.tolist() == [16] * 5
    plain = sample(field, X0, jnp.asarray(LABELS), num_steps=8)
    np.testing.assert_allclose(path.x, plain.x1, rtol=1e-6)


def test_early_on_a_grid():
    nodes = np.array([0.0, 0.05, 0.2, 0.3, 0.6, 1.0])
    path = accumulated_guidance(field, X0, LABELS, null_cond=NULL, grid=nodes, until=0.5)
    assert_is(path, by_loop(nodes[:4]))
    assert path.num_evals.tolist() == [6] * 5


@pytest.mark.parametrize(("interval", "calls"), [((0.0, 1.0), 6), ((0.2, 0.7), 12)])
def test_along_the_guided_path(interval, calls):
    guided = cfg(2.5, NULL, interval=interval)(field)
    path = accumulated_guidance(guided, X0, LABELS, num_steps=6)
    assert_is(path, by_loop(np.arange(7) / 6, 2.5, interval))
    assert path.num_evals.tolist() == [calls] * 5


def test_in_double_precision(x64):
    x0 = jnp.asarray(np.asarray(X0), jnp.float64)
    path = accumulated_guidance(field, x0, LABELS, null_cond=NULL, num_steps=8)
    np.testing.assert_allclose(path.total, by_loop(np.arange(9) / 8)[0], rtol=1e-6)
    assert path.x.dtype == jnp.float64


def test_failed_samples_are_unknown():
    x0 = X0.at[1, 0].set(jnp.inf)
    path = accumulated_guidance(field, x0, LABELS, null_cond=NULL, num_steps=8)
    assert np.isnan(path.total).tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"null_cond": None}, "null_cond must be given for a field that declares none"),
        ({"cond": None}, "cond must be given: the condition of each sample, got None"),
        ({"until": 0.01}, r"until must lie in \[0.125, 1\], got 0.01"),
        ({"x0": {"a": X0}}, "x0 must be an array for guidance, got a pytree"),
        (
            {"field": cfg(2.0, NULL)(field)},
            "null_cond must be left out for a guided field, which has its own",
        ),
    ],
)
def test_settings_out_of_range(settings, message, own_messages):
    given = {"field": field, "x0": X0, "cond": LABELS, "null_cond": NULL, "num_steps": 8}
    with pytest.raises(ValueError, match=message):
        accumulated_guidance(**given | settings)
