"""The contract of every velocity field; a new field enters by one line in FIELDS."""

import dataclasses
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
    return jnp.asarray(np.random.default_rng(seed).uniform(0.3, 1.5, shape), jnp.float32)


def linen(seed, label=None):
    net, one = LinenNet(), jnp.zeros((1, DIM), jnp.float32)
    return from_linen(net, net.init(jax.random.key(seed), jnp.zeros(1, jnp.float32), one, label))


@dataclasses.dataclass
class Case:
    """`make(seed)` builds the field with numbers of that seed; `cond` is that of one sample."""

    make: Callable[[int], VelocityField]
    cond: Any = None


FIELDS = {
    "gaussian": Case(lambda seed: GaussianField(numbers(seed, DIM), numbers(seed))),
    "gaussian_scales": Case(lambda seed: GaussianField(numbers(seed, DIM), numbers(seed, DIM))),
    "linen": Case(linen),
    "linen_labels": Case(lambda seed: linen(seed, jnp.zeros(1, int)), jnp.array(2, jnp.int32)),
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

T, X = jnp.array(0.3, jnp.float32), jnp.array([0.5, -1.0, 2.0, 0.1], jnp.float32)


def is_number(leaf):
    return eqx.is_inexact_array(leaf)


def cast(field, dtype):
    """The field with its floating numbers in `dtype`."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if is_number(leaf) else leaf, field)


def test_is_a_velocity_field_whose_leaves_are_arrays(case):
    field = case.make(0)
    assert isinstance(field, VelocityField)
    assert any(map(is_number, jax.tree.leaves(field)))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(field))


def test_jit_as_an_argument(case):
    field = case.make(0)
    got = jax.jit(lambda field, t, x, cond: field(t, x, cond))(field, T, X, case.cond)
    np.testing.assert_allclose(got, field(T, X, case.cond), rtol=1e-5, atol=1e-6)


def test_vmap_is_a_loop_over_samples(case):
    field = case.make(0)
    t, x = jnp.array([0.1, 0.5, 0.9], jnp.float32), jnp.stack([X, -X, 2 * X])
    cond = jax.tree.map(lambda leaf: jnp.stack([leaf - 1, leaf, leaf]), case.cond)
    got = jax.vmap(field)(t, x, cond)
    for i in range(3):
        one = field(t[i], x[i], jax.tree.map(lambda leaf: leaf[i], cond))  # noqa: B023
        np.testing.assert_allclose(got[i], one, rtol=1e-5, atol=1e-5)


def test_a_gradient_reaches_every_number(case, x64):
    field, x = cast(case.make(0), jnp.float64), X.astype(jnp.float64)

    def value(f):
        return jnp.sum(f(jnp.array(0.3), x, case.cond) * jnp.arange(1.0, 5.0))

    gradient = eqx.filter_grad(value)(field)
    dynamic, rest = eqx.partition(field, is_number)
    rng = np.random.default_rng(1)
    for place, leaf in enumerate(jax.tree.leaves(dynamic)):
        # One random direction in each leaf, against a central difference.
        direction = rng.normal(size=leaf.shape)

        def moved(step, place=place, direction=direction):
            leaves, treedef = jax.tree.flatten(dynamic)
            leaves[place] = leaves[place] + step * direction
            return value(eqx.combine(jax.tree.unflatten(treedef, leaves), rest))

        numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5
        exact = np.sum(np.asarray(jax.tree.leaves(gradient)[place]) * direction)
        np.testing.assert_allclose(exact, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_dtype_of_x_is_kept(case, dtype):
    field, x = case.make(0), X.astype(dtype)
    got = field(T, x, case.cond)
    assert got.dtype == dtype
    want = field(T, x.astype(jnp.float32), case.cond)
    tolerance = 8 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(got.astype(jnp.float32), want, rtol=tolerance, atol=tolerance)


def test_double_precision_is_kept(case, x64):
    field = cast(case.make(0), jnp.float64)
    t, x = jnp.array(0.3, jnp.float64), X.astype(jnp.float64)
    got = field(t, x, case.cond)
    assert got.dtype == jnp.float64
    # A step through float32 inside would move the result by its rounding, 1e-8 or more.
    nudged = field(t, x + 1e-12, case.cond)
    assert np.any(got != nudged)
    np.testing.assert_allclose(nudged, got, atol=1e-9)
    np.testing.assert_allclose(got, cast(field, jnp.float32)(T, X, case.cond), rtol=1e-4, atol=1e-5)


def test_pytree_round_trip(case):
    field = case.make(0)
    leaves, treedef = jax.tree.flatten(field)
    again = jax.tree.unflatten(treedef, leaves)
    assert type(again) is type(field)
    assert jax.tree.structure(again) == treedef
    np.testing.assert_array_equal(again(T, X, case.cond), field(T, X, case.cond))


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
    assert np.all(first != second)
    np.testing.assert_allclose(second, other(T, X, case.cond), rtol=1e-5, atol=1e-6)
