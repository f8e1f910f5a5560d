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


def check(queries, rows, exact, **where):
    """Three neighbours on a mesh are those among `exact`, by differences in float64."""
    difference = queries[:, None].astype(np.float64) - exact.astype(np.float64)
    lengths = np.sqrt(np.sum(difference**2, axis=2))
    order = np.argsort(lengths, axis=1, kind="stable")[:, :3]
    distances, indices = nearest_neighbors(queries, rows, 3, **where)
    np.testing.assert_array_equal(indices, order)
    nearest = np.take_along_axis(lengths, order, 1)
    np.testing.assert_allclose(distances, nearest, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("where", "chunk_size"),
    list(zip(meshes(), (4096, 16), strict=True)),
    ids=["one axis", "two axes"],
)
def test_same_as_brute_force(sets, where, chunk_size):
    queries, reference = sets
    check(queries, reference, reference, chunk_size=chunk_size, **where)


def test_where_products_do_not_decide(sets):
    """Far from the origin every query is searched again by differences."""
    queries, reference = (rows + np.float32(1e4) for rows in sets)
    reference[0] += 1e6
    check(queries, reference, reference, **meshes()[0])


def test_fewer_rows_than_devices(sets):
    queries, reference = sets[0], sets[1][:3]
    check(queries, reference, reference, **meshes()[0])


def test_a_memmap_and_an_array_that_is_split_already(sets, tmp_path):
    queries, reference = sets
    where = meshes()[0]
    np.save(tmp_path / "rows.npy", reference)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    split = jax.device_put(
        reference[:1000], jax.sharding.NamedSharding(where["mesh"], jax.P("data"))
    )
    for rows, count in ((mapped, 1003), (split, 1000)):
        check(queries, rows, reference[:count], **where)


def test_queries_that_are_not_finite(sets):
    queries, reference = sets[0].copy(), sets[1]
    queries[1, 0] = np.nan
    distances, _ = nearest_neighbors(queries, reference, 3, **meshes()[0])
    is_broken = np.arange(len(queries)) == 1
    np.testing.assert_array_equal(np.isnan(distances).all(axis=1), is_broken)
    np.testing.assert_array_equal(np.isnan(distances).any(axis=1), is_broken)


def test_errors(sets):
    queries, reference = sets
    with pytest.raises(ValueError, match="axis must be one of the mesh's"):
        nearest_neighbors(queries, reference, mesh=meshes()[1]["mesh"])
    bad = reference.copy()
    bad[777] = np.inf
    with pytest.raises(ValueError, match=r"reference must be finite.* got row 777"):
        nearest_neighbors(queries, bad, **meshes()[0])
