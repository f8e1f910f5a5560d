"""The contract of every velocity field; a new field enters by one line in FIELDS."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax import (
    GaussianField,
    VelocityField,
    from_linen,
    from_nnx,
    from_reversed_time,
    from_vector_field,
)
from kinetic_jax.fields import from_scaled_time

DIM = 4


def working_dtype(x):
    # Flax mixes no dtypes under strict promotion: these networks work in float32 at least, and
    # leave it to the adapter to return the dtype of x.
    return jnp.float64 if x.dtype == jnp.float64 else jnp.float32


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, t, x, label=None):
        x = x.astype(working_dtype(x))
        h = nn.Dense(8)(x) + t[:, None].astype(x.dtype)
        if label is not None:
            h = h + nn.Embed(3, 8)(label).astype(h.dtype)
        return nn.Dense(DIM)(nn.silu(h))


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.hidden, self.out = nnx.Linear(DIM, 8, rngs=rngs), nnx.Linear(8, DIM, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, t, x):
        x = x.astype(working_dtype(x))
        return self.out(self.dropout(nnx.silu(self.hidden(x) + t[:, None].astype(x.dtype))))


def rotate(t, y, args):
    return args["matrix"].astype(y.dtype) @ y * t.astype(y.dtype)


def numbers(seed, *shape):
    return jax.device_put(np.float32(np.random.default_rng(seed).uniform(0.3, 1.5, shape)))


@functools.cache
def init(labelled):
    """A program, as initialising op by op compiles many."""
    time, one = np.zeros(1, np.float32), np.zeros((1, DIM), np.float32)
    label = np.zeros(1, np.int32) if labelled else None
    return jax.jit(lambda key: LinenNet().init(key, time, one, label))


@functools.cache
def linen(seed, labelled=False):
    return from_linen(LinenNet(), init(labelled)(jax.random.key(seed)))


@dataclasses.dataclass
class Case:
    """`make(seed)` builds the field with numbers of that seed; `cond` is that of one sample."""

    make: Callable[[int], VelocityField]
    cond: Any = None


FIELDS = {
    "gaussian": Case(lambda seed: GaussianField(numbers(seed, DIM), numbers(seed))),
    "gaussian_scales": Case(lambda seed: GaussianField(numbers(seed, DIM), numbers(seed, DIM))),
    "linen": Case(linen),
    "linen_labels": Case(lambda seed: linen(seed, labelled=True), np.array(2, np.int32)),
    "nnx": Case(lambda seed: from_nnx(NNXNet(nnx.Rngs(seed)))),
    "vector_field": Case(
        lambda seed: from_vector_field(rotate, {"matrix": numbers(seed, DIM, DIM)})
    ),
    "scaled_time": Case(
        lambda seed: from_scaled_time(
            GaussianField(numbers(seed, DIM), numbers(seed)), time_scale=0.75 + 0.05 * seed
        )
    ),
    "reversed_time": Case(
        lambda seed: from_reversed_time(
            GaussianField(numbers(seed, DIM), numbers(seed)), time_scale=0.75 + 0.05 * seed
        )
    ),
}

pytestmark = pytest.mark.parametrize("case", FIELDS.values(), ids=FIELDS)

T, X = np.float32(0.3), np.float32([0.5, -1.0, 2.0, 0.1])


def call(field, t, x, cond):
    """As a user's script does, on arrays of JAX."""
    return field(*jax.device_put((t, x)), cond)


def is_number(leaf):
    return eqx.is_inexact_array(leaf)


def cast(field, dtype):
    """The field with its floating numbers in `dtype`."""
    return jax.tree.map(
        lambda leaf: jax.device_put(np.asarray(leaf, dtype)) if is_number(leaf) else leaf, field
    )


def test_is_a_velocity_field_whose_leaves_are_arrays(case):
    field = case.make(0)
    assert isinstance(field, VelocityField)
    assert any(map(is_number, jax.tree.leaves(field)))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(field))


def test_jit_as_an_argument(case):
    field = case.make(0)
    got = jax.jit(lambda field, t, x, cond: field(t, x, cond))(field, T, X, case.cond)
    np.testing.assert_allclose(got, call(field, T, X, case.cond), rtol=1e-5, atol=1e-6)


def test_vmap_is_a_loop_over_samples(case):
    field = case.make(0)
    t, x = np.float32([0.1, 0.5, 0.9]), np.stack([X, -X, 2 * X])
    cond = None if case.cond is None else case.cond - np.int32([1, 0, 0])
    got = jax.jit(lambda *args: jax.vmap(field)(*args))(t, x, cond)
    one = jax.jit(lambda *args: field(*args))
    for i in range(3):
        want = one(t[i], x[i], None if cond is None else cond[i])
        np.testing.assert_allclose(got[i], want, rtol=1e-5, atol=1e-5)


def test_a_gradient_reaches_every_number(case, x64):
    field = cast(case.make(0), np.float64)

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def slopes(f, t, x):
        return jnp.sum(f(t, x, case.cond) * np.arange(1.0, 5.0))

    at = jax.device_put((np.float64(0.3), np.float64(X)))
    gradient = slopes(field, *at)[1]
    dynamic, rest = eqx.partition(field, is_number)
    leaves, treedef = jax.tree.flatten(dynamic)
    rng = np.random.default_rng(1)
    for place, leaf in enumerate(leaves):
        # One random direction in each leaf, against a central difference.
        direction = rng.normal(size=leaf.shape)

        def moved(step, place=place, leaf=leaf, direction=direction):
            there = leaves.copy()
            there[place] = jax.device_put(np.asarray(leaf) + step * direction)
            return float(slopes(eqx.combine(jax.tree.unflatten(treedef, there), rest), *at)[0])

        numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5
        exact = np.sum(np.asarray(jax.tree.leaves(gradient)[place]) * direction)
        np.testing.assert_allclose(exact, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_dtype_of_x_is_kept(case, dtype):
    field, x = case.make(0), X.astype(dtype)
    got = call(field, T, x, case.cond)
    assert got.dtype == dtype
    want = call(field, T, x.astype(np.float32), case.cond)
    tolerance = 8 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.float32(got), want, rtol=tolerance, atol=tolerance)


def test_double_precision_is_kept(case, x64):
    field = cast(case.make(0), np.float64)
    t, x = np.float64(0.3), np.float64(X)
    got = call(field, t, x, case.cond)
    assert got.dtype == np.float64
    # A step through float32 inside would move the result by its rounding, 1e-8 or more.
    nudged = np.asarray(call(field, t, x + 1e-12, case.cond))
    assert np.any(got != nudged)
    np.testing.assert_allclose(nudged, got, atol=1e-9)
    single = call(cast(field, np.float32), T, X, case.cond)
    np.testing.assert_allclose(got, single, rtol=1e-4, atol=1e-5)


def test_pytree_round_trip(case):
    field = case.make(0)
    leaves, treedef = jax.tree.flatten(field)
    again = jax.tree.unflatten(treedef, leaves)
    assert type(again) is type(field)
    assert jax.tree.structure(again) == treedef
    np.testing.assert_array_equal(call(again, T, X, case.cond), call(field, T, X, case.cond))


def test_new_numbers_do_not_recompile(case):
    traces = []

    @jax.jit
    def velocity(field, t, x, cond):
        traces.append(1)
        return field(t, x, cond)

    first = velocity(case.make(0), T, X, case.cond)
    # Built anew, as after more training: only numbers differ, so the program is the same.
    other = case.make(1)
    second = velocity(other, T, X, case.cond)
    assert len(traces) == 1
    assert velocity._cache_size() == 1
    assert np.all(np.asarray(first) != second)
    np.testing.assert_allclose(second, call(other, T, X, case.cond), rtol=1e-5, atol=1e-6)
