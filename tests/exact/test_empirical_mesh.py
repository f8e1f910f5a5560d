"""The exact flow of data split over devices: the same numbers, and the same derivatives."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import EmpiricalField, kts, sample
from kinetic_jax.exact import energy_identity
from kinetic_jax.exact._identity import farthest, log_prior_of

pytestmark = pytest.mark.long

ROWS, SIZE, BATCH = 101, 6, 8  # rows that do not divide
SHAPE = kts(0.02, 0.01)


class Case(NamedTuple):
    """Rows and what is known of them, points and their classes, a mesh and its axis of rows."""

    data: np.ndarray
    known: dict
    x: np.ndarray
    cond: np.ndarray | None
    mesh: jax.sharding.Mesh
    axis: str | None

    def split(self, data=None):
        """The field of rows that are split over the mesh."""
        data = self.data if data is None else data
        return EmpiricalField(data, chunk_size=8, mesh=self.mesh, axis=self.axis, **self.known)


# Two of four pairs, which have all there is between them: classes and weights are looked up in the
# same way whatever the number of axes, and compiling is most of a test here.
@pytest.fixture(scope="module", params=["plain, one axis", "classes and weights, two axes"])
def case(request):
    """Two rows are near duplicates."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(ROWS, SIZE)).astype(np.float32)
    data[90] = data[3] + 1e-4
    x = rng.normal(size=(BATCH, SIZE)).astype(np.float32)
    if request.param == "plain, one axis":
        return Case(data, {}, x, None, jax.make_mesh((8,), ("data",)), None)
    known = {"labels": np.arange(ROWS) % 3, "weights": rng.uniform(0.1, 1, ROWS)}
    classes = np.arange(BATCH, dtype=np.int32) % 3
    return Case(data, known, x, classes, jax.make_mesh((2, 4), ("batch", "data")), "data")


@pytest.fixture(scope="module")
def fields(case):
    """The plain field, and the split one."""
    return EmpiricalField(case.data, chunk_size=16, **case.known), case.split()


@pytest.fixture(scope="module")
def expected(case, fields):
    """Samples of the plain field."""
    return sample(SHAPE(fields[0]), case.x, case.cond, num_steps=20)


@pytest.fixture(scope="module")
def wanted(case, fields):
    """Values of the plain field at a batch."""
    return fields[0].on_batch(0.5, case.x, case.cond)


def assert_near(left, right, scale=1.0):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * scale)


def test_every_device_holds_its_part_alone(fields):
    _, split = fields
    parts = {shard.data.shape for shard in split.data.addressable_shards}
    assert parts == {(26, SIZE) if len(split.mesh.axis_names) == 2 else (13, SIZE)}


def test_values(case, fields, wanted):
    @jax.jit
    def at(field, t):
        def one(x, cond):
            shares = log_prior_of(field, jnp.int32(5), jnp.float32, cond)
            return field.values(t, x, cond), farthest(field, x, cond), shares

        return jax.vmap(one)(case.x, case.cond)

    for t in (0.0, 0.5, 0.97, 1.0):
        whole, split = (at(field, np.float32(t)) for field in fields)
        np.testing.assert_array_equal(whole[0].heaviest, split[0].heaviest)
        assert_near(whole, split)
        own = slice(None) if case.cond is None else case.cond == 2  # row 5 is of class 2
        assert np.all(np.isfinite(whole[2][own]))
    assert_near(wanted, fields[1].on_batch(0.5, case.x, case.cond))


def test_one_point_at_a_time(case, fields):
    x, one = jax.device_put(case.x[2]), None if case.cond is None else case.cond[2]
    assert_near(*(field.posterior(0.9, x, 5, one) for field in fields))
    assert_near(*(energy_identity(field, 0.7, x, cond=one) for field in fields))


def test_derivatives(case, fields):
    """Derivatives of a point's values in x, the rows and their weights."""

    def total(pair):
        field, x = pair

        def one(x, cond):
            values = field.values(np.float32(0.7), x, cond)
            sums = jnp.sum(values.velocity**2) + values.log_density + values.dominance
            return sums + farthest(field, x, cond)

        return jnp.sum(jax.vmap(one)(x, case.cond))

    slopes = eqx.filter_jit(eqx.filter_grad(total))
    (d_whole, dx_whole), (d_split, dx_split) = (slopes((field, case.x)) for field in fields)
    assert_near(dx_whole, dx_split, 10.0)
    d_rows = np.asarray(d_split.data)
    assert_near(d_whole.data, d_rows[:ROWS], 10.0)
    np.testing.assert_array_equal(d_rows[ROWS:], 0)
    if d_whole.log_weights is not None:
        assert_near(d_whole.log_weights, np.asarray(d_split.log_weights)[:ROWS])


def test_second_derivatives(case, fields):
    """Through sampling, against differences of the first."""

    @eqx.filter_jit
    def slope_and_curvature(field, alpha0):
        def energy(a):
            run = sample(kts(a)(field), case.x, case.cond, num_steps=3)
            return jnp.sum(run.energy.total)

        return jax.value_and_grad(jax.grad(energy))(alpha0)

    whole, split = (slope_and_curvature(field, np.float32(0.1)) for field in fields)
    assert_near(whole[0], split[0], 10.0)
    np.testing.assert_allclose(split[1], whole[1], rtol=1e-4)
    above, below = (slope_and_curvature(fields[0], np.float32(a))[0] for a in (0.11, 0.09))
    np.testing.assert_allclose(whole[1], (above - below) / 0.02, rtol=1e-2)


def test_where_a_mesh_is_set(case, expected):
    with jax.set_mesh(case.mesh):
        found = sample(SHAPE(case.split()), case.x, case.cond, num_steps=20)
    assert_near(found, expected)


def test_samples(case, fields, expected):
    shaped = SHAPE(fields[1])
    results = [sample(shaped, case.x, case.cond, num_steps=20)]
    if case.axis:  # rows over one axis, the batch over the other
        mesh = fields[1].mesh
        results.append(sample(shaped, case.x, case.cond, num_steps=20, mesh=mesh))
        assert {shard.data.shape for shard in results[1].x1.addressable_shards} == {(4, SIZE)}
    for result in results:
        assert_near(result, expected)


def test_points_may_be_anywhere(case, fields, expected):
    """On a device of the mesh alone, as what another program leaves is."""
    whole, split = fields
    points = (case.x, case.cond, case.x[2], None if case.cond is None else case.cond[2])
    x, cond, point, one = jax.device_put(points, jax.devices()[5])
    assert_near(sample(SHAPE(split), x, cond, num_steps=20), expected)
    assert_near(split(0.5, point, one), whole(0.5, *jax.device_put(points[2:])))


def test_a_memmap_is_read_into_the_devices(tmp_path, case, wanted):
    np.save(tmp_path / "rows.npy", case.data)
    split = case.split(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    assert_near(split.on_batch(0.5, case.x, case.cond), wanted)


def test_errors(own_messages):
    data, mesh = np.ones((ROWS, SIZE), np.float32), jax.make_mesh((2, 4), ("batch", "data"))
    with pytest.raises(ValueError, match="axis must be one of the mesh's"):
        EmpiricalField(data, mesh=mesh)
    with pytest.raises(ValueError, match="axis must be one of the mesh's"):
        EmpiricalField(data, mesh=mesh, axis="rows")
    with pytest.raises(ValueError, match=r"mesh must be a jax.sharding.Mesh"):
        EmpiricalField(data, mesh=8)
    data[50] = np.nan
    with pytest.raises(ValueError, match="data must be finite"):
        EmpiricalField(data, mesh=mesh, axis="data")
