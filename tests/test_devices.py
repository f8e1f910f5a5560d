"""Every public function of arrays on a mesh that is set, on split arrays and inside `shard_map`.

One program a situation calls all of them; each must give the numbers that it gives without a mesh,
and usable ones, or refuse in words.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy.integrate import solve_ivp

import kinetic_jax as kj

DEVICES, SIZE = 4, 2
X = np.random.default_rng(0).normal(size=(2 * DEVICES, SIZE)).astype(np.float32)
# All of one shape, so that the metrics share their programs.
DATA, HELD_OUT = np.random.default_rng(1).normal(size=(2, *X.shape)).astype(np.float32)
MEAN = np.array([1.0, -2.0], np.float32)
SPLIT = PartitionSpec("b")

NEEDS_MESH = "must be whole where no mesh is given"
ON_HOST = "not for use inside jit, grad, vmap or shard_map"
NO_CHECKS = "must be used outside of a jax.shard_map that checks"


class Case(NamedTuple):
    """`call(x, mesh)` is the function at X or a part of it; `mesh` is None where none is given."""

    call: Callable[..., Any]
    mesh: bool = False  # takes mesh=
    grad: bool = False  # differentiable in x
    split: str | None = None  # what it says to an x that is split over Explicit axes
    inside: str | None = None  # what it says inside a checked shard_map


class Linear(nnx.Module):
    def __init__(self):
        self.layer = nnx.Linear(SIZE, SIZE, rngs=nnx.Rngs(0))

    def __call__(self, t, x):
        return self.layer(x) * t[:, None]


class LinenLinear(nn.Module):
    @nn.compact
    def __call__(self, t, x):
        return nn.Dense(SIZE)(x) * t[:, None]


def gaussian():
    return kj.GaussianField(MEAN, 0.5)


def exact(x, mesh=None):
    return kj.EmpiricalField(DATA, mesh=mesh)


def network():
    """Built for its shapes alone, as drawing its weights takes longest to compile."""
    settings = {"key": jax.random.key(0), "width": 4, "depth": 1}
    shapes = eqx.filter_eval_shape(kj.networks.network_field, "mlp", (SIZE,), **settings)
    rng = np.random.default_rng(2)

    def weights(leaf):
        is_shape = isinstance(leaf, jax.ShapeDtypeStruct)
        return jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype) if is_shape else leaf

    return jax.tree.map(weights, shapes)


def at(field):
    """The field of `field()` at every row of x."""
    return lambda x, mesh: jax.vmap(lambda row: field()(jnp.float32(0.5), row))(x)


def guided(x, mesh):
    field = kj.cfg(2.0, 0.0, interval=(0.2, 0.8))(lambda t, x, label: label * x)
    labels = x[:, 0] ** 2
    return jax.vmap(lambda row, label: field(jnp.float32(0.5), row, label))(x, labels)


def loop(x, mesh):
    state = kj.energy_update(kj.energy_init(x), x, 0.0, 0.1)
    return kj.energy_result(kj.energy_update(state, 2 * x, 0.7, 0.1), 1.5 * x)


def term(x, mesh):
    rates = kj.energy_term(gaussian()).vf
    return jax.vmap(lambda row: rates(jnp.float32(0.5), kj.energy_state(row), None))(x)


def norm(x, mesh):
    measure = kj.path_norm(lambda row: jnp.sum(row**2))
    return jax.vmap(lambda row: measure(kj.energy_state(row)))(x)


def sampled(field=gaussian, **settings):
    settings = settings or {"num_steps": 3}
    return lambda x, mesh: kj.sample(field(), x, mesh=mesh, **settings)


def swept(**settings):
    return lambda x, mesh: kj.sampling.sweep(
        gaussian(), x, alpha0=[0.0, 0.1], num_steps=2, mesh=mesh, **settings
    )


ADAPTIVE = {
    "controller": diffrax.PIDController(rtol=1e-2, atol=1e-2),
    "solver": diffrax.Heun(),
    "max_steps": 16,  # which one of the samples meets
}


def closing():
    scale = jnp.full(SIZE, 0.5)
    return lambda t, x, cond: scale * x


def linen():
    one = jnp.zeros(1), jnp.zeros((1, SIZE))
    return kj.from_linen(LinenLinear(), LinenLinear().init(jax.random.key(0), *one))


def fitted(x, mesh):
    settings = {"key": jax.random.key(0), "num_steps": 2, "batch_size": 4}
    settings |= {"optimizer": optax.sgd(0.1)}
    result = kj.fit(gaussian(), x, progress=False, **settings)
    return result.field.mean, result.ema_field.scale, result.history.loss


def along(name, *others):
    """A metric of trajectories, which are split as x is."""

    def call(x, mesh):
        def put(leaf):
            if not isinstance(x.sharding, NamedSharding):
                return jnp.asarray(leaf)
            spec = SPLIT if len(leaf) == len(X) else PartitionSpec()
            return jax.device_put(leaf, NamedSharding(x.sharding.mesh, spec))

        run = jax.tree.map(put, saved())
        return numbers_in(getattr(kj.exact, name)(exact(x), *others, run))

    return call


@functools.cache
def saved():
    """Trajectories in NumPy, so that they can be put anywhere."""
    return jax.tree.map(np.asarray, sampled(num_steps=3, save_at=[0.5, 0.85, 0.9])(X, None))


def metric(name, *others, of=lambda x: (x,), **settings):
    def call(x, mesh):
        where = {} if mesh is None else {"mesh": mesh}
        result = getattr(kj.metrics, name)(*of(x), *others, **settings, **where)
        return result if isinstance(result, jax.Array) else numbers_in(result)

    return call


def numbers_in(result):
    """The numbers of a result that may be no pytree."""
    values = result if isinstance(result, list | tuple) else [result]

    def is_plain(value):
        return isinstance(value, jax.Array) or not hasattr(value, "__dict__")

    values = [value if is_plain(value) else vars(value) for value in values]
    leaves = [leaf for leaf in jax.tree.leaves(values) if not isinstance(leaf, str)]
    assert leaves
    return leaves


TRACED = {
    "sample": Case(sampled(), True, True, NEEDS_MESH),
    "sample, between nodes": Case(
        sampled(num_steps=2, save_at=[0.3, 0.5], solver=diffrax.Heun()), True, False, NEEDS_MESH
    ),
    "sample, adaptive": Case(sampled(**ADAPTIVE), True, False, NEEDS_MESH, NO_CHECKS),
    "sample, closure": Case(sampled(closing), True, True, NEEDS_MESH),
    "sweep": Case(swept(), True, False, NEEDS_MESH),
    "sweep, reduce": Case(
        swept(reduce=lambda run: run.energy.total.mean()), True, True, NEEDS_MESH
    ),
    "noise": Case(lambda x, mesh: kj.noise(jax.random.key(0), jnp.int32(9 * x[:, 0] ** 2), (2,))),
    "cfm_loss": Case(lambda x, mesh: kj.cfm_loss(gaussian(), jax.random.key(0), x), grad=True),
    "GaussianField": Case(at(gaussian), grad=True),
    "EmpiricalField": Case(
        lambda x, mesh: jax.vmap(lambda row: exact(row)(0.5, row))(x), grad=True
    ),
    "energy_identity": Case(
        lambda x, mesh: jax.vmap(lambda row: kj.exact.energy_identity(exact(row), 0.5, row))(x),
        grad=True,
    ),
    "from_nnx": Case(at(lambda: kj.from_nnx(Linear()))),
    "from_linen": Case(at(linen)),
    "from_vector_field": Case(at(lambda: kj.from_vector_field(lambda t, y, a: a * y, 2.0))),
    "from_reversed_time": Case(at(lambda: kj.from_reversed_time(gaussian()))),
    "from_scaled_time": Case(at(lambda: kj.fields.from_scaled_time(gaussian(), time_scale=2.0))),
    "network_field": Case(at(network)),
    "cfg": Case(guided),
    "chain": Case(at(lambda: kj.chain(kj.kts(0.1), kj.identity())(gaussian()))),
    "gain": Case(at(lambda: kj.gain(lambda t: 1 + t)(gaussian()))),
    "identity": Case(at(lambda: kj.identity()(gaussian()))),
    "kts": Case(at(lambda: kj.kts(0.1, 0.01)(gaussian()))),
    "kts_gain": Case(lambda x, mesh: kj.kts_gain(jnp.abs(x[:, 0]) / 9, 0.1, 0.01), grad=True),
    "energy_update": Case(loop, grad=True),
    "energy_term": Case(term),
    "path_norm": Case(norm),
}

QUIET = {"progress": False}
FEW = {"resamples": 10}


def two(x):
    return x[:, 0] ** 2, x[:, 1]


# Called by themselves: driven from the host, most of them.
ALONE = {
    "fit": Case(fitted),
    # Diffrax calls back to the host, and a program that does takes one type of axes alone.
    "single_atom": Case(
        lambda x, mesh: kj.exact.single_atom(kj.kts(0.1), jnp.abs(x[:, 0]) / 9), inside=NO_CHECKS
    ),
    "nearest_neighbors": Case(metric("nearest_neighbors", DATA, **QUIET), True, split=NEEDS_MESH),
    "nearest_neighbors, in it": Case(
        metric("nearest_neighbors", of=lambda x: (DATA, x), **QUIET), True, split=NEEDS_MESH
    ),
    "EmpiricalField, of it": Case(
        lambda x, mesh: kj.EmpiricalField(x, mesh=mesh)(0.5, jnp.ones(SIZE)), True, split=NEEDS_MESH
    ),
    "EmpiricalField, on_batch": Case(lambda x, mesh: exact(x, mesh).on_batch(0.5, x), True),
    "knn_support": Case(metric("knn_support", DATA, 2, **QUIET)),
    "kde_support": Case(metric("kde_support", DATA, 0.5, **QUIET)),
    "kde_support, of it": Case(metric("kde_support", of=lambda x: (DATA, x), **QUIET)),
    "memorization": Case(metric("memorization", DATA, **QUIET)),
    "authpct": Case(metric("authpct", DATA, **QUIET)),
    "ct_score": Case(metric("ct_score", HELD_OUT, DATA, **QUIET)),
    "precision_recall": Case(metric("precision_recall", DATA, 1, **QUIET)),
    "frechet_distance": Case(metric("frechet_distance", DATA)),
    "frechet_floor": Case(metric("frechet_floor", of=lambda x: (DATA, x, 4), draws=2, **QUIET)),
    "kernel_distance": Case(metric("kernel_distance", DATA, num_subsets=2, **QUIET)),
    "spearman": Case(metric("spearman", of=two, **FEW, **QUIET)),
    "paired_difference": Case(metric("paired_difference", of=two, **FEW)),
    "roc_auc": Case(metric("roc_auc", of=two)),
    "energy_groups": Case(metric("energy_groups", 2, of=two, **FEW)),
    "energy_threshold": Case(
        metric("energy_threshold", of=lambda x: (x[:, 0] ** 2, x[:, 1] > 0), **FEW, **QUIET)
    ),
    "density_profile": Case(along("density_profile")),
    "late_energy": Case(along("late_energy", gaussian())),
}
CASES = TRACED | ALONE

NO_ARRAYS = {
    "energy_init energy_state energy_result": "parts of the loop under energy_update",
    "run_job open_job diagnose_job": "of folders; run_job calls sample",
    "load_images load_field save_field": "of files",
    "pretrained pretrained_steps pretrained_classifier": "of files",
}


def computing(module):
    """The names of its public functions and fields."""

    def computes(value):
        is_field = isinstance(value, type) and issubclass(value, eqx.Module)
        return is_field or inspect.isfunction(value)

    return {name for name, value in vars(module).items() if name[0] != "_" and computes(value)}


def test_every_public_name_is_here():
    assert kj.__all__  # which loads the names
    public = set.union(*map(computing, (kj, kj.exact, kj.jobs, kj.metrics)))
    public |= {"from_scaled_time", "load_images", "network_field", "sweep"}
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


def meshes():
    return {
        kind.name: jax.make_mesh((DEVICES,), ("b",), axis_types=(kind,))
        for kind in (AxisType.Explicit, AxisType.Auto)
    }


def split_over(mesh):
    return jax.device_put(X, NamedSharding(mesh, SPLIT))


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
    if name == "cfm_loss":  # it draws for as many rows as there are
        own = jax.jit(all_in_one({name: TRACED[name]})[0])
        return jax.tree.map(lambda *leaves: np.stack(leaves), *map(own, np.split(X, DEVICES)))[name]
    if name == "sweep, reduce":  # means over its rows, of which there are fewer
        energies = expected()["sweep"][0].energy.total
        means = rows_by_device(np.asarray(energies), None).mean(axis=-1)
        return means, DEVICES * rows_by_device(slope, None)
    return result, slope


def assert_same(result, wanted):
    for left, right in zip(jax.tree.leaves(result), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


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


def landing():
    """The result of `single_atom` by SciPy: exp(−∫ η/(1 − t)), and ∫ ½ (η/(1 − t) of it)²."""

    def rates(t, y):
        rate = (1 + 0.1 * (1 - t / 0.6)) / (1 - t)
        return rate, (rate * np.exp(-y[0])) ** 2 / 2

    times = np.abs(X[:, 0]) / 9
    assert times.max() < 0.6
    ends = [solve_ivp(rates, (0, t), (0.0, 0.0), rtol=1e-9, atol=1e-12).y[:, -1] for t in times]
    exponent, energy = np.transpose(ends)
    return np.exp(-exponent), energy


# Programs that take long to compile run on meshes only.
WANTED = {"single_atom": landing()}


@pytest.mark.parametrize("name", ALONE)
def test_called_alone(name, own_messages):
    """Whole and split, where a mesh is set; refused inside a checked `shard_map`."""
    case, mesh = ALONE[name], meshes()["Explicit"]
    wanted = WANTED[name] if name in WANTED else case.call(jnp.asarray(X), None)
    with jax.set_mesh(mesh):
        assert_same(case.call(jnp.asarray(X), None), wanted)
        x = split_over(mesh)
        if case.split is not None:
            with pytest.raises(ValueError, match=case.split):
                case.call(x, None)
        if case.split is None or case.mesh:
            result = case.call(x, mesh if case.mesh else None)
            assert_same(result, wanted)
            for leaf in jax.tree.leaves(result):
                jnp.mean(jnp.asarray(leaf, jnp.float32) * 2)  # usable here
    if case.inside is not None:
        inside = jax.shard_map(
            lambda x: case.call(x, None), mesh=mesh, in_specs=SPLIT, out_specs=SPLIT
        )
        with pytest.raises(ValueError, match=case.inside):
            jax.eval_shape(inside, split_over(mesh))
