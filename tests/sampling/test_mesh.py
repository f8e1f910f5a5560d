"""The same samples on any mesh of devices, from a program in which devices exchange nothing."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import (
    EmpiricalField,
    GaussianField,
    cfg,
    chain,
    kts,
    nearest_neighbors,
    noise,
    sample,
)
from kinetic_jax.sampling import sweep

pytestmark = pytest.mark.long

MODES = {
    "fixed": {"num_steps": 10},
    "saved": {"num_steps": 10, "solver": diffrax.Heun(), "save_at": np.array([0.25, 0.5])},
    "adaptive": {"controller": diffrax.PIDController(rtol=1e-6, atol=1e-6)},
}
COLLECTIVE = re.compile(
    r"\b(all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+)(-start)?\("
)


def mesh_of(*shape):
    names = ("rows", "columns")[: len(shape)]
    return jax.make_mesh(shape, names, devices=jax.devices()[: int(np.prod(shape))])


def assert_same(result, expected, atol=1e-6):
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=atol)


def collectives(fn, *arguments):
    """Names of the collectives in a compiled program; non-arrays are baked in."""
    arrays, static = eqx.partition(arguments, eqx.is_array)
    compiled = jax.jit(lambda arrays: fn(*eqx.combine(arrays, static))).lower(arrays).compile()
    return [found[0] for found in COLLECTIVE.findall(compiled.as_text())]


class Labelled(eqx.Module):
    """The wave, moved by a label."""

    wave: eqx.Module

    def __call__(self, t, x, cond):
        return self.wave(t, x) + 0.1 * cond["label"].astype(x.dtype)


@pytest.fixture
def shaped(reference):
    guided = chain(cfg(1.5, {"label": jnp.array(0)}), kts(0.1, 0.01))
    return guided(Labelled(reference.wave(0)))


@pytest.mark.parametrize("shape", [(1,), (2,), (8,), (4, 2)], ids=str)
def test_any_number_of_devices_gives_the_same(shaped, normal, shape):
    """With a saved path: its result has all that others have."""
    x0, cond = normal(1, 16, 3), {"label": np.arange(16) % 4}
    expected = jax.tree.map(np.asarray, sample(shaped, x0, cond, **MODES["saved"]))
    for batch in (16, 15):  # the second does not divide, but for a single device
        rows = expected.map_batch(lambda leaf, batch=batch: leaf[:batch], lambda clock: clock)
        cond = {"label": np.arange(batch) % 4}
        result = sample(shaped, x0[:batch], cond, mesh=mesh_of(*shape), **MODES["saved"])
        assert_same(result, rows)
        assert result.check() is result


def test_adaptive_steps_are_the_same(reference, normal, x64):
    """In double precision: in single, rounding decides steps at the edge of being accepted."""
    field, x0 = reference.wave(0, dtype=jnp.float64), normal(1, 16, 3).astype(np.float64)
    expected = sample(field, x0[:13], **MODES["adaptive"])

    def run(field, x0):
        return sample(field, x0, mesh=mesh_of(8), **MODES["adaptive"])

    assert_same(run(field, x0[:13]), expected, atol=1e-9)
    # 13 rows are filled up to 16, so that this program is traced already.
    assert collectives(run, field, x0) == []


@pytest.mark.parametrize("mode", ["fixed", "saved"])
def test_the_program_has_no_collective(shaped, normal, mode):
    def run(field, x0, cond):
        return sample(field, x0, cond, mesh=mesh_of(8), **MODES[mode])

    x0, cond = normal(1, 16, 3), {"label": np.arange(16, dtype=np.int32) % 4}
    assert collectives(run, shaped, x0, cond) == []


def test_the_sweep_has_no_collective(reference, normal):
    run = lambda field, x0: sweep(  # noqa: E731
        field, x0, alpha0=[0.0, 0.1], beta0=[0.0, 0.01], num_steps=5, mesh=mesh_of(8)
    )
    assert collectives(run, reference.wave(0), normal(1, 16, 3)) == []


def test_collectives_are_seen_where_there_are_some(normal):
    """Split data do need the collectives that the tests above look for."""
    mesh = mesh_of(2, 4)
    field = EmpiricalField(normal(0, 32, 3), mesh=mesh, axis="columns")

    def run(field, x0):
        return sample(field, x0, num_steps=5, mesh=mesh)

    assert "all-reduce" in collectives(run, field, normal(1, 16, 3))


def test_results_stay_where_they_were_made(shaped, normal):
    mesh, cond = mesh_of(8), {"label": np.arange(16) % 4}
    result = sample(shaped, normal(1, 16, 3), cond, num_steps=4, mesh=mesh)
    assert {shard.data.shape for shard in result.x1.addressable_shards} == {(2, 3)}
    assert result.profile.ts.is_fully_replicated
    assert float(jnp.mean(result.energy.total[3:7] * 2)) > 0  # an array like any other


def test_a_mesh_that_is_set_is_no_obstacle(reference, normal):
    mesh, x0 = mesh_of(4, 2), normal(1, 13, 3)
    expected = sample(reference.wave(0), x0, num_steps=4)

    def run(x0):
        return sample(reference.wave(0), x0, num_steps=4, mesh=mesh)

    with jax.set_mesh(mesh):
        assert_same(run(x0), expected)
        assert_same(jax.jit(run)(x0), expected)


def test_arrays_that_are_somewhere_are_moved(reference, normal):
    """Committed to one device, weights and x0 alike."""
    field, x0 = jax.device_put((reference.wave(0), jnp.asarray(normal(1, 16, 3))), jax.devices()[3])
    expected = sample(field, x0, num_steps=4)
    assert_same(sample(field, x0, num_steps=4, mesh=mesh_of(8)), expected)


@pytest.mark.parametrize("committed", [False, True])
def test_gradients_are_the_same(reference, normal, committed):
    x0 = jnp.asarray(normal(1, 13, 3))
    wave = reference.wave(0)
    if committed:
        wave = jax.device_put(wave, jax.devices()[3])

    def energy(field, **where):
        return jnp.sum(sample(field, x0, num_steps=5, **where).energy.total)

    expected = eqx.filter_jit(eqx.filter_grad(energy))(reference.wave(0))
    assert_same(eqx.filter_grad(energy)(wave, mesh=mesh_of(8)), expected, atol=1e-5)


def test_under_jit(reference, normal):
    x0, mesh = jnp.asarray(normal(1, 13, 3)), mesh_of(8)
    inside = eqx.filter_jit(lambda field, x0: sample(field, x0, num_steps=4, mesh=mesh))
    assert_same(inside(reference.wave(0), x0), sample(reference.wave(0), x0, num_steps=4))


def test_bad_samples_keep_their_numbers(reference, normal):
    x0 = normal(1, 13, 3)
    x0[[2, 12]] = np.nan
    result = sample(reference.wave(0), x0, num_steps=4, mesh=mesh_of(8))
    with pytest.raises(RuntimeError, match=r"13 trajectories: 2 not finite \(samples 2, 12\)"):
        result.check()


def test_a_batch_that_does_not_divide_compiles_once(reference, normal, compilations):
    field, mesh = reference.wave(0), mesh_of(8)
    sample(field, normal(1, 13, 3), num_steps=4, mesh=mesh)
    before = compilations()
    sample(field, normal(2, 13, 3), num_steps=4, mesh=mesh)
    assert compilations() == before


def test_no_rows(reference, normal):
    result = sample(reference.wave(0), normal(1, 0, 3), num_steps=4, mesh=mesh_of(8))
    assert result.x1.shape == (0, 3)


def test_what_is_split_needs_its_mesh(reference, normal, own_messages):
    """Over Explicit axes, which `jax.make_mesh` makes; over Auto ones JAX splits the program."""
    field, x0 = reference.wave(0), normal(1, 16, 3)
    whole = sample(field, x0, num_steps=4)
    rows = jax.sharding.PartitionSpec("rows")
    explicit = jax.device_put(x0, jax.NamedSharding(mesh_of(8), rows))
    words = (
        r"x0 must be whole where no mesh is given, got an array split over \['rows'\]: pass mesh="
    )
    with pytest.raises(ValueError, match=words):
        sample(field, explicit)
    with pytest.raises(ValueError, match=words):
        sweep(field, explicit, alpha0=[0.1])
    with pytest.raises(ValueError, match="reference must be whole"):
        nearest_neighbors(x0, explicit)
    with pytest.raises(ValueError, match="data must be whole"):
        EmpiricalField(explicit)
    assert_same(sample(field, explicit, mesh=mesh_of(8), num_steps=4), whole)
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((8,), ("rows",), axis_types=auto)
    assert_same(
        sample(field, jax.device_put(x0, jax.NamedSharding(mesh, rows)), num_steps=4), whole
    )
    with pytest.raises(ValueError, match="axis must be left out without mesh"):
        nearest_neighbors(x0, x0, axis="rows")
    with pytest.raises(ValueError, match="axis must be left out without mesh"):
        EmpiricalField(x0, axis="rows")


def test_errors(reference, normal, own_messages):
    with pytest.raises(ValueError, match=r"mesh must be a jax.sharding.Mesh of devices, got 8"):
        sample(reference.wave(0), normal(1, 8, 3), mesh=8)
    field = EmpiricalField(normal(0, 16, 3), mesh=mesh_of(8))
    with pytest.raises(ValueError, match="mesh must have an axis for the batch beside those"):
        sample(field, normal(1, 8, 3), mesh=mesh_of(8))
    with pytest.raises(ValueError, match=r"mesh must be .* over which the rows are split, got"):
        sample(field, normal(1, 8, 3), mesh=mesh_of(4, 2))
    split = EmpiricalField(normal(0, 16, 3), mesh=mesh_of(4, 2), axis="columns")
    with pytest.raises(ValueError, match="field must hold the arrays that it splits"):
        sample(lambda t, x, cond: split(t, x), normal(1, 8, 3), mesh=mesh_of(4, 2))


PROCESS = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(f"127.0.0.1:{sys.argv[1]}", 2, int(sys.argv[2]))
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from kinetic_jax import EmpiricalField, GaussianField, kts, nearest_neighbors, noise, sample

mesh = jax.make_mesh((4,), ("rows",))
field = kts(0.1, 0.01)(GaussianField(jnp.array([1.0, -2.0, 0.5]), 0.5))
found = {}
for batch in (16, 13):
    x0 = noise(jax.random.key(7), jnp.arange(batch), (3,))
    run = sample(field, x0, num_steps=10, mesh=mesh).check()
    found[f"x0 {batch}"] = x0
    found[f"x1 {batch}"] = process_allgather(run.x1, tiled=True)
    found[f"energy {batch}"] = process_allgather(run.energy.total, tiled=True)
data = np.random.default_rng(0).normal(size=(21, 3)).astype(np.float32)
exact = EmpiricalField(data, mesh=mesh)
velocity = eqx.filter_jit(lambda field, x0: jax.vmap(lambda x: field(0.5, x))(x0))
found["exact"] = np.asarray(velocity(exact, x0))
found["distances"], found["indices"] = nearest_neighbors(np.asarray(x0), data, 2, mesh=mesh)
np.savez(sys.argv[3], **found)
"""


def test_two_processes_give_the_same(tmp_path):
    """Over loopback, by JAX's own distributed engine; two devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = dict(os.environ, JAX_PLATFORMS="cpu", PYTHONPATH=str(Path.cwd()))
    environment.pop("XLA_FLAGS", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, port, str(i), tmp_path / f"{i}.npz"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    try:
        told = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(told)
    first, second = (np.load(tmp_path / f"{i}.npz") for i in range(2))
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    check_against_one_process(first)


def check_against_one_process(found):
    from kinetic_jax import GaussianField, nearest_neighbors

    field = kts(0.1, 0.01)(GaussianField(jnp.array([1.0, -2.0, 0.5]), 0.5))
    for batch in (16, 13):
        x0 = noise(jax.random.key(7), jnp.arange(batch), (3,))
        np.testing.assert_array_equal(found[f"x0 {batch}"], x0)  # bitwise
        run = sample(field, x0, num_steps=10)
        np.testing.assert_allclose(found[f"x1 {batch}"], run.x1, atol=1e-5)
        np.testing.assert_allclose(found[f"energy {batch}"], run.energy.total, rtol=1e-5)
    data = np.random.default_rng(0).normal(size=(21, 3)).astype(np.float32)
    velocity = jax.vmap(lambda x: EmpiricalField(data)(0.5, x))(x0)
    np.testing.assert_allclose(found["exact"], velocity, atol=1e-5)
    distances, indices = nearest_neighbors(x0, data, 2)
    np.testing.assert_allclose(found["distances"], distances, atol=1e-5)
    np.testing.assert_array_equal(found["indices"], indices)


def test_a_mesh_of_other_axes_than_the_one_that_is_set_is_refused():
    """JAX takes no results of one mesh where another is set."""
    mine, theirs = (jax.make_mesh((4,), (name,)) for name in ("mine", "theirs"))
    with (
        jax.set_mesh(theirs),
        pytest.raises(
            ValueError, match=r"mesh must have the axes of the mesh that is set, .*theirs"
        ),
    ):
        sample(GaussianField(jnp.ones(2), 0.5), np.ones((4, 2), np.float32), mesh=mine)
