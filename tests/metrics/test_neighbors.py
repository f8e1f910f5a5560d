"""Exact neighbours against brute force in float64."""

import inspect

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetic_jax import nearest_neighbors
from kinetic_jax._streaming import DEFAULT_CHUNK_SIZE


def brute_force(queries, reference, k):
    """Distances by differences, one pair at a time; ties to the lower row."""
    queries, reference = np.asarray(queries, np.float64), np.asarray(reference, np.float64)
    queries, reference = (a.reshape(len(a), -1) for a in (queries, reference))
    distances = np.stack([np.sqrt(np.sum((q - reference) ** 2, axis=1)) for q in queries])
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


def check(queries, reference, k, rtol=1e-5, **search):
    distances, indices = nearest_neighbors(queries, reference, k, **search)
    want_distances, want_indices = brute_force(queries, reference, k)
    np.testing.assert_array_equal(indices, want_indices)
    np.testing.assert_allclose(distances, want_distances, rtol=rtol, atol=1e-12)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# Most tests share the programs of 9 queries in 12 features, k = 3 and chunks of 12 rows.
SIZES = {  # rows, k, chunk size, features
    "one chunk": (50, 3, 50, 12),
    "chunk larger than the data": (50, 3, 64, 12),
    "chunks that divide": (48, 3, 12, 12),
    "a remainder of one": (49, 3, 12, 12),
    "a remainder of all but one": (47, 3, 12, 12),
    "one feature": (49, 3, 12, 1),
    "chunks of one": (20, 3, 1, 1),
    "chunks smaller than k": (50, 30, 7, 12),
    "all rows": (23, 23, 5, 12),
    "all rows in one chunk": (23, 23, 23, 12),
    "one row": (1, 1, 4, 1),
    "default": (300, 10, DEFAULT_CHUNK_SIZE, 40),
}


@pytest.mark.parametrize(("rows", "k", "chunk", "features"), SIZES.values(), ids=SIZES)
def test_sizes(rows, k, chunk, features):
    check(normal(0, 9, features), normal(1, rows, features), k, chunk_size=chunk)


@pytest.mark.parametrize("event", [(), (3, 4), (3, 2, 2, 1)], ids=str)
def test_events_of_any_rank(event):
    check(normal(0, 9, *event), normal(1, 49, *event), 3, chunk_size=12)


def test_two_is_the_default_and_dtypes():
    queries, reference = normal(0, 4, 3), normal(1, 9, 3)
    distances, indices = nearest_neighbors(queries, reference)
    assert (distances.shape, distances.dtype) == ((4, 2), jnp.float32)
    assert (indices.shape, indices.dtype) == ((4, 2), jnp.int32)
    # Half-precision rows are measured in float32, which holds them exactly.
    half = [a.astype(jnp.bfloat16) for a in (queries, reference)]
    distances, _ = nearest_neighbors(*map(jnp.asarray, half))
    assert distances.dtype == jnp.float32
    np.testing.assert_allclose(distances, brute_force(*half, 2)[0], rtol=1e-5)


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([4, 10]))
def test_ties_go_to_the_lower_row(seed, chunk):
    # Points of a coarse lattice: many rows and many distances are exactly equal. One query, of
    # which none or one is searched again: two sets of programs for each chunk.
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, 2, size=(10, 2)).astype(np.float32)
    queries = rng.integers(0, 2, size=(1, 2)).astype(np.float32)
    check(queries, reference, 4, chunk_size=chunk)


@pytest.mark.parametrize("copies", [2, 5, 20])
@pytest.mark.parametrize("chunk", [12, 4096])
def test_rows_that_occur_many_times(copies, chunk):
    base = normal(0, 10, 12)
    reference = np.tile(base, (copies, 1))[np.random.default_rng(1).permutation(10 * copies)]
    check(base[:9] + np.float32(0.1) * normal(2, 9, 12), reference, 3, chunk_size=chunk)


@pytest.mark.parametrize("features", [1, 12])
def test_data_far_from_the_origin(features):
    # ||q||² is 1e6 times ||q − r||²: the expanded square alone would keep no digit of it.
    reference, queries = normal(0, 100, features), normal(1, 9, features)
    check(queries + np.float32(1000), reference + np.float32(1000), 3, chunk_size=12)


def test_near_copies():
    """Samples 1e-4 away from rows of norm 30: where memorisation is decided."""
    reference = normal(0, 200, 100)
    reference *= 30 / np.linalg.norm(reference, axis=1, keepdims=True)
    step = normal(1, 40, 100)
    queries = reference[::5] + 1e-4 * step / np.linalg.norm(step, axis=1, keepdims=True)
    distances, indices = nearest_neighbors(queries.astype(np.float32), reference)
    want_distances, want_indices = brute_force(queries.astype(np.float32), reference, 2)
    np.testing.assert_array_equal(indices, want_indices)
    np.testing.assert_array_equal(indices[:, 0], np.arange(0, 200, 5))
    ratios, want = (np.asarray(d)[:, 0] / np.asarray(d)[:, 1] for d in (distances, want_distances))
    np.testing.assert_allclose(ratios, want, rtol=1e-4)


def test_exact_copies():
    reference = np.float32(30) * normal(0, 49, 12)
    distances, indices = map(
        np.asarray, nearest_neighbors(reference[20:29], reference, 3, chunk_size=12)
    )
    np.testing.assert_array_equal(distances[:, 0], 0)
    np.testing.assert_array_equal(indices[:, 0], np.arange(20, 29))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
def test_a_bad_query_spoils_no_other(bad):
    queries, reference = normal(0, 9, 12), normal(1, 49, 12)
    spoilt, others = queries.copy(), np.arange(9) != 2
    spoilt[2, 1] = bad
    distances, indices = map(np.asarray, nearest_neighbors(spoilt, reference, 3, chunk_size=12))
    assert np.all(np.isnan(distances[2]))
    want_distances, want_indices = brute_force(queries, reference, 3)
    np.testing.assert_array_equal(indices[others], want_indices[others])
    np.testing.assert_allclose(distances[others], want_distances[others], rtol=1e-5)


@pytest.mark.parametrize("mixed", [False, True], ids=["double", "single and double"])
def test_double_precision(mixed, x64):
    # Two rows 1e-9 apart: no float32 number lies between.
    reference = np.random.default_rng(0).normal(size=(30, 5))
    reference[1] = reference[0] + 1e-9
    queries = reference[:2] + 1e-11
    if mixed:
        queries = np.zeros((2, 5), np.float32)
    distances, indices = nearest_neighbors(jnp.asarray(queries), jnp.asarray(reference), 3)
    want_distances, want_indices = brute_force(queries, reference, 3)
    assert distances.dtype == jnp.float64
    np.testing.assert_array_equal(indices, want_indices)
    np.testing.assert_allclose(distances, want_distances, rtol=1e-5)


class ReadOnce:
    """Rows that are no array, and note which of them were read."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype, self.read = rows, rows.shape, rows.dtype, []

    def __getitem__(self, which):
        self.read.append(which)
        return self.rows[which]


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float64], ids=lambda d: d.__name__)
def test_rows_on_the_host(tmp_path, dtype):
    """A memmap and other array-likes give what the same rows in memory give."""
    rows = np.random.default_rng(0).integers(0, 200, size=(101, 12)).astype(dtype)
    queries = rows[::12].astype(np.float32) + normal(1, 9, 12)
    mapped = np.memmap(tmp_path / "rows", dtype, "w+", shape=rows.shape)
    mapped[:] = rows
    wanted = nearest_neighbors(queries, rows, 3, chunk_size=12)
    for data in (mapped, ReadOnce(rows)):
        found = nearest_neighbors(queries, data, 3, chunk_size=12)
        np.testing.assert_array_equal(found[1], wanted[1])
        np.testing.assert_array_equal(found[0], wanted[0])


def test_each_row_is_read_once():
    data = ReadOnce(normal(0, 100, 6))
    nearest_neighbors(normal(1, 1100, 6), data, 2, chunk_size=30)
    slices = [which for which in data.read if isinstance(which, slice)]
    # The first chunk tells where the middle of the data is, and is read again in the pass.
    assert [(s.start, min(s.stop, 100)) for s in slices] == [
        (0, 30), (0, 30), (30, 60), (60, 90), (90, 100),
    ]  # fmt: skip
    again = [which for which in data.read if not isinstance(which, slice)]
    assert max(map(len, again)) <= 32  # the winners, no more than a chunk of them at a time


def memmap(path):
    return np.memmap(path / "rows", np.float32, "w+", shape=(9, 2))


ROWS = normal(0, 9, 2)
BAD = {
    "k of zero": ({"k": 0}, r"k must be a whole number in \[1, 9\], the reference's rows, got 0"),
    "k beyond the rows": ({"k": 10}, r"k must be a whole number in \[1, 9\], the ref.*, got 10"),
    "chunk size": ({"chunk_size": 0}, r"chunk_size must be a whole number >= 1, got 0"),
    "no reference": ({"reference": np.zeros((0, 2))}, r"reference must have rows, got shape"),
    "other rows": (
        {"queries": np.zeros((3, 5))}, r"queries must have the reference's shape, \(2,\), got"
    ),
    "no axis": ({"queries": np.float32(1)}, r"queries must have a leading axis of rows"),
    "nan": ({"reference": np.where(ROWS > 1, np.nan, ROWS)}, r"reference must be finite"),
    "infinite": ({"reference": np.where(ROWS > 1, np.inf, ROWS)}, r"reference must be finite"),
    "memmap queries": ({"queries": memmap}, r"queries must be in memory, got a numpy.memmap"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
@pytest.mark.usefixtures("own_messages")
def test_errors(change, message, tmp_path):
    arguments = {"queries": ROWS[:3], "reference": ROWS}
    arguments |= {name: v(tmp_path) if callable(v) else v for name, v in change.items()}
    with pytest.raises(ValueError, match=message):
        nearest_neighbors(**arguments)


def test_few_programs_and_none_again_for_other_data(compilations):
    """A first search waits for its programs: seven, and those that copy arrays to the device."""
    before = compilations()
    nearest_neighbors(normal(0, 6, 11), normal(1, 60, 11), 3)
    assert compilations() - before <= 12
    before = compilations()
    nearest_neighbors(normal(2, 6, 11), normal(3, 60, 11), 3)
    assert compilations() == before


@pytest.mark.parametrize("apart", [300.0, 1e4])
@pytest.mark.parametrize("size", [1, 12])
def test_clusters_far_apart_are_searched_exactly(apart, size):
    """The expanded square keeps nothing of a spread of 1 around ±10,000: differences decide."""
    rng = np.random.default_rng(0)
    centers = apart * np.where(np.arange(2)[:, None, None] == 0, -1.0, 1.0)
    rows = (rng.normal(size=(2, 200, size)) + centers).reshape(-1, size).astype(np.float32)
    queries = (rng.normal(size=(2, 5, size)) + centers).reshape(-1, size).astype(np.float32)
    check(queries[:9], rows, 3, chunk_size=12)


def test_rows_of_another_shape_of_the_same_size_are_refused():
    with pytest.raises(
        ValueError, match=r"queries must have the reference's shape, \(3, 4\), got rows"
    ):
        inspect.unwrap(nearest_neighbors)(np.zeros((2, 4, 3)), np.zeros((5, 3, 4)))


@pytest.mark.usefixtures("own_messages")
def test_numbers_of_other_kinds(tmp_path):
    """Bytes in another order, whole numbers beyond 32 bits, lists: the same neighbours."""
    rows = np.array([[0.0, 1.0], [2.0**32, 0.0], [5.0, 5.0]])
    mapped = np.memmap(tmp_path / "rows", ">f4", "w+", shape=rows.shape)
    mapped[:] = rows
    for data in (mapped, rows.astype(">i8"), rows.astype(np.int64), rows.tolist()):
        distances, indices = nearest_neighbors(np.array([[2**32, 3], [4, 5]]), data, 1)
        np.testing.assert_array_equal(indices[:, 0], [1, 2])
        np.testing.assert_array_equal(distances[:, 0], [3.0, 1.0])
