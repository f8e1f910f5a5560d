"""`from_nnx`: the model as it is in evaluation mode, and the caller's model left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax import from_nnx, sample

BATCH, DIM = 5, 3


class MLP(nnx.Module):
    def __init__(self, rngs, dtype=None):
        self.hidden = nnx.Linear(DIM + 1, 16, dtype=dtype, rngs=rngs)
        self.out = nnx.Linear(16, DIM, dtype=dtype, rngs=rngs)

    def __call__(self, t, x, cond=None):
        h = nnx.silu(self.hidden(jnp.concatenate([x, t[:, None]], axis=1)))
        out = self.out(h)
        return out if cond is None else out + cond["shift"] * cond["label"][:, None]


class Trained(nnx.Module):
    """Dropout and batch statistics: what differs between training and evaluation."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(DIM, DIM, rngs=rngs)
        self.norm = nnx.BatchNorm(DIM, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, t, x):
        return self.dropout(self.norm(self.linear(x))) + t[:, None]


class Counter(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(DIM, DIM, rngs=rngs)
        self.calls = nnx.Variable(jnp.array(0))

    def __call__(self, t, x):
        self.calls[...] += 1
        return self.linear(x)


class Noisy(nnx.Module):
    def __init__(self, rngs):
        self.rngs = rngs

    def __call__(self, t, x):
        return x + jax.random.normal(self.rngs.noise(), x.shape)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    t, x = rng.uniform(size=BATCH), rng.normal(size=(BATCH, DIM))
    return jax.device_put((np.float32(t), np.float32(x)))


def native_call(model, *args):
    """By one program, in place of one an operation."""
    return jax.jit(lambda *args: model(*args))(*args)


def on_batch(field, *args):
    return jax.jit(lambda field, *args: jax.vmap(field)(*args))(field, *args)


def arrays_of(model):
    arrays = {}
    for path, leaf in jax.tree.leaves_with_path(nnx.as_pure(nnx.state(model))):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        value = jax.random.key_data(leaf) if is_key else leaf
        arrays[jax.tree_util.keystr(path)] = np.array(value)  # a copy
    return arrays


def assert_same_arrays(before, after):
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)


def test_native_call(batch):
    t, x = batch
    model = MLP(nnx.Rngs(0))
    field, native = from_nnx(model), np.asarray(native_call(model, t, x))
    np.testing.assert_allclose(on_batch(field, t, x), native, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(field(t[2], x[2]), native[2], rtol=1e-5, atol=1e-6)


def test_condition_reaches_the_model(batch):
    t, x = batch
    model = MLP(nnx.Rngs(0))
    cond = {"label": np.arange(5, dtype=np.float32), "shift": np.flip(x, 1)}
    got = np.asarray(on_batch(from_nnx(model), t, x, cond))
    np.testing.assert_allclose(got, native_call(model, t, x, cond), rtol=1e-5, atol=1e-6)
    assert not np.allclose(got[1:], np.asarray(native_call(model, t, x))[1:])


def test_call_adapts_the_order_of_arguments(batch):
    t, x = batch

    class Other(nnx.Module):
        def __call__(self, cond, *, time, images):
            return images * time[:, None] + cond[:, None]

    def call(model, t, x, cond):
        return model(cond, time=t, images=x)

    got = on_batch(from_nnx(Other(), call=call), t, x, np.arange(5, dtype=np.float32))
    wanted = np.asarray(x) * np.asarray(t)[:, None] + np.arange(5.0)[:, None]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_bfloat16_output_is_cast(batch):
    t, x = batch
    model = MLP(nnx.Rngs(0), dtype=jnp.bfloat16)
    native = np.asarray(native_call(model, t, x))
    assert native.dtype == jnp.bfloat16
    got = np.asarray(on_batch(from_nnx(model), t, x))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, got.astype(jnp.bfloat16).astype(np.float32))
    np.testing.assert_allclose(got, native.astype(np.float32), rtol=0.03, atol=0.01)


def test_field_evaluates_and_the_model_keeps_training(batch):
    t, x = batch
    model = Trained(nnx.Rngs(0))
    model.train()
    model(t, x)  # batch statistics that are not the initial ones
    before = arrays_of(model)
    field = from_nnx(model)
    got = on_batch(field, t, x)
    kernel, bias = (np.float64(v[...]) for v in (model.linear.kernel, model.linear.bias))
    linear = np.float64(x) @ kernel + bias
    mean, var = (np.asarray(v[...], np.float64) for v in (model.norm.mean, model.norm.var))
    want = (linear - mean) / np.sqrt(var + 1e-5) + np.asarray(t)[:, None]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert not model.dropout.deterministic
    assert not model.norm.use_running_average
    assert_same_arrays(before, arrays_of(model))
    # In training mode the model itself still drops and still moves its statistics.
    dropped = np.asarray(model(t, x)) - np.asarray(t)[:, None]
    assert np.any(dropped == 0)
    assert np.any(np.asarray(model.norm.mean[...]) != mean)


def test_sampling_leaves_the_model_alone(batch):
    _, x = batch
    model = Trained(nnx.Rngs(0))
    before, graphdef = arrays_of(model), nnx.graphdef(model)
    sample(from_nnx(model), x, num_steps=3)
    assert_same_arrays(before, arrays_of(model))
    assert nnx.graphdef(model) == graphdef


def test_later_updates_do_not_reach_the_field(batch):
    t, x = batch
    model = MLP(nnx.Rngs(0))
    field = from_nnx(model)
    before = field(t[0], x[0])
    model.out.bias[...] = model.out.bias[...] + 1
    model.hidden.kernel[...] = 2 * model.hidden.kernel[...]
    np.testing.assert_array_equal(field(t[0], x[0]), before)
    assert np.all(np.abs(np.asarray(from_nnx(model)(t[0], x[0])) - before) > 1e-3)


USES = {
    "eager": lambda field, t, x: field(t[0], x[0]),
    "jit": lambda field, t, x: jax.jit(lambda field, t, x: field(t, x))(field, t[0], x[0]),
    "vmap": lambda field, t, x: jax.vmap(field)(t, x),
    "sample": lambda field, t, x: sample(field, x, num_steps=2),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Counter, r"model Counter must leave its variables .*changes \['calls'\]"),
        (Noisy, r"model Noisy must leave its variables .*changes \['rngs'\]\['noise'\]\['count'\]"),
    ],
)
def test_a_call_that_changes_variables_is_refused(batch, model, message, use):
    field = from_nnx(model(nnx.Rngs(0, noise=1)))
    with pytest.raises(ValueError, match=message):
        use(field, *batch)


def test_wrong_output_shape_names_the_class(batch):
    t, x = batch

    def call(model, t, x, cond):
        return model(t, x)[:, :2]

    with pytest.raises(ValueError, match=r"the output of MLP must .*\(1, 3\).* got shape \(1, 2\)"):
        from_nnx(MLP(nnx.Rngs(0)), call=call)(t[0], x[0])


class Drawn(nnx.Module):
    """Draws a key at every call, and needs it in training only."""

    def __init__(self, rngs):
        self.dropout = nnx.Dropout(0.5)
        self.rngs = rngs

    def __call__(self, t, x):
        return self.dropout(2 * x, rngs=self.rngs.noise.fork())


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_counter_of_a_stream_that_decides_nothing_is_no_state(batch, use):
    model = Drawn(nnx.Rngs(0, noise=1))
    model(*batch)
    before = arrays_of(model)
    use(from_nnx(model), *batch)
    np.testing.assert_array_equal(from_nnx(model)(batch[0][0], batch[1][0]), 2 * batch[1][0])
    assert_same_arrays(before, arrays_of(model))


def test_args_are_traced_and_not_trained(batch):
    t, x = batch
    traces = []

    def call(model, args, t, x, cond):
        traces.append(1)
        return args["scale"] * model(t, x) + args["shift"][None]

    field = lambda scale: from_nnx(  # noqa: E731
        MLP(nnx.Rngs(0)), call=call, args={"scale": scale, "shift": jnp.ones(DIM)}
    )

    def want(scale):
        return scale * MLP(nnx.Rngs(0))(t, x) + 1

    run = jax.jit(lambda field: jax.vmap(field)(t, x))
    for scale in (2.0, -3.0):
        np.testing.assert_allclose(run(field(scale)), want(scale), rtol=1e-5, atol=1e-5)
    assert len(traces) == 1
    trained = field(2.0).trainable()
    assert jax.tree.leaves(trained.args) == [False, False]
    assert all(jax.tree.leaves(trained.state))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"call": "model"}, r"call must be callable as call\(model, t, x, cond\), got 'model'"),
        ({"call": lambda model, t, x: x}, r"call must be callable as call\(model, t, x, cond\)"),
        ({"args": 2.0}, "args must come with a call that takes them, got 2.0"),
        (
            {"args": 2.0, "call": lambda model, t, x, cond: x},
            r"call must be callable as call\(model, args, t, x, cond\)",
        ),
        ({"event_shape": 3}, "event_shape must be a tuple of whole numbers >= 1, got 3"),
        ({"event_shape": (0,)}, "event_shape must be a tuple of whole numbers >= 1"),
    ],
)
def test_wrong_arguments(arguments, message, own_messages):
    with pytest.raises(ValueError, match=message):
        from_nnx(MLP(nnx.Rngs(0)), **arguments)


def test_a_declared_event_shape_is_checked(batch):
    field = from_nnx(MLP(nnx.Rngs(0)), event_shape=(DIM + 1,))
    with pytest.raises(
        ValueError, match=r"x0 must have the field's event shape, \(4,\), got rows of shape"
    ):
        sample(field, batch[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda out: out.astype(complex),
            "the output of MLP must be floating, got dtype complex64",
        ),
        (lambda out: out.astype(int), "the output of MLP must be floating, got dtype int32"),
        (
            lambda out: (out, out),
            r"the output of MLP must have the shape .*got a tuple",
        ),
        (lambda out: {"v": out}, r"the output of MLP must have the shape .*got a dict"),
        (lambda out: 1.0, r"the output of MLP must have the shape .*got a float"),
    ],
)
def test_an_output_that_is_no_real_array_is_refused(batch, change, message):
    def call(model, t, x, cond):
        return change(model(t, x))

    with pytest.raises(ValueError, match=message):
        from_nnx(MLP(nnx.Rngs(0)), call=call)(batch[0][0], batch[1][0])
