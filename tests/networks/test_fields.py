"""Networks as fields: batching, time, labels, dtypes."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax.networks import network_field

UNET = {
    "base_channels": 8, "multiples": (1,), "attention": (False,), "num_res_blocks": 1,
    "groups": 4, "heads": 2,
}  # fmt: skip
DEEPER = UNET | {"multiples": (1, 2), "attention": (False, False)}
SHAPE, BATCH = (4, 4, 1), 6
NETWORKS = {
    "mlp": {"width": 16, "depth": 2},
    "mixer": {"patch_size": 2, "width": 8, "depth": 1, "told": 8},
    "unet": UNET,
}
every_network = pytest.mark.parametrize("network", NETWORKS)

rng = np.random.default_rng(1)
T = rng.uniform(size=BATCH).astype(np.float32)
X = rng.normal(size=(BATCH, *SHAPE)).astype(np.float32)
LABEL = np.arange(BATCH, dtype=np.int32) % 4

# Shared by the tests, so that a field is compiled once: nearly all are asked with labels.
call = jax.jit(lambda field, t, x, label=None: field(t, x, label))
mapped = jax.jit(lambda field, t, x, label=None: jax.vmap(field)(t, x, label))


@functools.cache
def random_field(network, num_classes=3, deeper=False, **settings):
    """A field with every parameter random, so that nothing is hidden behind a zero."""
    config = (DEEPER if deeper else NETWORKS[network]) | settings | {"num_classes": num_classes}
    key = jax.random.key(0)
    field = eqx.filter_eval_shape(lambda: network_field(network, SHAPE, key=key, **config))
    rng = np.random.default_rng(0)

    def draw(leaf):
        return jax.device_put((rng.normal(size=leaf.shape) * 0.2).astype(leaf.dtype))

    return jax.tree.map(draw, field)


def at_times(field, *times):
    """The same samples at each of the times."""
    return [np.asarray(mapped(field, np.full(BATCH, t, np.float32), X, LABEL)) for t in times]


@pytest.mark.long
@pytest.mark.parametrize(
    ("network", "classes", "deeper"),
    [("mlp", None, False), ("mlp", 3, False), ("mixer", 3, False), ("unet", 3, True)],
    ids=["mlp", "mlp with classes", "mixer with classes", "deeper unet with classes"],
)
def test_mapped_field_is_the_native_batch(network, classes, deeper):
    field = random_field(network, classes, deeper)
    label = None if classes is None else LABEL
    state, graphdef = field.velocity.state, field.velocity.graphdef
    native = jax.jit(lambda state, *inputs: nnx.merge(graphdef, state)(*inputs))
    native = native.lower(state, T, X, label).compile()
    ours = mapped.lower(field, T, X, label).compile()
    want = native(state, T, X, label)
    assert np.abs(want).max() > 0.1
    np.testing.assert_allclose(ours(field, T, X, label), want, rtol=1e-4, atol=1e-5)
    # And by the same program. A loop's body is counted once: a loop over the batch would come to
    # a sixth of the work.
    work = [compiled.cost_analysis()["flops"] for compiled in (ours, native)]
    assert work[0] == pytest.approx(work[1], rel=0.02)
    assert " while(" not in ours.as_text()


@every_network
def test_one_time_for_all(network):
    # As on a fixed grid: the time has no batch axis, the labels have one.
    field = random_field(network)
    one_time = jax.jit(lambda field, t: jax.vmap(lambda *own: field(t, *own))(X, LABEL))
    got = one_time(field, np.float32(0.375))
    np.testing.assert_allclose(got, at_times(field, 0.375)[0], rtol=1e-4, atol=1e-5)


@every_network
def test_samples_do_not_see_each_other_and_no_label_is_the_null_class(network):
    field = random_field(network)
    null = field.null_cond
    assert (null.dtype, null.shape, int(null)) == (jnp.int32, (), 3)
    alone = np.stack([call(field, T[i], X[i]) for i in range(BATCH)])
    without = mapped(field, T, X, np.full(BATCH, 3, np.int32))
    np.testing.assert_allclose(without, alone, rtol=1e-4, atol=1e-5)
    assert random_field(network, None).null_cond is None


@every_network
def test_every_class_has_its_own_velocity(network):
    t, x = np.full(BATCH, T[0]), np.broadcast_to(X[0], X.shape)
    of_class = np.asarray(mapped(random_field(network), t, x, LABEL))
    for label in range(3):
        assert np.abs(of_class[label] - of_class[3]).max() > 1e-3


@every_network
def test_time_enters(network):
    outputs = at_times(random_field(network), 0.0, 0.001, 0.5, 1.0)
    for i in range(4):
        for j in range(i):
            assert (np.abs(outputs[i] - outputs[j]).max(axis=(1, 2, 3)) > 1e-4).all()  # not 1e-6


def test_time_bins():
    binned = random_field("unet", time_bins=4)
    smooth = random_field("unet")  # the same weights: bins have none
    # int(3 t), as the authors' code has int(999 t): the last bin is t = 1 alone.
    bins = [(0.0, 0.1, 0.332), (0.334, 0.5, 0.666), (0.668, 0.9, 0.999), (1.0,)]
    seen = []
    for number, times in enumerate(bins):
        outputs = at_times(binned, *times)
        for output in outputs[1:]:
            np.testing.assert_array_equal(output, outputs[0])
        # A bin is the network at the bin's left end.
        want = at_times(smooth, number / 3)[0]
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
    want = np.asarray(mapped(exact, T, X, LABEL))
    # Flax's LayerNorm counts on implicit promotion in bfloat16.
    with jax.numpy_dtype_promotion("strict" if network == "unet" else "standard"):
        got = mapped(rough, T, X, LABEL)
        jaxpr = jax.make_jaxpr(call)(rough, T[0], X[0])
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


INT32, FLOAT32 = np.dtype("int32"), np.dtype("float32")


@pytest.mark.usefixtures("own_messages")
@every_network
@pytest.mark.parametrize(
    ("classes", "label", "message"),
    [
        (3, ((), FLOAT32), r"cond must be one integer label from 0 to 3 .*float32"),
        (3, ((), np.dtype(bool)), r"cond must be one integer label from 0 to 3 .*bool"),
        (3, ((2,), INT32), r"cond must be one integer label from 0 to 3 .*\(2,\)"),
        (None, ((), INT32), r"cond must be None for a network without classes"),
    ],
    ids=["float", "bool", "two labels", "label without classes"],
)
def test_bad_labels(network, classes, label, message):
    field = random_field(network, classes)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(field, T[0], X[0], jax.ShapeDtypeStruct(*label))


@every_network
def test_a_label_out_of_range_is_not_taken_for_another_class(network):
    """Where labels are traced they cannot be refused: the velocity is then NaN, not a guess."""
    labels = np.array([-1, 4, -5, 0, 2, 3], np.int32)
    velocity = np.asarray(mapped(random_field(network), T, X, labels))
    assert np.isnan(velocity[:3]).all()
    assert np.isfinite(velocity[3:]).all()
