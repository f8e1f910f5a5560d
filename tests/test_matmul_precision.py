"""Float32 products on a TPU: a network's precision is the user's choice, a distance's is not."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import EmpiricalField, sample
from kinetic_jax._streaming import Highest
from kinetic_jax._streaming._stream import _update
from kinetic_jax.metrics._neighbor_scores import ProductScore
from kinetic_jax.networks import network_field
from kinetic_jax.sampling import sweep

DOT = re.compile(r"stablehlo\.dot_general.*?precision = \[(\w+), (\w+)\]")
X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)


def precisions(fn, *arguments):
    """Of all products in a program as it is lowered."""
    arrays, static = eqx.partition(arguments, eqx.is_array)
    text = jax.jit(lambda arrays: fn(*eqx.combine(arrays, static))).lower(arrays).as_text()
    found = DOT.findall(text)
    assert len(found) == text.count("stablehlo.dot_general")
    return {name for pair in found for name in pair}


@pytest.mark.parametrize(
    ("setting", "expected"), [(None, "DEFAULT"), ("bfloat16", "DEFAULT"), ("highest", "HIGHEST")]
)
def test_a_network_runs_at_the_precision_that_is_set(setting, expected):
    field = network_field("mlp", (3,), key=jax.random.key(0), width=16, depth=1)
    for run in (sample, sweep):
        with jax.default_matmul_precision(setting):
            found = precisions(lambda f, x: run(f, x, num_steps=2), field, X)  # noqa: B023
        assert found == {expected}


def derivative(field, x):
    def loss(f, x):
        return jnp.sum(jax.vmap(lambda x: f(jnp.float32(0.5), x))(x) ** 2)

    return jax.tree.leaves(eqx.filter_grad(loss)(field, x))


def scores(rows, queries):
    span = jnp.array([0, 0, 40], jnp.int32)
    reduction, squares = Highest(2), jnp.sum(rows * rows, axis=1)
    start = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (1, 4, *leaf.shape)), reduction.start(3, rows.dtype)
    )
    score = ProductScore(jnp.zeros(3))
    return _update(score, reduction, start, queries[None], rows, squares, None, span)


@pytest.mark.parametrize("setting", [None, "bfloat16", "tensorfloat32"])
def test_distances_have_all_their_digits(setting):
    rows = jnp.asarray(np.random.default_rng(1).normal(size=(40, 3)), jnp.float32)
    field = EmpiricalField(rows, chunk_size=16)
    with jax.default_matmul_precision(setting):
        assert precisions(lambda f, x: sample(f, x, num_steps=2), field, X) == {"HIGHEST"}
        assert precisions(derivative, field, X) == {"HIGHEST"}
        assert precisions(scores, rows, X) == {"HIGHEST"}


def test_another_precision_is_another_program():
    """A set precision is seen by a program that was compiled before."""
    field = network_field("mlp", (3,), key=jax.random.key(0), width=16, depth=1)

    def run(f, x):
        return sample(f, x, num_steps=2)

    assert precisions(run, field, X) == {"DEFAULT"}
    with jax.default_matmul_precision("highest"):
        assert precisions(run, field, X) == {"HIGHEST"}
    assert precisions(run, field, X) == {"DEFAULT"}
