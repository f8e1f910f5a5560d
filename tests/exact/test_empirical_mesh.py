"""The exact flow of data split over devices: the same numbers, and the same derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import EmpiricalField, kts, sample
from kinetic_jax.exact import energy_identity
from kinetic_jax.exact._identity import farthest, log_prior_of

ROWS, SIZE, BATCH = 101, 6, 8  # rows that do not divide


def meshes():
    return {
        "one axis": (jax.make_mesh((8,), ("data",)), None),
        "two axes": (jax.make_mesh((2, 4), ("batch", "data")), "data"),
    }


@pytest.fixture(params=["plain", "classes and weights"])
def case(request):
    """Arguments of the field, points and their classes; two rows are near duplicates."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(ROWS, SIZE)).astype(np.float32)
    data[90] = data[3] + 1e-4
    x = rng.normal(size=(BATCH, SIZE)).astype(np.float32)
    if request.param == "plain":
        return data, {}, x, None
    known = {"labels": np.arange(ROWS) % 3, "weights": rng.uniform(0.1, 1, ROWS)}
    return data, known, x, jnp.arange(BATCH) % 3


@pytest.fixture(params=["one axis", "two axes"])
def fields(request, case):
    """The field as it is, and split."""
    data, known, _, _ = case
    mesh, axis = meshes()[request.param]
    whole = EmpiricalField(data, chunk_size=16, **known)
    return whole, EmpiricalField(data, chunk_size=8, mesh=mesh, axis=axis, **known)


def assert_near(left, right, scale=1.0):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * scale)


def test_every_device_holds_its_part_alone(fields):
    _, split = fields
    parts = {shard.data.shape for shard in split.data.addressable_shards}
    assert parts in ({(13, SIZE)}, {(26, SIZE)})


def test_values(case, fields):
    _, _, x, cond = case
    at = jax.jit(
        jax.vmap(lambda field, t, x, cond: field.values(t, x, cond), in_axes=(None, None, 0, 0)),
    )
    for t in (0.0, 0.5, 0.97, 1.0):
        whole, split = (at(field, jnp.float32(t), x, cond) for field in fields)
        np.testing.assert_array_equal(whole.heaviest, split.heaviest)
        assert_near(whole, split)
    assert_near(*(field.on_batch(0.5, x, cond) for field in fields))


def test_one_point_at_a_time(case, fields):
    _, _, x, cond = case
    x, one = jnp.asarray(x), None if cond is None else cond[2]
    whole, split = fields
    assert_near(whole.posterior(0.9, x[2], 5, one), split.posterior(0.9, x[2], 5, one))
    assert_near(*(farthest(field, x[2], one) for field in fields))
    of_class_2 = jnp.int32(5)
    assert_near(*(log_prior_of(f, of_class_2, jnp.float32, one) for f in fields))
    assert_near(*(energy_identity(f, 0.7, x[2], cond=one) for f in fields))


def test_derivatives(case, fields):
    """Of all that a point's values are made of, in x, the rows and their weights."""
    _, _, x, cond = case

    def total(field, x):
        def one(x, cond):
            values = field.values(jnp.float32(0.7), x, cond)
            sums = jnp.sum(values.velocity**2) + values.log_density + values.dominance
            return sums + farthest(field, x, cond)

        return jnp.sum(jax.vmap(one)(x, cond))

    (d_whole, dx_whole), (d_split, dx_split) = (
        eqx.filter_grad(lambda pair: total(*pair))((field, jnp.asarray(x))) for field in fields
    )
    assert_near(dx_whole, dx_split, 10.0)
    assert_near(d_whole.data, d_split.data[:ROWS], 10.0)
    np.testing.assert_array_equal(d_split.data[ROWS:], 0)
    if d_whole.log_weights is not None:
        assert_near(d_whole.log_weights, d_split.log_weights[:ROWS])


# Two of the four, which have all there is between them: compiling is most of a test here.
@pytest.mark.parametrize(
    ("case", "fields"),
    [("plain", "one axis"), ("classes and weights", "two axes")],
    indirect=True,
)
def test_second_derivatives(case, fields):
    """Through sampling, against differences of the first."""
    _, _, x, cond = case
    energy = lambda field, alpha0: jnp.sum(  # noqa: E731
        sample(kts(alpha0)(field), x, cond, num_steps=3).energy.total
    )
    whole, split = (jax.grad(jax.grad(lambda a: energy(field, a)))(0.1) for field in fields)  # noqa: B023
    np.testing.assert_allclose(split, whole, rtol=1e-4)
    slope = jax.jit(jax.grad(lambda a: energy(fields[0], a)))
    np.testing.assert_allclose(whole, (slope(0.11) - slope(0.09)) / 0.02, rtol=1e-2)


def test_where_a_mesh_is_set(case):
    data, known, x, cond = case
    mesh = jax.make_mesh((8,), ("data",))
    whole = EmpiricalField(data, **known)
    with jax.set_mesh(mesh):
        split = EmpiricalField(data, mesh=mesh, **known)
        found = sample(split, x, cond, num_steps=3)
    assert_near(found, sample(whole, x, cond, num_steps=3))


def test_samples(case, fields):
    _, _, x, cond = case
    shape = kts(0.02, 0.01)
    whole, split = fields
    expected = sample(shape(whole), x, cond, num_steps=20)
    results = [sample(shape(split), x, cond, num_steps=20)]
    mesh = split.shards.mesh
    if len(mesh.axis_names) == 2:  # rows over one axis, the batch over the other
        results.append(sample(shape(split), x, cond, num_steps=20, mesh=mesh))
        assert {shard.data.shape for shard in results[1].x1.addressable_shards} == {(4, SIZE)}
    for result in results:
        assert_near(result, expected)


def test_points_may_be_anywhere(case, fields):
    """On a device of the mesh alone, as what another program leaves is."""
    _, _, x, cond = case
    whole, split = fields
    elsewhere = jax.device_put((jnp.asarray(x), cond), jax.devices()[5])
    found = sample(split, *elsewhere, num_steps=3)
    assert_near(found, sample(whole, x, cond, num_steps=3))
    point = (elsewhere[0][2], None if cond is None else elsewhere[1][2])
    assert_near(split(0.5, *point), whole(0.5, *point))


def test_a_memmap_is_read_into_the_devices(tmp_path, case):
    data, known, x, cond = case
    np.save(tmp_path / "rows.npy", data)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    split = EmpiricalField(mapped, mesh=jax.make_mesh((8,), ("data",)), **known)
    whole = EmpiricalField(data, **known)
    assert_near(split.on_batch(0.5, x, cond), whole.on_batch(0.5, x, cond))


def test_errors(case, own_messages):
    data, _, _, _ = case
    mesh = jax.make_mesh((2, 4), ("batch", "data"))
    with pytest.raises(ValueError, match="axis must be one of the mesh's"):
        EmpiricalField(data, mesh=mesh)
    with pytest.raises(ValueError, match="axis must be one of the mesh's"):
        EmpiricalField(data, mesh=mesh, axis="rows")
    with pytest.raises(ValueError, match=r"mesh must be a jax.sharding.Mesh"):
        EmpiricalField(data, mesh=8)
    bad = data.copy()
    bad[50] = np.nan
    with pytest.raises(ValueError, match="data must be finite"):
        EmpiricalField(bad, mesh=mesh, axis="data")
