"""The streaming core: each reduction against NumPy over all rows at once."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetic_jax._streaming import (
    Highest,
    SoftmaxMean,
    SoftmaxSum,
    Together,
    WeightedSum,
    product_scores,
    stream,
    stream_from_host,
)


class Product(eqx.Module):
    """−½||q − r||² + ½||q||², and what stands beside the rows."""

    def __call__(self, query, rows, squares, beside):
        scores = product_scores(query, rows, squares, jnp.ones((), rows.dtype))
        return scores if beside is None else scores + beside


def softmax(scores, rows):
    peak = scores.max(axis=1)
    weights = np.exp(scores - peak[:, None])
    return peak, weights.sum(axis=1), weights @ rows


def apart(scores, rows):
    """The best row, and the sums over the others."""
    best = scores.argmax(axis=1)
    weights = np.exp(scores - scores.max(axis=1)[:, None])
    weights[np.arange(len(best)), best] = 0
    return scores.max(axis=1), rows[best], best, weights.sum(axis=1), weights @ rows


REDUCTIONS = {
    "sum": (SoftmaxSum(), lambda scores, rows: softmax(scores, rows)[:2]),
    "mean": (SoftmaxMean(), apart),
    "highest": (
        Highest(3),
        lambda scores, rows: (
            -np.sort(-scores, axis=1)[:, :3],
            np.argsort(-scores, axis=1, kind="stable")[:, :3],
        ),
    ),
    "weighted sum": (WeightedSum(), lambda scores, rows: (scores.sum(axis=1), scores @ rows)),
    "together": (
        Together(SoftmaxSum(), WeightedSum()),
        lambda scores, rows: (
            softmax(scores, rows)[:2],
            (scores.sum(axis=1), scores @ rows),
        ),
    ),
}
SIZES = {"one chunk": (50, 64), "chunks that divide": (48, 12), "a remainder": (47, 12),
         "chunks of one": (5, 1), "larger than a group": (300, 100)}  # fmt: skip


def both(reduction, queries, rows, beside, chunk_size):
    """The result of the compiled pass and of the one from the host."""
    data = jnp.asarray(rows)
    squares = jnp.sum(data * data, axis=1)
    score = Product()

    def one(query):
        return stream(
            lambda part, known: score(query, part, *known),
            reduction, data, (squares, beside), dtype=jnp.float32, chunk_size=chunk_size,
        )  # fmt: skip

    yield jax.jit(jax.vmap(one))(queries)
    yield stream_from_host(
        score, reduction, queries, rows, beside, chunk_size=chunk_size, dtype=jnp.float32,
        description="", check=lambda *_: None,
    )  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("total", "chunk_size"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_against_all_rows_at_once(name, total, chunk_size, weighted):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(total, 5)).astype(np.float32)
    queries = rng.normal(size=(4, 5)).astype(np.float32)
    beside = jnp.asarray(rng.normal(size=total), jnp.float32) if weighted else None
    exact = queries.astype(float) @ rows.T.astype(float) - np.sum(rows.astype(float) ** 2, 1) / 2
    exact = exact + (np.asarray(beside) if weighted else 0)
    reduction, wanted = REDUCTIONS[name]
    for found in both(reduction, jnp.asarray(queries), rows, beside, chunk_size):
        for one, other in zip(
            jax.tree.leaves(found), jax.tree.leaves(wanted(exact, rows)), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 200), st.integers(1, 70), st.sampled_from([1, 2, 5, 40]), st.integers(0, 999))
def test_highest_is_a_sort(total, chunk_size, count, seed):
    scores = np.random.default_rng(seed).permutation(total).astype(np.float32)
    count = min(count, total)
    found = stream(
        lambda part, known: known,
        Highest(count), jnp.zeros((total, 1)), jnp.asarray(scores),
        dtype=jnp.float32, chunk_size=chunk_size,
    )  # fmt: skip
    order = np.argsort(-scores)[:count]
    np.testing.assert_array_equal(found[1], order)
    np.testing.assert_array_equal(found[0], scores[order])


def test_fewer_rows_than_asked_for():
    found = stream(
        lambda part, known: known,
        Highest(5), jnp.zeros((2, 1)), jnp.array([1.0, 2.0]), dtype=jnp.float32, chunk_size=4,
    )  # fmt: skip
    np.testing.assert_array_equal(found[0], [2.0, 1.0] + 3 * [jnp.finfo("float32").min])


@pytest.mark.parametrize("scores", [[-np.inf] * 3, [-np.inf, 0.0, -np.inf], [1e4, -1e4, 1e4]])
def test_softmax_of_rows_that_do_not_count(scores):
    """Chunks of excluded rows, before and after others, leave no NaN behind."""
    best = stream(
        lambda part, known: known,
        SoftmaxMean(), jnp.array([[1.0], [2.0], [4.0]]), jnp.array(scores, jnp.float32),
        dtype=jnp.float32, chunk_size=1,
    )  # fmt: skip
    weights = np.exp(np.array(scores) - max(max(scores), -1e30))
    if max(scores) == -np.inf:
        assert float(best.score) == jnp.finfo("float32").min
        assert (int(best.number), float(best.others)) == (-1, 0)
        return
    assert float(best.score) == max(scores)
    number = int(np.argmax(scores))
    assert int(best.number) == number
    np.testing.assert_allclose(1 + best.others, weights.sum())
    np.testing.assert_allclose(best.row + best.moved, [weights @ [1.0, 2.0, 4.0]])


def test_the_gradient_of_a_pass_keeps_to_the_chunk():
    """With `recompute`, temporary memory does not grow with the number of rows."""

    def memory(total):
        rows = jnp.ones((total, 16))

        def loss(queries):
            def one(query):
                return stream(
                    lambda part, known: part @ query, WeightedSum(), rows, None,
                    dtype=jnp.float32, chunk_size=64, recompute=True,
                )[1]  # fmt: skip

            return jnp.sum(jax.vmap(one)(queries) ** 2)

        compiled = jax.jit(jax.grad(loss)).lower(jnp.ones((32, 16))).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert memory(64 * 64) < memory(8 * 64) + 32 * 64 * 4
