"""Public functions of arrays, as `test_devices.py` and `test_devices_alone.py` call them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

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


def fitted(x, mesh, **options):
    settings = {"key": jax.random.key(0), "num_steps": 2, "batch_size": 4}
    settings |= {"optimizer": optax.sgd(0.1)}
    result = kj.fit(gaussian(), x, progress=False, **settings, **options)
    return result.field.mean, result.ema_field.scale, result.history.loss


TUNED = {"key": jax.random.key(0), "shape": (SIZE,), "num_steps": 2, "progress": False}


def energy_of(drawn):
    return drawn.run.energy.total


def conditioned(t, x, cond):
    return cond - x


def tuned(x, mesh):
    """Energies and distances without a gain and with one; x are conditions, and held-out data."""
    half, of_data = kj.tuning.Setting("half", kj.gain(lambda t: 0.5)), kj.tuning.frechet_to(x)
    options = TUNED | {"objective": energy_of, "distance": of_data, "bound": 9.0}
    result = kj.tuning.tune(conditioned, [half], cond=x, num_samples=len(x), **options)
    return [number for one in result.results for number in (one.objective, one.distance)]


def descended(x, mesh):
    options = TUNED | {"iterations": 2, "batch_size": 4, "penalty": kj.tuning.kernel_penalty(x)}
    result = kj.tuning.gain_by_gradients(conditioned, energy_of, cond=x, **options)
    return result.values, result.losses


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
    "sample, log density": Case(
        sampled(num_steps=2, log_density="hutchinson", key=jax.random.key(0)),
        *(True, True, NEEDS_MESH),
    ),
    "encode": Case(
        lambda x, mesh: kj.sampling.encode(
            gaussian(), x, num_steps=2, log_density="exact", mesh=mesh
        ),
        *(True, True, NEEDS_MESH),
    ),
    "sample, adaptive": Case(sampled(**ADAPTIVE), True, False, NEEDS_MESH, NO_CHECKS),
    "sample, closure": Case(sampled(closing), True, True, NEEDS_MESH),
    "sweep": Case(swept(), True, False, NEEDS_MESH),
    "sweep, reduce": Case(
        swept(reduce=lambda run: run.energy.total.mean()), True, True, NEEDS_MESH
    ),
    "complete": Case(
        lambda x, mesh: kj.sampling.complete(gaussian(), x, residual=0.1, mesh=mesh),
        True,
        True,
        NEEDS_MESH,
    ),
    "snap": Case(
        lambda x, mesh: kj.copies.snap(gaussian(), closing(), x, key=jax.random.key(0), draws=2),
        grad=True,
    ),
    "noise": Case(lambda x, mesh: kj.noise(jax.random.key(0), jnp.int32(9 * x[:, 0] ** 2), (2,))),
    "cfm_loss": Case(lambda x, mesh: kj.cfm_loss(gaussian(), jax.random.key(0), x), grad=True),
    "cfm_loss, pairs": Case(
        lambda x, mesh: kj.cfm_loss(gaussian(), jax.random.key(0), x, x0=1 - x), grad=True
    ),
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
    "fit, minibatch_ot": Case(functools.partial(fitted, coupling="minibatch_ot")),
    "fit, pairs": Case(lambda x, mesh: fitted(x, mesh, coupling=1 - x)),
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
    "transport_bounds": Case(metric("transport_bounds", key=jax.random.key(0))),
    "efficiency": Case(
        metric(
            "efficiency", kj.metrics.transport_bounds(DATA), of=lambda x: (x[:, 0] ** 2 + 1,), **FEW
        )
    ),
    "bits_per_dimension": Case(
        metric("bits_per_dimension", kj.networks.Scaling(), 3, of=lambda x: (x[:, 0],))
    ),
    "tune": Case(tuned),
    "gain_by_gradients": Case(descended),
    "frechet_to": Case(lambda x, mesh: [kj.tuning.frechet_to(x)(DATA)]),
    "kernel_to": Case(lambda x, mesh: [kj.tuning.kernel_to(x)(DATA)]),
    "kernel_penalty": Case(lambda x, mesh: kj.tuning.kernel_penalty(x)(jnp.asarray(DATA))),
    "accumulated_guidance": Case(
        lambda x, mesh: kj.copies.accumulated_guidance(
            lambda t, x, label: (label - t) * x, x, x[:, 0] ** 2, null_cond=0.0, num_steps=3
        ),
        inside=ON_HOST,
    ),
    "clusters": Case(
        lambda x, mesh: jnp.asarray(kj.copies.clusters(x, 3, key=jax.random.key(0))), inside=ON_HOST
    ),
    "reject": Case(
        lambda x, mesh: numbers_in(kj.copies.reject(x[:, 0], strata=x[:, 1] > 0)), inside=ON_HOST
    ),
    "sample_rejecting": Case(
        lambda x, mesh: (
            kj.copies.sample_rejecting(
                gaussian(), x, risk=lambda run: run.energy.total, num_steps=3
            ).run
        ),
        inside=ON_HOST,
    ),
    "sample_selecting": Case(
        lambda x, mesh: (
            kj.copies.sample_selecting(
                gaussian(), x, by="launch energy", group_size=2, num_steps=3
            ).run
        ),
        inside=ON_HOST,
    ),
    "select": Case(
        lambda x, mesh: numbers_in(kj.copies.select(x[:, 0], group_size=2)), inside=ON_HOST
    ),
    "density_profile": Case(along("density_profile")),
    "late_energy": Case(along("late_energy", gaussian())),
}


def meshes():
    return {
        kind.name: jax.make_mesh((DEVICES,), ("b",), axis_types=(kind,))
        for kind in (AxisType.Explicit, AxisType.Auto)
    }


def split_over(mesh):
    return jax.device_put(X, NamedSharding(mesh, SPLIT))


def assert_same(result, wanted):
    for left, right in zip(jax.tree.leaves(result), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
