"""Noise: row i is a function of (key, i) alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kinetic_jax import noise

KEY = jax.random.key(7)
ALL = np.asarray(noise(KEY, jnp.arange(64), (2, 3)))


@given(index=st.lists(st.integers(0, 63), min_size=5, max_size=5))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_rows_do_not_depend_on_the_batch_they_are_drawn_in(index):
    rows = noise(KEY, jnp.array(index), (2, 3))
    np.testing.assert_array_equal(rows, ALL[np.array(index)])


def test_batches_of_any_size_and_shape():
    draw = jax.jit(noise, static_argnums=2)
    for start, size in ((0, 1), (10, 32)):
        rows = draw(KEY, jnp.arange(start, start + size), (2, 3))
        np.testing.assert_array_equal(rows, ALL[start : start + size])
    np.testing.assert_array_equal(draw(KEY, 5, (2, 3)), ALL[5])
    np.testing.assert_array_equal(noise(KEY, 5, (2, 3)), ALL[5])
    blocks = draw(KEY, jnp.arange(64).reshape(4, 8, 2), (2, 3))
    np.testing.assert_array_equal(blocks, ALL.reshape(4, 8, 2, 2, 3))


def test_large_indices_are_all_different():
    index = jnp.array([0, 1, 2**16, 2**24, 2**24 + 1, 2**31 - 1])
    rows = np.asarray(noise(KEY, index, (4,)))
    assert len({row.tobytes() for row in rows}) == 6


def test_other_keys_draw_other_noise():
    other = noise(jax.random.key(8), jnp.arange(64), (2, 3))
    assert not np.any(np.asarray(other) == np.asarray(ALL))
    # A scalar event has noise of its own in every row, too.
    scalars = np.asarray(noise(KEY, jnp.arange(64), ()))
    assert scalars.shape == (64,)
    assert len(set(scalars.tolist())) == 64


def test_standard_normal():
    """Within each row and across rows; 40,000 numbers: the bounds are five standard errors."""
    draws = np.asarray(noise(KEY, jnp.arange(2000), (20,)), np.float64)
    assert abs(draws.mean()) < 5 / 200
    assert abs(draws.var() - 1) < 5 * np.sqrt(2) / 200
    assert stats.kstest(draws.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(draws[:, 0], "norm").pvalue > 1e-3
    correlation = np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]
    assert abs(correlation) < 5 / 200


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_a_row_does_not_depend_on_its_batch_whatever_the_generator(impl):
    """The generators that TPUs prefer draw a batch as a whole unless they are kept from it."""
    key = jax.random.key(0, impl=impl)
    rows = np.asarray(noise(key, jnp.arange(6), (5,)))
    np.testing.assert_array_equal(noise(key, jnp.array([4, 1]), (5,)), rows[np.array([4, 1])])
    np.testing.assert_array_equal(noise(key, 3, (5,)), rows[3])
    assert len(np.unique(np.asarray(rows))) == 30
