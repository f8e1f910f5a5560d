"""`fit` learns, keeps the caller's arrays, and refuses wrong arguments."""

import functools
import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import kinetic_jax.training._fit as fit_module
from kinetic_jax import fit, from_linen, from_nnx, sample
from kinetic_jax.networks import network_field

KEY = jax.random.key(0)
ADAM = optax.adam(1e-2)  # one object: an optimizer is static, another one compiles again
PLAIN = {"key": KEY, "optimizer": ADAM, "batch_size": 4}


@functools.cache
def mlp(**settings):
    """Drawn by NumPy, as drawing by JAX compiles many programs; the last layer stands still."""
    settings |= {"key": KEY, "width": 16, "depth": 1}
    shapes = eqx.filter_eval_shape(lambda: network_field("mlp", (2,), **settings))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        scale = 0.0 if "last" in jax.tree_util.keystr(path) else leaf.shape[0] ** -0.5
        return jax.device_put((scale * rng.normal(size=leaf.shape)).astype(leaf.dtype))

    return jax.tree_util.tree_map_with_path(draw, shapes)


def rows(number=12, dtype=np.float32):
    return jax.device_put((np.random.default_rng(0).normal(size=(number, 2)) + 1.0).astype(dtype))


def arrays(field):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(field, eqx.is_inexact_array))]


def assert_same(first, second):
    for one, other in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_learns_a_small_problem():
    data = np.random.default_rng(0).normal([2.0, -1.0], 0.2, (256, 2)).astype(np.float32)
    result = fit(mlp(), data, key=KEY, num_steps=500, optimizer=ADAM, batch_size=64, ema=0.99)
    x0 = np.random.default_rng(1).normal(size=(500, 2)).astype(np.float32)
    ends = sample(result.ema_field, x0, num_steps=50).check()
    np.testing.assert_allclose(np.mean(ends.x1, axis=0), [2.0, -1.0], atol=0.1)
    np.testing.assert_allclose(np.std(ends.x1, axis=0), [0.2, 0.2], atol=0.1)
    # The loss comes down to that of the exact field, d π s / 2.
    assert np.mean(result.history.loss[-300:]) == pytest.approx(2 * np.pi * 0.2 / 2, rel=0.15)
    assert np.mean(result.history.loss[:5]) > 4


LABELLED = {"key": KEY, "optimizer": ADAM, "batch_size": 8}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_label_dropout(share):
    field = mlp(num_classes=4)
    cond = np.arange(12) % 3  # class 3 has no rows
    common = LABELLED | {"num_steps": 10, "cond_dropout": share}
    trained = fit(field, rows(), cond=cond, **common).field
    tables = [
        np.asarray(f.velocity.state["embedding"]["classes"]["embedding"]) for f in (field, trained)
    ]
    changed = [bool(np.any(old != new)) for old, new in zip(*tables, strict=True)]
    # Without dropout the null class (row 4) is never seen; with all dropped, nothing else is.
    assert changed == ([True, True, True, False, False] if share == 0 else [False] * 4 + [True])
    if share == 1:
        other = fit(field, rows(), cond=(cond + 1) % 4, **common).field
        assert_same(trained, other)


def test_conditions_are_pytrees_that_keep_their_dtype():
    seen = []

    class Told(eqx.Module):
        weight: jax.Array

        def __call__(self, t, x, cond=None):
            seen.append((cond["label"].dtype, cond["label"].shape, cond["vector"].dtype))
            return self.weight * cond["vector"] * cond["label"].astype(x.dtype)

    # v = w c with data 0: the least squares solution is E[−x0·c]/E||c||² = 0.
    cond = {"label": np.ones(12, np.int16), "vector": np.ones((12, 2), np.float32)}
    null = {"label": 0, "vector": np.zeros(2)}
    settings = {"key": KEY, "num_steps": 3, "optimizer": optax.sgd(0.1), "batch_size": 8}
    data, told = np.zeros((12, 2), np.float32), Told(jnp.array(1.0))
    result = fit(told, data, cond=cond, null_cond=null, cond_dropout=1.0, **settings)
    assert set(seen) == {(jnp.dtype("int16"), (), jnp.dtype("float32"))}
    np.testing.assert_array_equal(result.field.weight, 1.0)  # every label was "none"
    kept = fit(told, data, cond=cond, null_cond=null, cond_dropout=0.0, **settings)
    assert kept.field.weight < 1


def test_the_callers_field_and_data_stay():
    field, data = mlp(num_classes=4), rows()
    before, kept = arrays(field), np.array(data)
    cond, null = jax.device_put((np.arange(12) % 3, np.int32(4)))
    settings = LABELLED | {"num_steps": 5}
    result = fit(field, data, cond=cond, null_cond=null, **settings)
    for one, other in zip(before, arrays(field), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(kept, data)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((field, data, cond, null)))
    # Nor does what a run returns belong to the next one.
    again = fit(result.field, data, cond=cond, **settings)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((result.field, result.ema_field)))
    assert any(
        np.any(a != b) for a, b in zip(arrays(again.field), arrays(result.field), strict=True)
    )


@pytest.fixture(scope="module")
def thirty():
    return fit(mlp(), rows(), num_steps=30, **PLAIN)


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["one step a call", "doubling"])
def test_calls_do_not_change_the_numbers(seconds, thirty, monkeypatch):
    monkeypatch.setattr(fit_module, "SECONDS_PER_CALL", seconds)
    got = fit(mlp(), rows(), num_steps=30, **PLAIN)
    assert_same(got, thirty)
    np.testing.assert_array_equal(got.history.loss, thirty.history.loss)


@pytest.mark.parametrize("every", [1, 3, 1000])
def test_checkpoints_do_not_change_the_numbers(every, tmp_path):
    want = fit(mlp(), rows(), num_steps=7, **PLAIN)
    folder = {"checkpoint_dir": tmp_path, "checkpoint_every": every}
    got = fit(mlp(), rows(), num_steps=7, **PLAIN, **folder)
    assert_same(got, want)
    np.testing.assert_array_equal(got.history.loss, want.history.loss)


def test_longer_runs_begin_like_shorter_ones(thirty):
    short = fit(mlp(), rows(), num_steps=10, **PLAIN)
    np.testing.assert_array_equal(thirty.history.loss[:10], short.history.loss)
    other = fit(mlp(), rows(), num_steps=10, **PLAIN | {"key": jax.random.key(1)})
    assert np.all(other.history.loss != short.history.loss)


def test_no_steps():
    field = mlp()
    result = fit(field, rows(), num_steps=0, **PLAIN)
    assert_same(result.field, field)
    assert_same(result.ema_field, field)
    assert result.history.loss.shape == (0,)


def test_outside_the_main_thread():
    # Signals cannot be caught there: training goes on without.
    settings = PLAIN | {"num_steps": 5}
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(mlp(), rows(), **settings)))
    thread.start()
    thread.join()
    assert_same(results[0], fit(mlp(), rows(), **settings))


def memmap(path):
    array = np.memmap(path / "rows", np.float32, "w+", shape=(12, 2))
    array[:] = 1.0
    return array


def with_one(number):
    data = np.array(rows())
    data[3, 1] = number
    return data


BAD = {
    "no rows": ({"data": np.zeros((0, 2), np.float32)}, r"data must have rows, got shape \(0, 2\)"),
    "nan": ({"data": with_one(np.nan)}, r"data must be finite"),
    "infinite": ({"data": with_one(np.inf)}, r"data must be finite"),
    "overflow": ({"data": np.full((4, 2), 1e300)}, r"data must be finite"),
    "integers": ({"data": np.ones((4, 2), np.int32)}, r"data must be floating, got dtype int32"),
    "memmap": ({"data": memmap}, r"data must be in memory, got a numpy.memmap"),
    "event": (
        {"data": np.zeros((4, 3), np.float32)},
        r"data must have the field's event shape, \(2,\), got rows of",
    ),
    "cond rows": ({"cond": np.zeros(11, int)}, r"cond must have 12, as data, got 11 rows"),
    "cond leaves": (
        {"cond": {"a": np.zeros(12), "b": np.zeros(11)}}, r"cond must share one leading batch axis"
    ),
    "num_steps": ({"num_steps": -1}, r"num_steps must be a whole number >= 0, got -1"),
    "batch size": ({"batch_size": 0}, r"batch_size must be a whole number >= 1, got 0"),
    "checkpoint_every": (
        {"checkpoint_every": 0}, r"checkpoint_every must be a whole number >= 1, got 0"
    ),
    "checkpoints_kept": (
        {"checkpoints_kept": 0}, r"checkpoints_kept must be a whole number >= 1, got 0"
    ),
    "ema of one": ({"ema": 1.0}, r"ema must be None or lie in \[0, 1\), got 1.0"),
    "negative ema": ({"ema": -0.1}, r"ema must be None or lie in \[0, 1\), got -0.1"),
    "dropout": ({"cond_dropout": 1.5}, r"cond_dropout must lie in \[0, 1\], got 1.5"),
    "null of no numbers": ({"null_cond": [None]}, r"null_cond must hold numbers, got \[None\]"),
    "dropout alone": (
        {"cond_dropout": 0.1}, r"cond_dropout must be 0 without cond and a null_cond"
    ),
    "dropout without null": (
        {"cond_dropout": 0.1, "cond": np.zeros(12, int)},
        r"cond_dropout must be 0 without cond and a null_cond",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
@pytest.mark.usefixtures("own_messages")
def test_errors(change, message, tmp_path):
    arguments = {"data": rows(), "key": KEY, "num_steps": 5, "optimizer": ADAM, "batch_size": 4}
    arguments |= {name: v(tmp_path) if callable(v) else v for name, v in change.items()}
    with pytest.raises(ValueError, match=message):
        fit(mlp(), arguments.pop("data"), **arguments)


def test_closures_cannot_be_trained():
    weight = jnp.ones(2)
    with pytest.raises(ValueError, match="field must be a pytree with floating arrays to train"):
        fit(lambda t, x, cond=None: weight * x, rows(), key=KEY, num_steps=1, optimizer=ADAM,
            batch_size=4)  # fmt: skip


def test_loss_that_is_not_finite(tmp_path):
    # Step 0 throws the last layer to about 1e30, whose square is beyond float32.
    settings = {"key": KEY, "num_steps": 9, "optimizer": optax.sgd(1e30), "batch_size": 4}
    message = rf"the loss of step 1 is not finite; the last checkpoint is in {tmp_path}"
    with pytest.raises(FloatingPointError, match=message):
        fit(mlp(), rows(), checkpoint_dir=tmp_path, checkpoint_every=1, **settings)
    kept = fit(mlp(), rows(), checkpoint_dir=tmp_path, **settings | {"num_steps": 1})
    assert all(np.all(np.isfinite(leaf)) for leaf in arrays(kept))
    assert max(np.max(np.abs(leaf)) for leaf in arrays(kept.field)) > 1e20
    with pytest.raises(FloatingPointError, match=r"the loss of step 1 is not finite$"):
        fit(mlp(), rows(), **settings)


def test_parameters_that_are_not_finite(tmp_path):
    class Root(eqx.Module):
        weight: jax.Array

        def __call__(self, t, x, cond=None):
            return jnp.sqrt(self.weight * self.weight) * x  # finite at 0, its derivative is not

    settings = {"key": KEY, "num_steps": 1, "optimizer": ADAM, "batch_size": 4}
    for folder in (None, tmp_path):
        with pytest.raises(FloatingPointError, match="the parameters after 1 steps are not finite"):
            fit(Root(jnp.array(0.0)), rows(), checkpoint_dir=folder, **settings)
    # They replaced no checkpoint: there is none to resume from.
    assert (
        fit(Root(jnp.array(0.5)), rows(), checkpoint_dir=tmp_path, **settings).history.loss.size
        == 1
    )


NEEDS_LOSS = {
    "reduce_on_plateau": lambda: optax.chain(
        optax.sgd(0.2), optax.contrib.reduce_on_plateau(patience=20, factor=0.5, atol=1e-3)
    ),
    "polyak_sgd": lambda: optax.polyak_sgd(max_learning_rate=0.05),
    "lbfgs": lambda: optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(5)),
}


class Constant(eqx.Module):
    """v = w: the loss is E||x0||² + ||w − x1||², 2 at its least in two dimensions."""

    w: jax.Array

    def __call__(self, t, x, cond=None):
        return self.w


@pytest.mark.parametrize("build", NEEDS_LOSS.values(), ids=NEEDS_LOSS)
def test_optimizers_that_need_the_loss(build):
    settings = {"key": KEY, "batch_size": 256, "num_steps": 200, "optimizer": build()}
    start, data = Constant(jax.device_put(np.zeros(2, np.float32))), np.full((8, 2), 3, np.float32)
    result = fit(start, data, ema=0.9, **settings)
    np.testing.assert_allclose(result.ema_field.w, [3.0, 3.0], atol=0.15)
    assert np.mean(result.history.loss[-50:]) == pytest.approx(2.0, rel=0.1)


class WithBuffers(nnx.Module):
    """Parameters beside running statistics and a constant table."""

    def __init__(self):
        self.layer = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0))
        self.table = nnx.Variable(jnp.array([1.0, 2.0]))

    def __call__(self, t, x):
        return self.norm(self.layer(x)) * self.table[...]


def test_only_parameters_of_a_flax_network_are_trained():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        field = from_nnx(WithBuffers())
        result = fit(field, rows(), key=KEY, num_steps=5, optimizer=ADAM, batch_size=4)
    before, after = (
        {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (field.state, result.field.state)
    )
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    trained = {path for path in before if "kernel" in path or "bias" in path or "scale" in path}
    assert changed == trained
    assert len(before) - len(trained) == 3  # mean, var and the table


class LinenBuffers(nn.Module):
    @nn.compact
    def __call__(self, t, x):
        table = self.variable("constants", "table", lambda: jnp.array([1.0, 2.0]))
        return nn.Dense(2)(x) * table.value[None, :]


def test_only_the_params_collection_is_trained():
    module = LinenBuffers()
    variables = jax.jit(module.init)(KEY, np.zeros(1, np.float32), np.zeros((1, 2), np.float32))
    result = fit(
        from_linen(module, variables), rows(), key=KEY, num_steps=3, optimizer=ADAM, batch_size=4
    )
    np.testing.assert_array_equal(result.field.variables["constants"]["table"], [1.0, 2.0])
    kernel = result.field.variables["params"]["Dense_0"]["kernel"]
    assert not np.array_equal(kernel, variables["params"]["Dense_0"]["kernel"])
