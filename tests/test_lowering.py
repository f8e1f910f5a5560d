"""Every compiled entry point lowers for TPU, GPU and CPU from here, and runs from its bytes.

Results come back as the types they are: their pytrees are registered with `jax.export`.
"""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.export import deserialize, export

import kinetic_jax
from kinetic_jax import transforms
from kinetic_jax._streaming import Highest, checked_shards
from kinetic_jax._streaming._stream import _begin, _finish, _update
from kinetic_jax.fields import from_nnx
from kinetic_jax.metrics._neighbor_mesh import MeshSearch, _by_products, _on_each
from kinetic_jax.metrics._neighbor_scores import ProductScore, measure, with_certainty
from kinetic_jax.training._step import Problem, advance, initial_state, split_field

pytestmark = pytest.mark.long

PLATFORMS = ("cpu", "cuda", "tpu")
RNG = np.random.default_rng(0)
X0 = jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32)
DATA = jnp.asarray(RNG.normal(size=(40, 3)), jnp.float32)
LABELS = jnp.arange(4) % 3


class Linear(nnx.Module):
    """Batch-first, with arguments in an order of its own."""

    def __init__(self):
        self.layer = nnx.Linear(3, 3, rngs=nnx.Rngs(0))

    def __call__(self, x, t):
        return self.layer(x) + t[:, None]


def network(kind):
    key = jax.random.key(0)
    if kind == "mlp":
        return kinetic_jax.networks.network_field(
            "mlp", (3,), key=key, width=16, depth=1, num_classes=3
        )
    small = {"base_channels": 8, "multiples": (1, 2), "attention": (False, True)}
    # Shapes alone: it is lowered, not run.
    return eqx.filter_eval_shape(
        lambda: kinetic_jax.networks.network_field(
            "unet", (4, 4, 1), key=key, **small, num_res_blocks=1, groups=4, heads=2
        )
    )


PLAIN = from_nnx(Linear(), call=lambda net, t, x, cond: net(x, t))
# A network's own programs are entries of their own: under transforms a layer is enough.
LABELLED = from_nnx(
    Linear(), call=lambda net, t, x, cond: net(x, t) * (1.0 + cond[:, None].astype(x.dtype))
)
ADAPTIVE = {"controller": diffrax.PIDController(rtol=1e-4, atol=1e-4), "max_steps": 32}
TRANSFORMS = {
    "gain": kinetic_jax.gain(lambda t: 1 + 0.5 * (1 - t) ** 2),
    "kts": kinetic_jax.kts(0.1, 0.01, launch="exponential"),
    "cfg": kinetic_jax.cfg(1.5, jnp.array(3), interval=(0.2, 0.8)),
    "chain": kinetic_jax.chain(kinetic_jax.cfg(2.0, jnp.array(3)), kinetic_jax.kts(0.1)),
    "identity": kinetic_jax.identity(),
}


def of_arrays(fn, *arguments):
    """`fn` as a function of the arrays in its arguments, and those: fields are no export types."""

    def is_array(leaf):
        return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)

    arrays, static = eqx.partition(arguments, is_array)
    leaves, treedef = jax.tree.flatten(arrays)
    return lambda leaves: fn(*eqx.combine(jax.tree.unflatten(treedef, leaves), static)), leaves


def sampled(field, x0=X0, cond=None, **options):
    options = options or {"num_steps": 4}
    return of_arrays(lambda f, x, c: kinetic_jax.sample(f, x, c, **options), field, x0, cond)


def each(method, *more):
    """A method of the exact flow, at every point of a batch."""
    field = kinetic_jax.EmpiricalField(DATA, labels=jnp.arange(40) % 3, chunk_size=16)

    def call(f, x, c):
        return jax.vmap(lambda x, c: getattr(f, method)(*more, x, cond=c))(x, c)

    if method == "posterior":

        def call(f, x, c):
            return jax.vmap(lambda x, c: f.posterior(0.5, x, 4, c))(x, c)

    return of_arrays(call, field, X0, LABELS)


def neighbors_of_a_chunk():
    def search(queries, rows):
        reduction = Highest(2)
        blocks, carry = _begin(reduction, queries, 3, "float32")
        squares, span = jnp.sum(rows * rows, axis=1), jnp.array([0, 0, 40], jnp.int32)
        center = jnp.zeros(3)
        score = ProductScore(center)
        carry = _update(score, reduction, carry, blocks, rows, squares, None, span)
        scores, index = _finish(reduction, carry, len(queries))
        squared, number = measure(queries, rows, index, index, 2)
        longest = jnp.float32(9)
        return number, with_certainty(squared, queries, center, scores, longest, 1.0)

    return of_arrays(search, X0, DATA)


def neighbors_on_a_mesh():
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    shards = checked_shards(mesh, None, 40)
    center = MeshSearch("rows", DATA, 2, 16, shards, X0).center

    def search(rows, x, center):
        return _on_each(_by_products, shards, 16, 2, rows, (x, center))

    return of_arrays(search, DATA, X0, center)


def training_step(coupling="independent"):
    optimizer = optax.adam(1e-3)
    parameters, static = split_field(network("mlp"))
    state = initial_state(parameters, optimizer)
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, parameters)
    key = jax.random.key_data(jax.random.key(0))

    def step(state, data, cond, key):
        problem = Problem(
            static, dtypes, data, cond, jnp.array(3), jnp.float32(0.1),
            jax.random.wrap_key_data(key), optimizer, 8, 0.99, coupling,
        )  # fmt: skip
        state, losses = advance(problem, state, jnp.int32(2))
        return jax.tree.leaves(state), losses

    return of_arrays(step, state, DATA, jnp.arange(40) % 3, key)


def loop(x0):
    state = kinetic_jax.energy_init(x0)
    return kinetic_jax.energy_result(kinetic_jax.energy_update(state, x0, 0.0, 1.0), 2 * x0)


def gradient(field, x0):
    def energy(f, x):
        return jnp.sum(kinetic_jax.sample(f, x, num_steps=4).energy.total)

    return jax.tree.leaves(eqx.filter_grad(energy)(field, x0))


def slope(field, x):
    def loss(f):
        return jnp.sum(jax.vmap(f, in_axes=(None, 0))(jnp.float32(0.5), x) ** 2)

    return jax.tree.leaves(eqx.filter_grad(loss)(field))


def images():
    return jnp.asarray(RNG.normal(size=(2, 4, 4, 1)), jnp.float32)


ENTRIES = {
    "sample, fixed grid": lambda: sampled(PLAIN, solver=diffrax.Heun(), num_steps=4),
    "sample, saved": lambda: sampled(PLAIN, num_steps=4, save_at=np.array([0.3, 0.5])),
    "sample, adaptive": lambda: sampled(PLAIN, **ADAPTIVE),
    "sample, gradient": lambda: of_arrays(gradient, PLAIN, X0),
    "sample, MLP": lambda: sampled(network("mlp"), cond=LABELS),
    "sample, U-Net": lambda: sampled(network("unet"), images(), num_steps=2),
    "U-Net, gradient": lambda: of_arrays(slope, network("unet"), images()),
    "sample, EmpiricalField": lambda: sampled(kinetic_jax.EmpiricalField(DATA, chunk_size=16)),
    "sample, GaussianField": lambda: sampled(kinetic_jax.GaussianField(jnp.ones(3), 0.5)),
    "sample, reversed time": lambda: sampled(kinetic_jax.from_reversed_time(PLAIN)),
    **{
        f"sample, {name}": lambda transform=transform: sampled(
            transform(LABELLED), cond=LABELS
        )
        for name, transform in TRANSFORMS.items()
    },
    "sweep": lambda: of_arrays(
        lambda f, x, a: kinetic_jax.sampling.sweep(f, x, alpha0=a, beta0=[0.0, 0.01], num_steps=4),
        PLAIN, X0, jnp.array([0.0, 0.1]),
    ),
    "noise": lambda: of_arrays(
        lambda key, i: kinetic_jax.noise(jax.random.wrap_key_data(key), i, (3,)),
        jax.random.key_data(jax.random.key(0)), jnp.arange(4),
    ),
    "energy of a loop": lambda: of_arrays(loop, X0),
    "EmpiricalField.values": lambda: each("values", jnp.float32(0.5)),
    "EmpiricalField.posterior": lambda: each("posterior"),
    "energy_identity": lambda: of_arrays(
        lambda f, x: kinetic_jax.exact.energy_identity(f, jnp.float32(0.5), x),
        kinetic_jax.EmpiricalField(DATA), X0[0],
    ),
    "neighbours of a chunk": neighbors_of_a_chunk,
    "neighbours on a mesh": neighbors_on_a_mesh,
    "loss": lambda: of_arrays(
        lambda f, x, c, key: kinetic_jax.cfm_loss(f, jax.random.wrap_key_data(key), x, c),
        network("mlp"), X0, LABELS, jax.random.key_data(jax.random.key(0)),
    ),
    "training step": training_step,
    "training step, minibatch_ot": lambda: training_step("minibatch_ot"),
}  # fmt: skip


# Their numbers have tests of their own, and they take long to compile.
LOWERED_ONLY = ("sample, U-Net", "U-Net, gradient")


@pytest.mark.parametrize("name", ENTRIES)
def test_lowers_for_every_platform_and_runs_from_its_bytes(name):
    fn, leaves = ENTRIES[name]()
    exported = export(jax.jit(fn), platforms=PLATFORMS)(leaves)
    text = exported.mlir_module()
    assert "callback" not in text
    assert "custom_call" not in text
    revived = deserialize(exported.serialize())
    assert revived.platforms == PLATFORMS
    if name in LOWERED_ONLY:
        return
    result, expected = revived.call(leaves), jax.jit(fn)(leaves)
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def test_every_transform_is_among_them():
    public = {name for name in set(dir(kinetic_jax)) & set(dir(transforms)) if name[0] != "_"}
    assert public - {"Transform", "kts_gain", "jaxtyping"} == set(TRANSFORMS)
