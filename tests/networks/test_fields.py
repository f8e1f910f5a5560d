"""Networks as fields: batching, time, labels, dtypes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax.networks import network_field

UNET = {
    "base_channels": 8, "multiples": (1,), "attention": (True,), "num_res_blocks": 1,
    "groups": 4, "heads": 2,
}  # fmt: skip
DEEPER = UNET | {"multiples": (1, 2), "attention": (False, True)}
NETWORKS = {
    "mlp": ("mlp", (4, 4, 1), {"width": 16, "depth": 2}),
    "mixer": ("mixer", (4, 4, 1), {"patch_size": 2, "width": 8, "depth": 1, "told": 8}),
    "unet": ("unet", (4, 4, 1), UNET),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)

# Shared by the tests, so that a field is compiled once.
call = jax.jit(lambda field, t, x, label=None: field(t, x, label))
mapped = jax.jit(lambda field, t, x, label=None: jax.vmap(field)(t, x, label))


def random_field(network, **settings):
    """A field with every parameter random, so that nothing is hidden behind a zero."""
    name, shape, config = network
    key = jax.random.key(0)
    field = eqx.filter_eval_shape(lambda: network_field(name, shape, key=key, **config, **settings))
    rng = np.random.default_rng(0)

    def draw(leaf):
        return jnp.asarray(rng.normal(size=leaf.shape) * 0.2, leaf.dtype)

    return jax.tree.map(draw, field)


def batch(size, shape=(4, 4, 1)):
    keys = jax.random.split(jax.random.key(1))
    return jax.random.uniform(keys[0], (size,)), jax.random.normal(keys[1], (size, *shape))


@pytest.mark.parametrize(
    ("network", "classes"),
    [
        (NETWORKS["mlp"], None), (NETWORKS["mlp"], 3), (NETWORKS["mixer"], 3),
        (NETWORKS["unet"], None),
        (("unet", (4, 4, 1), DEEPER), 3),
    ],
    ids=["mlp", "mlp with classes", "mixer with classes", "unet", "deeper unet with classes"],
)  # fmt: skip
def test_mapped_field_is_the_native_batch(network, classes):
    field = random_field(network, num_classes=classes)
    t, x = batch(6)
    label = None if classes is None else jnp.arange(6) % 4
    state, graphdef = field.velocity.state, field.velocity.graphdef
    native = jax.jit(lambda state, *inputs: nnx.merge(graphdef, state)(*inputs))
    native = native.lower(state, t, x, label).compile()
    ours = mapped.lower(field, t, x, label).compile()
    want = native(state, t, x, label)
    assert np.abs(want).max() > 0.1
    np.testing.assert_allclose(ours(field, t, x, label), want, rtol=1e-4, atol=1e-5)
    # And by the same program. A loop's body is counted once: a loop over the batch would come to
    # a sixth of the work.
    work = [compiled.cost_analysis()["flops"] for compiled in (ours, native)]
    assert work[0] == pytest.approx(work[1], rel=0.02)
    assert " while(" not in ours.as_text()


@every_network
def test_one_time_for_all(network):
    # As on a fixed grid: the time has no batch axis, the labels have one.
    field = random_field(network, num_classes=3)
    _, x = batch(6)
    label = jnp.arange(6) % 4
    one_time = jax.jit(lambda field, t: jax.vmap(lambda *own: field(t, *own))(x, label))
    want = mapped(field, jnp.full(6, 0.375), x, label)
    np.testing.assert_allclose(one_time(field, jnp.array(0.375)), want, rtol=1e-4, atol=1e-5)


@every_network
def test_samples_do_not_see_each_other(network):
    field = random_field(network)
    t, x = batch(6)
    alone = jnp.stack([call(field, t[i], x[i]) for i in range(6)])
    np.testing.assert_allclose(mapped(field, t, x), alone, rtol=1e-4, atol=1e-5)


@every_network
def test_time_enters(network):
    field = random_field(network)
    _, x = batch(1)
    outputs = [np.asarray(call(field, jnp.array(t), x[0])) for t in (0.0, 0.001, 0.5, 1.0)]
    for i in range(4):
        for j in range(i):
            assert np.abs(outputs[i] - outputs[j]).max() > 1e-4  # rounding: 1e-6


def test_time_bins():
    binned = random_field(NETWORKS["unet"], time_bins=4)
    smooth = random_field(NETWORKS["unet"])  # the same weights: bins have none
    _, x = batch(1)
    bins = [(0.0, 0.1, 0.249), (0.25, 0.3, 0.499), (0.5, 0.74), (0.75, 0.9, 0.999, 1.0)]
    seen = []
    for number, times in enumerate(bins):
        outputs = [np.asarray(call(binned, jnp.array(t), x[0])) for t in times]
        for output in outputs[1:]:
            np.testing.assert_array_equal(output, outputs[0])
        # A bin is the network at the bin's left end.
        want = call(smooth, jnp.array(number / 4), x[0])
        np.testing.assert_allclose(outputs[0], want, rtol=1e-5, atol=1e-6)
        seen.append(outputs[0])
    for i in range(4):
        for j in range(i):
            assert np.abs(seen[i] - seen[j]).max() > 1e-3


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values())):  # a branch is one of a tuple
            if hasattr(inner, "jaxpr"):
                yield from equations(inner.jaxpr)


@every_network
def test_bfloat16(network):
    exact, rough = random_field(network), random_field(network, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(rough)} == {jnp.dtype("float32")}
    t, x = batch(6)
    want = mapped(exact, t, x)
    # Flax's LayerNorm counts on implicit promotion in bfloat16.
    with jax.numpy_dtype_promotion("strict" if network[0] == "unet" else "standard"):
        got = mapped(rough, t, x)
        jaxpr = jax.make_jaxpr(lambda field, t, x: field(t, x))(rough, t[0], x[0])
    assert got.dtype == jnp.float32
    error = np.abs(got - want).max() / np.abs(want).max()
    assert 1e-4 < error < 0.1  # eight bits' worth, and really computed in them
    # Every product of the network is one of bfloat16 numbers.
    products = [
        {variable.aval.dtype for variable in equation.invars}
        for equation in equations(jaxpr.jaxpr)
        if equation.primitive.name in ("dot_general", "conv_general_dilated")
    ]
    assert len(products) > 5
    assert all(dtypes == {jnp.dtype(jnp.bfloat16)} for dtypes in products)


@every_network
def test_null_class(network):
    field = random_field(network, num_classes=3)
    t, x = batch(1)
    null = field.null_cond
    assert (null.dtype, null.shape, int(null)) == (jnp.int32, (), 3)
    without = np.asarray(call(field, t[0], x[0]))
    np.testing.assert_allclose(call(field, t[0], x[0], null), without, rtol=1e-6, atol=1e-6)
    for label in range(3):
        own = call(field, t[0], x[0], jnp.array(label, jnp.int32))
        assert np.abs(np.asarray(own) - without).max() > 1e-3
    assert random_field(network).null_cond is None


@pytest.mark.usefixtures("own_messages")
@every_network
@pytest.mark.parametrize(
    ("classes", "label", "message"),
    [
        (3, jnp.array(1.0), r"cond must be one integer label from 0 to 3 .*float32"),
        (3, jnp.array(True), r"cond must be one integer label from 0 to 3 .*bool"),
        (3, jnp.array([1, 2]), r"cond must be one integer label from 0 to 3 .*\(2,\)"),
        (None, jnp.array(1), r"cond must be None for a network without classes"),
    ],
    ids=["float", "bool", "two labels", "label without classes"],
)
def test_bad_labels(network, classes, label, message):
    field = random_field(network, num_classes=classes)
    t, x = batch(1)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: field(t[0], x[0], label))


@pytest.mark.parametrize("label", [-1, 4, -5])
def test_a_label_out_of_range_is_not_taken_for_another_class(label):
    """Where labels are traced they cannot be refused: the velocity is then NaN, not a guess."""
    field = network_field("mlp", (2,), key=jax.random.key(0), num_classes=3, width=8, depth=1)
    velocity = jax.jit(lambda c: field(jnp.array(0.5), jnp.ones(2), c))(jnp.array(label))
    assert np.isnan(velocity).all()
