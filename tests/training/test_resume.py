"""Runs that are resumed in one process: the same numbers, or a refusal that says why."""

import shutil

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kinetic_jax.training._checkpoint as checkpoint_module
from kinetic_jax import fit, from_linen, load_field, save_field
from kinetic_jax.networks import network_field
from kinetic_jax.training._storage import latest_step

KEY = jax.random.key(0)
ADAM, SGD = optax.adam(1e-2), optax.sgd(1e-2)
DATA = jnp.asarray(np.random.default_rng(0).normal(size=(12, 2)), jnp.float32)
LABELS = np.arange(12) % 3
SETTINGS = {
    "key": KEY, "optimizer": ADAM, "batch_size": 4, "cond": LABELS, "cond_dropout": 0.25,
    "checkpoint_every": 10,
}  # fmt: skip


def field(width=8):
    return network_field("mlp", (2,), key=KEY, num_classes=3, width=width, depth=1)


def arrays(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))]


def assert_same(first, second):
    for one, other in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def undisturbed():
    return fit(field(), DATA, num_steps=30, **SETTINGS)


@pytest.fixture(scope="module")
def twenty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twenty")
    fit(field(), DATA, num_steps=20, checkpoint_dir=folder, **SETTINGS)
    return folder


@pytest.fixture
def folder(twenty, tmp_path):
    """A run of 20 steps, moved to another place as it may well be."""
    return shutil.copytree(twenty, tmp_path / "run")


@pytest.mark.parametrize("stops", [(20,), (10, 11, 25)], ids=str)
def test_resumed_runs_are_bitwise_the_same(stops, undisturbed, tmp_path):
    for steps in (*stops, 30):
        result = fit(field(), DATA, num_steps=steps, checkpoint_dir=tmp_path, **SETTINGS)
        assert result.history.loss.shape == (steps,)
    assert_same(result.field, undisturbed.field)
    assert_same(result.ema_field, undisturbed.ema_field)
    np.testing.assert_array_equal(result.history.loss, undisturbed.history.loss)
    assert_same(load_field(tmp_path), undisturbed.ema_field)


@pytest.mark.parametrize(
    "optimizer",
    [SGD, optax.adamw(optax.linear_schedule(1e-2, 0.0, 30)), optax.sgd(1e-2, momentum=0.9)],
    ids=["no state", "schedule", "momentum"],
)
def test_every_optimizer_resumes(optimizer, tmp_path):
    settings = SETTINGS | {"optimizer": optimizer}
    want = fit(field(), DATA, num_steps=8, **settings)
    fit(field(), DATA, num_steps=5, checkpoint_dir=tmp_path, **settings)
    assert_same(fit(field(), DATA, num_steps=8, checkpoint_dir=tmp_path, **settings), want)


def test_fields_of_ones_own_resume(tmp_path):
    class Own(eqx.Module):
        weight: jax.Array

        def __call__(self, t, x, cond=None):
            return self.weight * x

    settings = {"key": KEY, "optimizer": ADAM, "batch_size": 4}
    start = Own(jnp.ones(2))
    want = fit(start, DATA, num_steps=8, **settings)
    fit(start, DATA, num_steps=5, checkpoint_dir=tmp_path, **settings)
    assert_same(fit(start, DATA, num_steps=8, checkpoint_dir=tmp_path, **settings), want)
    with pytest.raises(ValueError, match=f"checkpoint {tmp_path}/8 must hold a field made by"):
        load_field(tmp_path)


class Calling(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


NET = Calling()
WEIGHTS = NET.init(KEY, jnp.zeros((1, 2)))


def called(scale, start=WEIGHTS):
    """A field whose function holds a number in no array."""
    return from_linen(NET, start, call=lambda m, v, t, x, c: scale * m.apply(v, x))


def holding(array):
    return from_linen(NET, WEIGHTS, call=lambda m, v, t, x, c: m.apply(v, x) + array[0] * 1e-9)


def test_another_function_of_the_same_weights_is_refused(tmp_path):
    settings = {"key": KEY, "optimizer": ADAM, "batch_size": 4}
    fit(called(1.0), DATA, num_steps=4, checkpoint_dir=tmp_path, **settings)
    with pytest.raises(ValueError, match=r"field must be what the checkpoints .* got another"):
        fit(called(-100.0), DATA, num_steps=8, checkpoint_dir=tmp_path, **settings)
    other = jax.tree.map(lambda leaf: leaf + 1, WEIGHTS)  # where it began does not matter
    result = fit(called(1.0, other), DATA, num_steps=8, checkpoint_dir=tmp_path, **settings)
    assert result.resumed_at == 4
    assert_same(result.field, fit(called(1.0), DATA, num_steps=8, **settings).field)


def test_half_precision_is_known_as_it_is_trained(tmp_path):
    class Own(eqx.Module):
        weight: jax.Array

        def __call__(self, t, x, cond=None):
            assert x.dtype == self.weight.dtype
            return self.weight * x

    settings = {"key": KEY, "optimizer": ADAM, "batch_size": 4, "checkpoint_dir": tmp_path}
    for steps in (2, 4):
        fit(Own(jnp.ones(2, jnp.bfloat16)), DATA.astype(jnp.bfloat16), num_steps=steps, **settings)


def test_a_split_run_goes_on(tmp_path):
    mesh = jax.make_mesh((4,), ("batch",))
    placed = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    split, labels = jax.device_put((DATA, jnp.asarray(LABELS)), placed)
    settings = {"key": KEY, "optimizer": ADAM, "batch_size": 4, "cond": labels}
    for steps in (2, 4):
        result = fit(called(1.0), split, num_steps=steps, checkpoint_dir=tmp_path, **settings)
    assert result.resumed_at == 2


def test_another_array_of_a_closure_is_refused(tmp_path):
    settings = {"key": KEY, "optimizer": ADAM, "batch_size": 4}
    for number in (1.0, 1.0):
        fit(holding(jnp.array([number])), DATA, num_steps=4, checkpoint_dir=tmp_path, **settings)
    with pytest.raises(ValueError, match=r"field must be what the checkpoints .* got another"):
        fit(holding(jnp.array([2.0])), DATA, num_steps=8, checkpoint_dir=tmp_path, **settings)


def test_the_starting_weights_of_a_resumed_run_do_not_matter(folder, undisturbed):
    other = network_field("mlp", (2,), key=jax.random.key(5), num_classes=3, width=8, depth=1)
    result = fit(other, DATA, num_steps=30, checkpoint_dir=folder, **SETTINGS)
    assert_same(result.field, undisturbed.field)


def test_finished_runs_return_what_is_stored(folder):
    stored = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    want = fit(field(), DATA, num_steps=20, **SETTINGS)
    result = fit(field(), DATA, num_steps=20, checkpoint_dir=folder, **SETTINGS)
    assert_same(result.field, want.field)
    assert_same(result.ema_field, want.ema_field)
    np.testing.assert_array_equal(result.history.loss, want.history.loss)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == stored


def test_the_newest_checkpoints_are_kept(tmp_path):
    kept = {1: {"15"}, 2: {"12", "15"}, 3: {"8", "12", "15"}}
    settings = SETTINGS | {"checkpoint_every": 4}
    for number, steps in kept.items():
        folder = tmp_path / str(number)
        fit(field(), DATA, num_steps=15, checkpoint_dir=folder, checkpoints_kept=number, **settings)
        assert {path.name for path in folder.iterdir() if path.is_dir()} == steps
    eight = load_field(tmp_path / "3", step=8)
    assert_same(eight, fit(field(), DATA, num_steps=8, **SETTINGS).ema_field)
    with pytest.raises(FileNotFoundError, match="no complete checkpoint"):
        load_field(tmp_path / "3", step=9)


def test_without_an_average_the_trained_field_is_loaded(tmp_path):
    settings = SETTINGS | {"ema": None}
    result = fit(field(), DATA, num_steps=5, checkpoint_dir=tmp_path, **settings)
    assert_same(load_field(tmp_path), result.field)


CHANGES = {
    "batch size": ({"batch_size": 5}, r"batch_size must be .* 4, got 5"),
    "ema": ({"ema": 0.9}, r"ema must be .* 0\.999, got 0\.9:"),
    "no ema": ({"ema": None}, r"ema must be .* 0\.999, got None"),
    "dropout": ({"cond_dropout": 0.5}, r"cond_dropout must be .* 0\.25, got 0\.5"),
    "key": ({"key": jax.random.key(1)}, r"key must be .*/run were made with, got another: resume"),
    "data": (
        {"data": DATA.at[3, 1].add(1e-6)},
        r"data must be .*/run were made with, got another: res",
    ),
    "labels": (
        {"cond": LABELS[::-1].copy()},
        r"cond must be .*/run were made with, got another: res",
    ),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_other_settings_are_refused(change, message, folder):
    arguments = {"data": DATA} | SETTINGS | change
    with pytest.raises(ValueError, match=message) as raised:
        fit(field(), arguments.pop("data"), num_steps=30, checkpoint_dir=folder, **arguments)
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize(
    ("start", "change", "name"),
    [(field, {"optimizer": SGD}, "optimizer"), (lambda: field(10), {}, "field")],
    ids=["optimizer", "network"],
)
def test_other_structures_are_refused(start, change, name, folder):
    with pytest.raises(ValueError, match=f"{name} must be what the checkpoints in {folder}"):
        fit(start(), DATA, num_steps=30, checkpoint_dir=folder, **SETTINGS | change)


def test_a_saved_field_is_no_run(tmp_path):
    save_field(tmp_path, field())
    with pytest.raises(ValueError, match=f"must hold checkpoints of fit, got .*{tmp_path}"):
        fit(field(), DATA, num_steps=30, checkpoint_dir=tmp_path, **SETTINGS)


def test_old_and_new_keys_are_one(folder, undisturbed):
    # jax.random.PRNGKey(0) is the raw form of jax.random.key(0).
    settings = SETTINGS | {"key": jax.random.PRNGKey(0)}
    assert_same(fit(field(), DATA, num_steps=30, checkpoint_dir=folder, **settings), undisturbed)


# TensorStore drops the errors of the reads that it had begun beside the one it reports.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("item", ["field", "ema", "optimizer", "history", "step"])
def test_damaged_runs_are_refused(item, folder):
    for path in (folder / "20" / item / "d").iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"checkpoint {folder}/20 "):
        fit(field(), DATA, num_steps=30, checkpoint_dir=folder, **SETTINGS)
    # Nothing is deleted or written over: whoever moves the damaged one away goes on from before.
    assert latest_step(folder) == 20
    assert load_field(folder, step=10).event_shape == (2,)


def test_another_network_is_refused_even_with_weights_of_the_same_shapes(tmp_path):
    """`time_bins` and `heads` change what a network computes, but no shape of its weights."""
    key, data = jax.random.key(0), jnp.zeros((4, 2))
    options = {"key": key, "optimizer": optax.adam(1e-3), "batch_size": 2}
    build = lambda frequency: network_field(  # noqa: E731
        "mlp", (2,), key=key, width=8, depth=1, max_frequency=frequency
    )
    fit(build(100.0), data, num_steps=2, checkpoint_dir=tmp_path, **options)
    with pytest.raises(ValueError, match=r"field must be what the checkpoints .* were made with"):
        fit(build(10.0), data, num_steps=4, checkpoint_dir=tmp_path, **options)
    other = options | {"optimizer": optax.sgd(1e-3, momentum=0.9)}
    with pytest.raises(ValueError, match=r"optimizer must be what the checkpoints"):
        fit(build(100.0), data, num_steps=4, checkpoint_dir=tmp_path, **other)


def test_fewer_steps_than_were_taken_are_refused(tmp_path):
    key, data = jax.random.key(0), jnp.zeros((4, 2))
    field = network_field("mlp", (2,), key=key, width=8, depth=1)
    options = {"key": key, "optimizer": optax.adam(1e-3), "batch_size": 2}
    fit(field, data, num_steps=4, checkpoint_dir=tmp_path, **options)
    with pytest.raises(ValueError, match="steps must be at least the 4 that were already taken"):
        fit(field, data, num_steps=2, checkpoint_dir=tmp_path, **options)


def test_a_field_is_not_saved_over_a_run(tmp_path):
    key, data = jax.random.key(0), jnp.zeros((4, 2))
    field = network_field("mlp", (2,), key=key, width=8, depth=1)
    options = {"key": key, "optimizer": optax.adam(1e-3), "batch_size": 2}
    fit(field, data, num_steps=4, checkpoint_dir=tmp_path, **options)
    with pytest.raises(ValueError, match="must not hold checkpoints of fit"):
        save_field(tmp_path, field)
    assert fit(field, data, num_steps=4, checkpoint_dir=tmp_path, **options).history.loss.shape == (
        4,
    )


def test_a_folder_that_cannot_be_is_refused_before_training(tmp_path):
    (tmp_path / "taken").write_text("")
    field = network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1)
    with pytest.raises(ValueError, match=r"checkpoint_dir must be a folder to write to"):
        fit(
            field, jnp.zeros((4, 2)), num_steps=4, checkpoint_dir=tmp_path / "taken",
            key=jax.random.key(0), optimizer=optax.adam(1e-3), batch_size=2,
        )  # fmt: skip


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(
    ("start", "options", "name"),
    [(lambda t, x, c: x, {}, "field"), (field(), {"progress": "yes"}, "progress")],
)
def test_what_is_refused_leaves_no_folder(start, options, name, tmp_path):
    settings = {"key": KEY, "optimizer": ADAM, "batch_size": 4} | options
    with pytest.raises(ValueError, match=f"{name} must be"):
        fit(start, DATA, num_steps=4, checkpoint_dir=tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    """A numbered folder that is no checkpoint: refused by name, and left as it was."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "diary.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"checkpoint .*7 is damaged or does not fit"):
        save_field(tmp_path, network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1))
    assert (tmp_path / "7" / "diary.txt").read_text() == "dear"


def test_an_optimizer_that_holds_a_random_key_resumes(tmp_path):
    noisy = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(3)), optax.sgd(0.01))
    field = network_field("mlp", (2,), key=jax.random.key(0), width=8, depth=1)
    data = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)), jnp.float32)

    def run(folder, steps):
        return fit(
            field, data, key=jax.random.key(1), num_steps=steps, optimizer=noisy, batch_size=4,
            checkpoint_dir=folder,
        )  # fmt: skip

    uninterrupted = run(None, 6)
    run(tmp_path, 3)
    resumed = run(tmp_path, 6)
    assert (uninterrupted.resumed_at, resumed.resumed_at) == (0, 3)
    assert_same(uninterrupted.field, resumed.field)


def test_a_field_can_be_read_while_it_is_replaced(tmp_path, monkeypatch):
    """A checkpoint that is replaced before it is read: the new one is read instead."""
    old, new = (network_field("mlp", (2,), key=jax.random.key(i), width=8, depth=1) for i in (0, 1))
    save_field(tmp_path, old)
    read, steps = checkpoint_module._load, []

    def slow(folder, step, ema):
        steps.append(step)
        if len(steps) == 1:
            save_field(tmp_path, new)
        return read(folder, step, ema)

    monkeypatch.setattr(checkpoint_module, "_load", slow)
    loaded = load_field(tmp_path)
    assert steps == [0, 1]
    for one, other in zip(jax.tree.leaves(loaded), jax.tree.leaves(new), strict=True):
        np.testing.assert_array_equal(one, other)
