"""`from_linen` against the network called natively on a batch."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import from_linen

BATCH, DIM = 5, 3


class MLP(nn.Module):
    dtype: jnp.dtype | None = None
    extra_outputs: int = 0

    @nn.compact
    def __call__(self, t, x, cond=None):
        parts = [x, t[:, None].astype(x.dtype)]
        if cond is not None:
            parts.append(nn.Embed(4, 2)(cond["label"]))
            parts.append(cond["shift"])
        h = nn.silu(nn.Dense(16, dtype=self.dtype)(jnp.concatenate(parts, axis=1)))
        return nn.Dense(x.shape[1] + self.extra_outputs, dtype=self.dtype)(h)


def init(net, *args):
    """The variables of a network, by one program instead of one an operation."""
    return jax.jit(net.init)(jax.random.key(0), *args)


def native_call(net, variables, *args):
    return jax.jit(net.apply)(variables, *args)


def on_batch(field, *args):
    return jax.jit(lambda field, *args: jax.vmap(field)(*args))(field, *args)


@pytest.fixture(scope="module")
def plain(batch):
    """A network with its variables and what it returns natively."""
    t, x, _ = batch
    net = MLP()
    variables = init(net, t, x)
    return net, variables, np.asarray(native_call(net, variables, t, x))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    t = rng.uniform(size=BATCH).astype(np.float32)
    x = rng.normal(size=(BATCH, DIM)).astype(np.float32)
    label, shift = rng.integers(0, 4, BATCH), rng.normal(size=(BATCH, 2)).astype(np.float32)
    return jax.device_put((t, x, {"label": label.astype(np.int32), "shift": shift}))


def test_native_call(batch, plain):
    t, x, _ = batch
    net, variables, native = plain
    field = from_linen(net, variables)
    np.testing.assert_allclose(on_batch(field, t, x), native, rtol=1e-5, atol=1e-6)
    for i in range(BATCH):
        np.testing.assert_allclose(field(t[i], x[i]), native[i], rtol=1e-5, atol=1e-6)


def test_args_are_traced_and_not_trained(batch, plain):
    t, x, _ = batch
    net, variables, native = plain
    traces = []

    def call(module, variables, args, t, x, cond):
        traces.append(1)
        return args["scale"] * module.apply(variables, t, x) + args["shift"][None]

    def field(scale):
        args = {"scale": scale, "shift": np.ones(DIM, np.float32)}
        return from_linen(net, variables, call=call, args=args)

    run = jax.jit(lambda field: jax.vmap(field)(t, x))
    for scale in (2.0, -3.0):
        np.testing.assert_allclose(run(field(scale)), scale * native + 1, rtol=1e-5, atol=1e-5)
    assert len(traces) == 1
    trained = field(2.0).trainable()
    assert jax.tree.leaves(trained.args) == [False, False]
    assert all(jax.tree.leaves(trained.variables))


def test_condition_reaches_the_network(batch):
    t, x, cond = batch
    net = MLP()
    variables = init(net, t, x, cond)
    field = from_linen(net, variables)
    got = np.asarray(on_batch(field, t, x, cond))
    native = native_call(net, variables, t, x, cond)
    np.testing.assert_allclose(got, native, rtol=1e-5, atol=1e-6)
    other = {**cond, "label": jax.device_put((np.asarray(cond["label"]) + 1) % 4)}
    assert np.all(np.abs(on_batch(field, t, x, other) - got).max(1) > 1e-3)


def test_image_network(batch):
    t, _, _ = batch
    x = np.random.default_rng(1).normal(size=(BATCH, 6, 6, 2)).astype(np.float32)

    class Conv(nn.Module):
        @nn.compact
        def __call__(self, t, x):
            h = nn.GroupNorm(2)(nn.Conv(4, (3, 3))(x) + t[:, None, None, None])
            return nn.Conv(2, (3, 3))(nn.silu(h))

    net = Conv()
    variables = init(net, t, x)
    native = native_call(net, variables, t, x)
    got = on_batch(from_linen(net, variables), t, x)
    np.testing.assert_allclose(got, native, rtol=1e-4, atol=1e-5)


def test_call_adapts_the_order_of_arguments_and_the_mode(batch):
    t, x, cond = batch

    class Labelled(nn.Module):
        @nn.compact
        def __call__(self, label, x, time, train):
            h = nn.Dense(DIM)(x) * time[:, None] + nn.Embed(4, DIM)(label)
            return nn.Dropout(0.5, deterministic=not train)(h)

    net = Labelled()
    variables = jax.jit(net.init, static_argnums=4)(jax.random.key(0), cond["label"], x, t, False)

    def call(module, variables, t, x, cond):
        return module.apply(variables, cond, x, t, train=False)

    got = on_batch(from_linen(net, variables, call=call), t, x, cond["label"])
    native = net.apply(variables, cond["label"], x, t, train=False)
    np.testing.assert_allclose(got, native, rtol=1e-5, atol=1e-6)


def test_other_collections_are_variables_too(batch):
    t, x, _ = batch

    class Normed(nn.Module):
        @nn.compact
        def __call__(self, t, x):
            return nn.BatchNorm(use_running_average=True)(x) + t[:, None]

    net = Normed()
    variables = init(net, t, x)
    stats = {"mean": np.arange(3, dtype=np.float32), "var": np.float32([1.0, 4.0, 9.0])}
    variables = {**variables, "batch_stats": {"BatchNorm_0": stats}}
    x_, t_ = np.asarray(x), np.asarray(t)
    want = (x_ - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) + t_[:, None]
    np.testing.assert_allclose(on_batch(from_linen(net, variables), t, x), want, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_network_output_is_cast(batch, dtype):
    t, x, _ = batch
    net = MLP(dtype=dtype)
    variables = init(net, t, x)
    native = native_call(net, variables, t, x)
    assert native.dtype == dtype
    field = from_linen(net, variables)
    got = field(t[0], x[0])
    assert got.dtype == jnp.float32
    # Cast, not recomputed: every value is one the low precision can hold.
    got, native = np.asarray(got), np.asarray(native)
    np.testing.assert_array_equal(got, got.astype(dtype).astype(np.float32))
    np.testing.assert_allclose(got, native[0].astype(np.float32), rtol=0.03, atol=0.01)


def test_wrong_output_shape_names_the_class(batch):
    t, x, _ = batch
    net = MLP(extra_outputs=1)
    field = from_linen(net, init(net, t, x))
    message = r"the output of MLP must have the shape of its input, \(1, 3\).* got shape \(1, 4\)"
    with pytest.raises(ValueError, match=message):
        field(t[0], x[0])
    with pytest.raises(ValueError, match=message):
        jax.jit(jax.vmap(field))(t, x)


def test_output_that_is_no_array_names_the_class(batch, plain):
    t, x, _ = batch
    net, variables, _ = plain

    def call(module, variables, t, x, cond):
        return {"v": module.apply(variables, t, x)}

    with pytest.raises(ValueError, match="the output of MLP must have the shape of its input"):
        from_linen(net, variables, call=call)(t[0], x[0])
