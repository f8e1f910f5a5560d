"""Every public function of arrays on a mesh that is set, on split arrays and inside `shard_map`.

One program a situation calls all of them; each must give the numbers that it gives without a mesh,
and usable ones, or refuse in words. Those that run by themselves are in `test_devices_alone.py`.
"""

import functools
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kinetic_jax as kj
from tests.device_cases import ALONE, DEVICES, SPLIT, TRACED, X, assert_same, meshes, split_over

pytestmark = pytest.mark.long

CASES = TRACED | ALONE
NO_ARRAYS = {
    "energy_init energy_state energy_result": "parts of the loop under energy_update",
    "run_job open_job diagnose_job": "of folders; run_job calls sample",
    "compare": "of fields; it calls sample, snap and memorization",
    "load_images load_field save_field": "of files",
    "copies_of snap_of kts_settings profile_grids": "arguments of tune, by other functions",
    "pretrained pretrained_steps pretrained_classifier": "of files",
    "affordable": "of a few numbers",
}


def computing(module):
    """The names of its public functions and fields."""

    def computes(value):
        is_field = isinstance(value, type) and issubclass(value, eqx.Module)
        return is_field or inspect.isfunction(value)

    return {name for name, value in vars(module).items() if name[0] != "_" and computes(value)}


def test_every_public_name_is_here():
    assert kj.__all__  # which loads the names
    public = set.union(*map(computing, (kj, kj.exact, kj.jobs, kj.metrics, kj.tuning)))
    public |= {"from_scaled_time", "load_images", "network_field", "sweep", "complete", "encode"}
    public |= {"accumulated_guidance", "affordable", "clusters", "reject", "sample_rejecting"}
    public |= {"sample_selecting", "select", "snap"}
    elsewhere = {name for names in NO_ARRAYS for name in names.split()}
    assert public == {name.split(",")[0] for name in CASES} | elsewhere


def test_there_are_devices():
    assert len(jax.devices()) >= DEVICES, "a mesh of one device tells nothing"


def value_and_slope(case, x, mesh):
    """The result, used, and where it is differentiable the derivative of its sum in x."""

    def total(x):
        result = case.call(x, mesh)
        leaves = [leaf for leaf in jax.tree.leaves(result) if isinstance(leaf, jax.Array)]
        return sum(jnp.sum(jnp.asarray(leaf, jnp.float32)) for leaf in leaves), result

    if case.grad:
        (_, result), slope = jax.value_and_grad(total, has_aux=True)(x)
        return result, slope
    return total(x)[1], ()


def all_in_one(cases, mesh=None):
    """A function that calls all cases: results by name; and the errors that it meets."""
    errors = {}

    def run(x):
        results = {}
        for name, case in cases.items():
            try:
                results[name] = value_and_slope(case, x, mesh if case.mesh else None)
            except Exception as error:
                errors[name] = error
        return results

    return run, errors


def quickly_compiled(run, x):
    """`run(x)` as one program that is compiled in little time and runs once."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(run).lower(x).compile(compiler_options=options)(x)


WITH_MESH = {name: case for name, case in TRACED.items() if case.mesh}


@functools.cache
def expected():
    return quickly_compiled(all_in_one(TRACED)[0], jnp.asarray(X))


@functools.cache
def split_over_explicit_axes():
    mesh = meshes()["Explicit"]
    with jax.set_mesh(mesh):
        run, errors = all_in_one(TRACED, mesh)
        return quickly_compiled(run, split_over(mesh)), errors


@functools.cache
def split_over_auto_axes():
    mesh = meshes()["Auto"]
    with jax.set_mesh(mesh):
        run, errors = all_in_one(WITH_MESH, mesh)
        return quickly_compiled(run, split_over(mesh)), errors


@functools.cache
def whole_where_axes_are_explicit():
    """Types alone: the program is the one that runs without a mesh."""
    with jax.set_mesh(meshes()["Explicit"]):
        run, errors = all_in_one(TRACED)
        jax.eval_shape(run, jnp.asarray(X))
    return errors


@functools.cache
def split_where_no_mesh_is_given():
    mesh = meshes()["Explicit"]
    with jax.set_mesh(mesh):
        run, errors = all_in_one(WITH_MESH)
        jax.eval_shape(run, split_over(mesh))
    return errors


@functools.cache
def inside_shard_map():
    mesh = meshes()["Explicit"]
    run, errors = all_in_one(TRACED)

    def apart(x):
        return jax.tree.map(lambda leaf: leaf[None], run(x))

    on_each = jax.shard_map(apart, mesh=mesh, in_specs=SPLIT, out_specs=SPLIT)
    return quickly_compiled(on_each, split_over(mesh)), errors


def rows_by_device(leaf, shape):
    """The expected rows as the devices' parts; an array without rows, once for each."""
    if len(X) not in leaf.shape:
        return np.broadcast_to(leaf, shape)
    axis = leaf.shape.index(len(X))
    parts = leaf.reshape(*leaf.shape[:axis], DEVICES, -1, *leaf.shape[axis + 1 :])
    return np.moveaxis(parts, axis, 0)


def expected_by_device(name):
    """The numbers that each device has to find on its own rows."""
    result, slope = jax.tree.map(np.asarray, expected()[name])
    if name.startswith("cfm_loss"):  # it draws for as many rows as there are
        own = jax.jit(all_in_one({name: TRACED[name]})[0])
        return jax.tree.map(lambda *leaves: np.stack(leaves), *map(own, np.split(X, DEVICES)))[name]
    if name == "sweep, reduce":  # means over its rows, of which there are fewer
        energies = expected()["sweep"][0].energy.total
        means = rows_by_device(np.asarray(energies), None).mean(axis=-1)
        return means, DEVICES * rows_by_device(slope, None)
    return result, slope


def test_numbers_to_compare_with_are_finite():
    """But for the one sample that meets its limit of steps."""
    status = expected()["sample, adaptive"][0].status
    assert sorted(status.tolist()) == [0] * (len(X) - 1) + [2]
    for name, result in expected().items():
        for leaf in jax.tree.leaves(result):
            ended = name != "sample, adaptive" or len(leaf) != len(X)
            assert np.isfinite(leaf if ended else leaf[status == 0]).all(), name


@pytest.mark.parametrize("name", TRACED)
def test_split_over_explicit_axes(name):
    results, errors = split_over_explicit_axes()
    assert name not in errors, errors[name]
    assert_same(results[name], expected()[name])


@pytest.mark.parametrize("name", WITH_MESH)
def test_split_over_auto_axes(name):
    results, errors = split_over_auto_axes()
    assert name not in errors, errors[name]
    assert_same(results[name], expected()[name])


@pytest.mark.parametrize("name", TRACED)
def test_whole_where_axes_are_explicit(name):
    errors = whole_where_axes_are_explicit()
    assert name not in errors, errors[name]


@pytest.mark.parametrize("name", WITH_MESH)
def test_split_where_no_mesh_is_given(name, own_messages):
    errors, words = split_where_no_mesh_is_given(), TRACED[name].split
    assert (name in errors) == (words is not None), errors.get(name)
    assert words is None or words in str(errors[name])


@pytest.mark.parametrize("name", TRACED)
def test_inside_shard_map(name, own_messages):
    (results, errors), words = inside_shard_map(), TRACED[name].inside
    if words is not None:
        assert isinstance(errors[name], ValueError)
        assert words in str(errors[name])
        return
    assert name not in errors, errors[name]
    pairs = zip(*map(jax.tree.leaves, (results[name], expected_by_device(name))), strict=True)
    for leaf, wanted in pairs:
        is_parts = wanted.shape == leaf.shape
        assert_same(leaf, wanted if is_parts else rows_by_device(wanted, leaf.shape))
