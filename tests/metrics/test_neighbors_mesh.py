"""Neighbours in a reference that is split over devices: those of one device, ties included."""

import jax
import numpy as np
import pytest

from kinetic_jax import nearest_neighbors


def meshes():
    return [
        {"mesh": jax.make_mesh((8,), ("data",))},
        {"mesh": jax.make_mesh((2, 4), ("batch", "data")), "axis": "data"},
    ]


@pytest.fixture(scope="module")
def sets():
    """Queries, some of them near copies, and a reference with duplicates in far parts of it."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(1003, 12)).astype(np.float32)
    reference[700], reference[1002] = reference[5], reference[6]
    near = reference[:20] + 1e-5 * rng.normal(size=(20, 12)).astype(np.float32)
    far = rng.normal(size=(50, 12)).astype(np.float32)
    return np.concatenate([far, near, reference[5:7]]), reference


@pytest.mark.parametrize("where", meshes(), ids=["one axis", "two axes"])
@pytest.mark.parametrize("chunk_size", [16, 4096])
def test_same_as_brute_force(sets, where, chunk_size):
    queries, reference = sets
    difference = queries[:, None].astype(np.float64) - reference.astype(np.float64)
    exact = np.sqrt(np.sum(difference**2, axis=2))
    order = np.argsort(exact, axis=1, kind="stable")[:, :3]
    distances, indices = nearest_neighbors(queries, reference, 3, chunk_size=chunk_size, **where)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, np.take_along_axis(exact, order, 1), rtol=1e-5, atol=1e-9)


def test_where_products_do_not_decide(sets):
    """Far from the origin every query is searched again by differences."""
    queries, reference = (rows[:, :4] + np.float32(1e4) for rows in sets)
    spread = reference.copy()
    spread[0] += 1e6
    expected = nearest_neighbors(queries, spread, 2)
    found = nearest_neighbors(queries, spread, 2, **meshes()[0])
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


def test_fewer_rows_than_devices(sets):
    queries, reference = sets[0], sets[1][:3]
    expected = nearest_neighbors(queries, reference, 3)
    found = nearest_neighbors(queries, reference, 3, **meshes()[0])
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)


def test_a_memmap_and_an_array_that_is_split_already(sets, tmp_path):
    queries, reference = sets
    where = meshes()[0]
    np.save(tmp_path / "rows.npy", reference)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    split = jax.device_put(
        reference[:1000], jax.sharding.NamedSharding(where["mesh"], jax.P("data"))
    )
    for rows, count in ((mapped, 1003), (split, 1000)):
        expected = nearest_neighbors(queries, reference[:count], 2)
        found = nearest_neighbors(queries, rows, 2, **where)
        np.testing.assert_array_equal(found[1], expected[1])


def test_queries_that_are_not_finite(sets):
    queries, reference = sets[0][:4].copy(), sets[1]
    queries[1, 0] = np.nan
    distances, _ = nearest_neighbors(queries, reference, 2, **meshes()[0])
    np.testing.assert_array_equal(np.isnan(distances).all(axis=1), [False, True, False, False])


def test_errors(sets):
    queries, reference = sets
    with pytest.raises(ValueError, match="axis must be one of the mesh's"):
        nearest_neighbors(queries, reference, mesh=meshes()[1]["mesh"])
    bad = reference.copy()
    bad[777] = np.inf
    with pytest.raises(ValueError, match=r"reference must be finite.* got row 777"):
        nearest_neighbors(queries, bad, **meshes()[0])
