"""Runs that are resumed in one process: the same numbers, or a refusal that says why."""

import functools
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

pytestmark = pytest.mark.long

KEY = jax.random.key(0)
ADAM, SGD = optax.adam(1e-2), optax.sgd(1e-2)
DATA = jax.device_put(np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32))
LABELS = np.arange(12) % 3
UNLABELLED = {"key": KEY, "optimizer": ADAM, "batch_size": 4}
SETTINGS = UNLABELLED | {"cond": LABELS, "cond_dropout": 0.25, "checkpoint_every": 10}


@functools.cache
def field(width=8, seed=0, **settings):
    settings |= {"key": KEY, "num_classes": 3, "width": width, "depth": 1}
    shapes = eqx.filter_eval_shape(lambda: network_field("mlp", (2,), **settings))
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jax.device_put(0.5 * rng.normal(size=leaf.shape).astype(leaf.dtype)), shapes
    )


class Own(eqx.Module):
    """A field that compiles faster than a network."""

    weight: jax.Array

    def __call__(self, t, x, cond=None):
        assert x.dtype == self.weight.dtype
        return self.weight * x


OWN = Own(jax.device_put(np.ones(2, np.float32)))


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


def test_resumed_runs_are_bitwise_the_same(undisturbed, tmp_path):
    for steps in (10, 11, 25, 30):
        result = fit(field(), DATA, num_steps=steps, checkpoint_dir=tmp_path, **SETTINGS)
        assert result.history.loss.shape == (steps,)
    assert_same(result.field, undisturbed.field)
    assert_same(result.ema_field, undisturbed.ema_field)
    np.testing.assert_array_equal(result.history.loss, undisturbed.history.loss)
    assert_same(load_field(tmp_path), undisturbed.ema_field)


OPTIMIZERS = {
    "no state": SGD,
    "random key, schedule and momentum": optax.chain(
        optax.add_noise(0.1, 0.5, jax.random.key(3)),
        optax.sgd(optax.linear_schedule(1e-2, 0.0, 30), momentum=0.9),
    ),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_and_a_field_of_ones_own_resume(optimizer, tmp_path):
    settings = UNLABELLED | {"optimizer": optimizer}
    want = fit(OWN, DATA, num_steps=8, **settings)
    fit(OWN, DATA, num_steps=5, checkpoint_dir=tmp_path, **settings)
    resumed = fit(OWN, DATA, num_steps=8, checkpoint_dir=tmp_path, **settings)
    assert (want.resumed_at, resumed.resumed_at) == (0, 5)
    assert_same(resumed, want)
    with pytest.raises(ValueError, match=f"checkpoint {tmp_path}/8 must hold a field made by"):
        load_field(tmp_path)


class Calling(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


NET = Calling()
WEIGHTS = {"params": {"Dense_0": {
    "kernel": jax.device_put(np.random.default_rng(1).normal(size=(2, 2)).astype(np.float32)),
    "bias": jax.device_put(np.zeros(2, np.float32)),
}}}  # fmt: skip


def called(scale, start=WEIGHTS):
    """A field whose function holds a number in no array."""
    return from_linen(NET, start, call=lambda m, v, t, x, c: scale * m.apply(v, x))


def holding(array):
    return from_linen(NET, WEIGHTS, call=lambda m, v, t, x, c: m.apply(v, x) + array[0] * 1e-9)


def test_another_function_of_the_same_weights_is_refused(tmp_path):
    start = called(1.0)  # another object is another program
    fit(start, DATA, num_steps=4, checkpoint_dir=tmp_path, **UNLABELLED)
    with pytest.raises(ValueError, match=r"field must be what the checkpoints .* got another"):
        fit(called(-100.0), DATA, num_steps=8, checkpoint_dir=tmp_path, **UNLABELLED)
    # Where it began does not matter.
    other = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf) + 1), WEIGHTS)
    result = fit(called(1.0, other), DATA, num_steps=8, checkpoint_dir=tmp_path, **UNLABELLED)
    assert result.resumed_at == 4
    assert_same(result.field, fit(start, DATA, num_steps=8, **UNLABELLED).field)


def test_half_precision_is_known_as_it_is_trained(tmp_path):
    half = Own(jax.device_put(np.ones(2, jnp.bfloat16)))
    data = np.asarray(DATA).astype(jnp.bfloat16)
    for steps in (2, 4):
        fit(half, data, num_steps=steps, checkpoint_dir=tmp_path, **UNLABELLED)


def test_a_split_run_goes_on(tmp_path):
    mesh = jax.make_mesh((4,), ("batch",))
    placed = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    split, labels = jax.device_put((np.asarray(DATA), LABELS.astype(np.int32)), placed)
    settings = UNLABELLED | {"cond": labels, "checkpoint_dir": tmp_path}
    for steps in (2, 4):
        result = fit(OWN, split, num_steps=steps, **settings)
    assert result.resumed_at == 2


def test_another_array_of_a_closure_is_refused(tmp_path):
    arrays = [jax.device_put(np.array([number], np.float32)) for number in (1.0, 1.0, 2.0)]
    for array in arrays[:2]:
        fit(holding(array), DATA, num_steps=4, checkpoint_dir=tmp_path, **UNLABELLED)
    with pytest.raises(ValueError, match=r"field must be what the checkpoints .* got another"):
        fit(holding(arrays[2]), DATA, num_steps=8, checkpoint_dir=tmp_path, **UNLABELLED)


def test_the_starting_weights_of_a_resumed_run_do_not_matter(folder, undisturbed):
    result = fit(field(seed=5), DATA, num_steps=30, checkpoint_dir=folder, **SETTINGS)
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
    settings = SETTINGS | {"checkpoint_every": 4}
    for number, steps in {1: {"11"}, 2: {"8", "11"}}.items():
        folder = tmp_path / str(number)
        fit(field(), DATA, num_steps=11, checkpoint_dir=folder, checkpoints_kept=number, **settings)
        assert {path.name for path in folder.iterdir() if path.is_dir()} == steps
    eight = load_field(tmp_path / "2", step=8)
    assert_same(eight, fit(field(), DATA, num_steps=8, **SETTINGS).ema_field)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 9 .* which holds"):
        load_field(tmp_path / "2", step=9)


def test_without_an_average_the_trained_field_is_loaded(tmp_path):
    settings = SETTINGS | {"ema": None}
    result = fit(field(), DATA, num_steps=5, checkpoint_dir=tmp_path, **settings)
    assert_same(load_field(tmp_path), result.field)


MOVED = np.array(DATA)
MOVED[3, 1] += 1e-6
CHANGES = {
    "batch size": ({"batch_size": 5}, r"batch_size must be .* 4, got 5"),
    "ema": ({"ema": 0.9}, r"ema must be .* 0\.999, got 0\.9:"),
    "no ema": ({"ema": None}, r"ema must be .* 0\.999, got None"),
    "dropout": ({"cond_dropout": 0.5}, r"cond_dropout must be .* 0\.25, got 0\.5"),
    "key": ({"key": jax.random.key(1)}, r"key must be .*/run were made with, got another: resume"),
    "data": (
        {"data": MOVED},
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
    [
        (field(), {"optimizer": SGD}, "optimizer"),
        (field(), {"optimizer": optax.sgd(1e-3, momentum=0.9)}, "optimizer"),
        (field(10), {}, "field"),
        # `time_bins` and `heads`, too, change what a network computes, but no weight's shape.
        (field(max_frequency=10.0), {}, "field"),
    ],
    ids=["optimizer", "optimizer with a state", "network", "network of the same shapes"],
)
def test_other_structures_are_refused(start, change, name, folder):
    with pytest.raises(ValueError, match=f"{name} must be what the checkpoints in {folder}"):
        fit(start, DATA, num_steps=30, checkpoint_dir=folder, **SETTINGS | change)


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


def test_fewer_steps_than_were_taken_are_refused(folder):
    with pytest.raises(ValueError, match="steps must be at least the 20 that were already taken"):
        fit(field(), DATA, num_steps=2, checkpoint_dir=folder, **SETTINGS)


def test_a_field_is_not_saved_over_a_run(folder):
    with pytest.raises(ValueError, match="must not hold checkpoints of fit"):
        save_field(folder, field())
    again = fit(field(), DATA, num_steps=20, checkpoint_dir=folder, **SETTINGS)
    assert again.history.loss.shape == (20,)


def test_a_folder_that_cannot_be_is_refused_before_training(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ValueError, match=r"checkpoint_dir must be a folder to write to"):
        fit(field(), DATA, num_steps=4, checkpoint_dir=tmp_path / "taken", **SETTINGS)


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(
    ("start", "options", "name"),
    [(lambda t, x, c: x, {}, "field"), (field(), {"progress": "yes"}, "progress")],
)
def test_what_is_refused_leaves_no_folder(start, options, name, tmp_path):
    with pytest.raises(ValueError, match=f"{name} must be"):
        fit(start, DATA, num_steps=4, checkpoint_dir=tmp_path / "new", **UNLABELLED | options)
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    """A numbered folder that is no checkpoint: refused by name, and left as it was."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "diary.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"checkpoint .*7 is damaged or does not fit"):
        save_field(tmp_path, field())
    assert (tmp_path / "7" / "diary.txt").read_text() == "dear"


def test_a_field_can_be_read_while_it_is_replaced(tmp_path, monkeypatch):
    """A checkpoint that is replaced before it is read: the new one is read instead."""
    old, new = field(), field(seed=1)
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
    assert_same(loaded, new)
