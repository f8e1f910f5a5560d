"""The streaming core: each reduction against NumPy over all rows at once."""

import functools

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
}
SIZES = {"one chunk": (50, 64), "chunks that divide": (48, 12), "a remainder": (47, 12),
         "chunks of one": (5, 1), "larger than a group": (300, 100)}  # fmt: skip


def both(reduction, queries, rows, beside, chunk_size):
    """The result of the compiled pass and of the one from the host."""
    score = Product()

    @jax.jit
    def in_one_program(queries, data, beside):
        def one(query):
            return stream(
                lambda part, known: score(query, part, *known), reduction, data,
                (jnp.sum(data * data, axis=1), beside), dtype=jnp.float32, chunk_size=chunk_size,
            )  # fmt: skip

        return jax.vmap(one)(queries)

    yield in_one_program(queries, rows, beside)
    yield stream_from_host(
        score, reduction, queries, rows, beside, chunk_size=chunk_size, dtype=jnp.float32,
        description="", check=lambda *_: None,
    )  # fmt: skip


CASES = [(*sizes, True) for sizes in SIZES.values()] + [(*SIZES["a remainder"], False)]


@pytest.mark.parametrize(
    ("total", "chunk_size", "weighted"), CASES, ids=[*SIZES, "nothing beside the rows"]
)
def test_against_all_rows_at_once(total, chunk_size, weighted):
    """All reductions, each with a carry of its own, in one pass."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(total, 5)).astype(np.float32)
    queries = rng.normal(size=(4, 5)).astype(np.float32)
    beside = rng.normal(size=total).astype(np.float32) if weighted else None
    exact = queries.astype(float) @ rows.T.astype(float) - np.sum(rows.astype(float) ** 2, 1) / 2
    exact = exact + (beside if weighted else 0)
    known = jnp.asarray(beside) if weighted else None
    together = Together(*(reduction for reduction, _ in REDUCTIONS.values()))
    wanted = {name: result(exact, rows) for name, (_, result) in REDUCTIONS.items()}
    for found in both(together, jnp.asarray(queries), rows, known, chunk_size):
        for (name, results), own in zip(wanted.items(), found, strict=True):
            for one, other in zip(jax.tree.leaves(own), results, strict=True):
                np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5, err_msg=name)


@functools.partial(jax.jit, static_argnums=(0, 2))
def reduced(reduction, scores, chunk_size):
    """The reduction of the numbers 1, 2, … with these scores."""
    rows = jnp.arange(1, len(scores) + 1, dtype=jnp.float32)[:, None]
    return stream(
        lambda part, known: known, reduction, rows, scores,
        dtype=jnp.float32, chunk_size=chunk_size,
    )  # fmt: skip


# The total, the chunk, and how many are wanted: one row, one chunk, fewer rows in a chunk than
# are wanted, all rows, groups of 32 rows (of 8, for more than 64) that a chunk fills or does not.
SORTED = [(1, 1, 1), (40, 70, 5), (41, 7, 40), (40, 9, 40), (200, 64, 5), (200, 70, 1),
          (199, 33, 40), (200, 33, 70), (23, 1, 2)]  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(SORTED), st.integers(0, 999))
def test_highest_is_a_sort(sizes, seed):
    total, chunk_size, count = sizes
    scores = np.random.default_rng(seed).permutation(total).astype(np.float32)
    found = reduced(Highest(count), scores, chunk_size)
    order = np.argsort(-scores)[:count]
    np.testing.assert_array_equal(found[1], order)
    np.testing.assert_array_equal(found[0], scores[order])


def test_fewer_rows_than_asked_for():
    found = reduced(Highest(5), np.float32([1, 2]), 4)
    np.testing.assert_array_equal(found[0], [2.0, 1.0] + 3 * [np.finfo("float32").min])


@pytest.mark.parametrize("scores", [[-np.inf] * 3, [-np.inf, 0.0, -np.inf], [1e4, -1e4, 1e4]])
def test_softmax_of_rows_that_do_not_count(scores):
    """Chunks of excluded rows, before and after others, leave no NaN behind."""
    best = reduced(SoftmaxMean(), np.float32(scores), 1)
    weights = np.exp(np.array(scores) - max(max(scores), -1e30))
    if max(scores) == -np.inf:
        assert float(best.score) == jnp.finfo("float32").min
        assert (int(best.number), float(best.others)) == (-1, 0)
        return
    assert float(best.score) == max(scores)
    number = int(np.argmax(scores))
    assert int(best.number) == number
    np.testing.assert_allclose(1 + best.others, weights.sum())
    np.testing.assert_allclose(best.row + best.moved, [weights @ [1.0, 2.0, 3.0]])


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
