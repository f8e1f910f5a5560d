"""`reflow`: its pairs, how it resumes, what it refuses, and that energy and excess fall."""

import json
import signal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kinetic_jax.training._pairs as pairs_module
import kinetic_jax.training._reflow as reflow_module
from kinetic_jax import GaussianField, fit, from_reversed_time, kts, load_field, noise, sample
from kinetic_jax.fields import Field
from kinetic_jax.metrics import efficiency, transport_bounds
from kinetic_jax.networks import network_field
from kinetic_jax.training import reflow

pytestmark = pytest.mark.long

KEY = jax.random.key(0)
ADAM = optax.adam(1e-2)
MEAN = np.array([1.0, -0.5], np.float32)
TRAINING = {"key": KEY, "num_steps": 4, "optimizer": ADAM, "batch_size": 4}
SETTINGS = TRAINING | {"num_pairs": 10, "sample_batch": 4, "sample_steps": 5}


class Affine(Field):
    """v = A x + t b + E[label]."""

    matrix: jax.Array
    slope: jax.Array
    table: jax.Array
    event_shape = (2,)

    def __call__(self, t, x, cond=None):
        velocity = self.matrix @ x + t * self.slope
        return velocity if cond is None else velocity + self.table[cond]


def affine(seed=0, scale=0.3):
    rng = np.random.default_rng(seed)
    numbers = (scale * rng.normal(size=size) for size in ((2, 2), 2, (3, 2)))
    return Affine(*(jnp.asarray(each, jnp.float32) for each in numbers))


def assert_same(first, second):
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def pairs(monkeypatch):
    """The pairs (x0, x1, cond) of each training that runs."""
    seen, train = [], reflow_module.fit

    def noting(field, data, *, coupling, cond, num_steps, **options):
        if num_steps:
            seen.append((coupling, data, cond))
        return train(field, data, coupling=coupling, cond=cond, num_steps=num_steps, **options)

    monkeypatch.setattr(reflow_module, "fit", noting)
    return seen


@pytest.fixture
def sampled(monkeypatch):
    """The number of rows of each call of `sample` for pairs that is not under a trace."""
    calls, run = [], pairs_module.sample

    def counting(field, x0, *args, **options):
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x0)):
            calls.append(len(jax.tree.leaves(x0)[0]))
        return run(field, x0, *args, **options)

    monkeypatch.setattr(pairs_module, "sample", counting)
    return calls


def test_pairs_are_noise_and_its_samples(pairs):
    labels = np.arange(10) % 3
    grid = np.array([0.0, 0.3, 1.0])
    settings = TRAINING | {"num_pairs": 10, "solver": diffrax.Heun(), "grid": grid}
    reflow(affine(), cond=labels, **settings)
    ((x0, x1, cond),) = pairs
    np.testing.assert_array_equal(x0, noise(KEY, np.arange(10), (2,)))
    want = sample(affine(), x0, labels, solver=diffrax.Heun(), grid=grid).x1
    np.testing.assert_allclose(x1, want, rtol=1e-6)
    np.testing.assert_array_equal(cond, labels)


def test_pairs_do_not_depend_on_the_batch(pairs):
    for sample_batch, num_pairs in ((10, 10), (4, 10), (3, 7), (1000, 10)):
        settings = SETTINGS | {"sample_batch": sample_batch, "num_pairs": num_pairs}
        reflow(affine(), cond=np.arange(num_pairs) % 3, **settings)
        x0, x1, _ = pairs[-1]
        np.testing.assert_array_equal(x0, pairs[0][0][:num_pairs])
        np.testing.assert_allclose(x1, pairs[0][1][:num_pairs], rtol=1e-6)


def test_the_training_is_that_of_fit(pairs):
    """It starts from the teacher's weights, or from those of a student."""
    for student in (None, affine(1)):
        got = reflow(affine(), student=student, **SETTINGS)
        x0, x1, _ = pairs[-1]
        own = TRAINING | {"key": jax.random.fold_in(KEY, np.uint32(2**32 - 1))}
        want = fit(affine() if student is None else student, x1, coupling=x0, **own)
        assert_same((got.field, got.history), (want.field, want.history))


def test_one_condition_is_that_of_every_pair(pairs):
    one, each = (reflow(affine(), cond=np.full(n, 2), **SETTINGS) for n in (1, 10))
    assert_same(one.field, each.field)
    assert pairs[0][2].shape == (10,)


class Parts(eqx.Module):
    """A field of pytrees."""

    weight: jax.Array

    def __call__(self, t, x, cond=None):
        return {"a": self.weight * x["b"], "b": -self.weight * x["a"]}


def test_samples_of_several_arrays(pairs, tmp_path):
    shape = {"a": (2,), "b": (2,)}
    field = Parts(jnp.ones(()))
    settings = SETTINGS | {"event_shape": shape}
    first = reflow(field, checkpoint_dir=tmp_path, **settings)
    again = reflow(field, checkpoint_dir=tmp_path, **settings | {"num_steps": 6})
    x0 = noise(KEY, np.arange(10), shape)
    want = sample(field, x0, num_steps=5).x1
    for got in pairs:
        assert_same(got[0], x0)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got[1], want)
    assert (first.resumed_at, again.resumed_at) == (0, 4)


class Stopped(Exception):
    """A kill."""


@pytest.mark.parametrize("finished", [0, 1, 2, 3])
def test_a_killed_run_makes_the_missing_pairs_alone(finished, sampled, monkeypatch, tmp_path):
    want = reflow(affine(), checkpoint_dir=tmp_path / "undisturbed", **SETTINGS)
    assert sampled == [4, 4, 4]  # the last one has two pairs of its own
    folder, write = tmp_path / "killed", pairs_module.write_whole

    def killed(path, content):
        if path.name == f"pairs-{finished:05d}.npz":
            raise Stopped
        write(path, content)

    def killed_in_training(*args, **options):
        if options["num_steps"]:
            raise Stopped
        return fit(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pairs_module, "write_whole", killed)
        patch.setattr(reflow_module, "fit", killed_in_training)
        with pytest.raises(Stopped):
            reflow(affine(), checkpoint_dir=folder, **SETTINGS)
    sampled.clear()
    got = reflow(affine(), checkpoint_dir=folder, **SETTINGS)
    assert sampled == [4] * (3 - finished)
    assert_same((got.field, got.ema_field, got.history), (want.field, want.ema_field, want.history))
    names = {path.name for path in (folder / "pairs").iterdir()}
    assert names == {"settings.json", *(f"pairs-0000{i}.npz" for i in range(3))}


def test_ctrl_c_keeps_the_pairs(sampled, monkeypatch, tmp_path):
    run = pairs_module.sample

    # A background process ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupting(*args, **options):
        if sampled:
            signal.raise_signal(signal.SIGINT)
        return run(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pairs_module, "sample", interrupting)
        message = f"sampling stopped after 8 of 10 pairs; it goes on from {tmp_path}"
        try:
            with pytest.raises(KeyboardInterrupt, match=message):
                reflow(affine(), checkpoint_dir=tmp_path, **SETTINGS)
        finally:
            signal.signal(signal.SIGINT, before)
    got = reflow(affine(), checkpoint_dir=tmp_path, **SETTINGS)
    assert sampled == [4, 4, 4]
    assert_same(got.field, reflow(affine(), **SETTINGS).field)


CHANGES = {
    "num_pairs": ({"num_pairs": 11, "cond": np.arange(11) % 3}, "num_pairs must be .*, 10, got 11"),
    "sample_batch": ({"sample_batch": 5}, "sample_batch must be .*, 4, got 5"),
    "key": ({"key": jax.random.key(1)}, "key must be .*, got another"),
    "cond": ({"cond": np.arange(10) % 2}, "cond must be .*, got another"),
    "solver": ({"solver": diffrax.Heun()}, r"solver must be .*, 'Euler\(\)', got 'Heun\(\)'"),
    "sample_steps": ({"sample_steps": 6}, "sample_steps must be .*, 5, got 6"),
    "grid": ({"grid": "cosine"}, "grid must be .*, got another"),
    "field": ({"field": affine(1)}, "field must be .*, got another"),
    "batch_size": ({"batch_size": 5}, "batch_size must be what the checkpoints .* 4, got 5"),
    "coupling, if at all by crafted files": ({"ema": 0.5}, r"ema must be .* 0\.999, got 0\.5"),
}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    reflow(affine(), cond=np.arange(10) % 3, checkpoint_dir=folder, **SETTINGS)
    return folder


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_other_settings_are_refused(change, message, finished_run):
    settings = SETTINGS | {"field": affine(), "cond": np.arange(10) % 3} | change
    with pytest.raises(ValueError, match=message) as raised:
        reflow(settings.pop("field"), checkpoint_dir=finished_run, **settings)
    assert str(finished_run) in str(raised.value)


def test_another_function_is_refused(tmp_path):
    """A number in no array of the field: its velocity shows it."""

    def teacher(factor):
        return lambda t, x, cond: factor * x

    settings = SETTINGS | {"student": affine(), "checkpoint_dir": tmp_path}
    reflow(teacher(0.5), **settings)
    reflow(teacher(0.5), **settings)
    with pytest.raises(ValueError, match="field must be what the pairs in"):
        reflow(teacher(0.6), **settings)


@pytest.mark.parametrize("damage", ["cut", "another shape", "settings", "settings without probes"])
def test_damaged_files_are_named(damage, finished_run, tmp_path):
    import shutil

    folder = shutil.copytree(finished_run, tmp_path / "run")
    path = folder / "pairs" / "pairs-00001.npz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "another shape":
        shutil.copy(folder / "pairs" / "pairs-00002.npz", path)
    else:
        path = folder / "pairs" / "settings.json"
        settings = json.loads(path.read_text())
        del settings["probes"]
        path.write_text("{" if damage == "settings" else json.dumps(settings))
    with pytest.raises(ValueError, match=f"{path} .* is damaged"):
        reflow(affine(), cond=np.arange(10) % 3, checkpoint_dir=folder, **SETTINGS)


def test_samples_that_are_not_finite_are_not_trained_on(tmp_path):
    bad = (2, 5, 6)

    def explodes(t, x, cond):
        return jnp.where(cond == 1, jnp.inf, x)

    cond = np.isin(np.arange(10), bad).astype(int)
    settings = SETTINGS | {"student": affine(), "cond": cond, "checkpoint_dir": tmp_path}
    one = r"1 of the pairs 0 to 3 have samples that are not finite \(pairs 2\)"
    with pytest.raises(FloatingPointError, match=one):
        reflow(explodes, **settings)
    two = r"3 of the pairs 0 to 9 .* \(pairs 2, 5, 6\)"
    with pytest.raises(FloatingPointError, match=two):
        reflow(explodes, **settings | {"sample_batch": 100, "checkpoint_dir": None})
    assert [path.name for path in (tmp_path / "pairs").iterdir()] == ["settings.json"]


WRONG = {
    "num_pairs": {"num_pairs": 0},
    "num_steps": {"num_steps": -1},
    "batch_size": {"batch_size": 0},
    "sample_batch": {"sample_batch": 0},
    "sample_steps": {"sample_steps": 0},
    "sample_steps agree": {"grid": [0.0, 0.5, 1.0]},
    "grid": {"grid": "square"},
    "grid spans": {"grid": [0.0, 0.5], "sample_steps": None},
    "solver": {"solver": diffrax.ImplicitEuler()},
    "cond": {"cond": np.zeros(7, int)},
    "event_shape": {"event_shape": (3,)},
    "ema": {"ema": 2.0},
    "cond_dropout": {"cond_dropout": 0.5},
    "optimizer": {"optimizer": 1},
    "student": {"student": network_field("mlp", (3,), key=KEY, width=4, depth=1)},
    "key": {"key": 0},
    "checkpoint_dir": {"checkpoint_dir": "gs://bucket"},
}


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name, sampled, tmp_path):
    """By name, before a pair is made or a folder."""
    settings = SETTINGS | {"checkpoint_dir": tmp_path / "new"} | WRONG[name]
    with pytest.raises(ValueError, match=rf"\b{name.split()[0]}\b.* (must|have)"):
        reflow(affine(), **settings)
    assert sampled == []
    assert not (tmp_path / "new").exists()


def test_a_transformed_field_needs_a_student(pairs):
    for field in (kts(0.2)(affine()), from_reversed_time(kts(0.2)(affine()))):
        with pytest.raises(ValueError, match="student must be given, got None for a field with tr"):
            reflow(field, **SETTINGS)
    assert pairs == []
    got = reflow(kts(0.2)(affine()), student=affine(), **SETTINGS)
    assert type(got.field) is Affine
    want = sample(kts(0.2)(affine()), pairs[0][0], num_steps=5).x1
    np.testing.assert_allclose(pairs[0][1], want, rtol=1e-6)
    # An adapter says how the model is read, and is trained with it.
    assert reflow(from_reversed_time(affine()), **SETTINGS).field.field.matrix.shape == (2, 2)


@pytest.mark.usefixtures("own_messages")
def test_fields_that_cannot_be_used():
    with pytest.raises(ValueError, match="event_shape must be given for fields that declare none"):
        reflow(GaussianField(MEAN, 0.5), **SETTINGS)
    with pytest.raises(ValueError, match="must be a pytree with floating arrays to train"):
        reflow(lambda t, x, c: x, event_shape=(2,), **SETTINGS)

    def stepping(t, x, cond, dt):
        return dt * x

    with pytest.raises(ValueError, match="in training"):
        reflow(affine(), student=stepping, **SETTINGS)
    # Such a model may be a teacher.
    assert reflow(stepping, student=affine(), **SETTINGS).history.loss.shape == (4,)


def test_folders_of_other_runs_are_refused(tmp_path):
    fit(affine(), np.ones((4, 2), np.float32), checkpoint_dir=tmp_path, **TRAINING)
    with pytest.raises(ValueError, match="checkpoint_dir must hold those of reflow alone"):
        reflow(affine(), checkpoint_dir=tmp_path, **SETTINGS)


CENTERS = np.array([[2, 2], [-2, 2], [2, -2], [-2, -2]], np.float32)


def test_the_folder_is_one_of_load_field(tmp_path):
    net = network_field("mlp", (2,), key=KEY, width=4, depth=1)
    settings = TRAINING | {"num_pairs": 2, "batch_size": 2, "num_steps": 1, "sample_steps": 1}
    result = reflow(net, checkpoint_dir=tmp_path, **settings)
    assert_same(load_field(tmp_path), result.ema_field)


def test_benamou_brenier():
    """Energy falls from independent pairs to optimal ones in batches; a reflow straightens."""
    rng = np.random.default_rng(0)
    data = CENTERS[rng.integers(4, size=4000)] + 0.3 * rng.normal(size=(4000, 2))
    data = data.astype(np.float32)
    net = network_field("mlp", (2,), key=KEY, width=32, depth=1)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 700))
    options = {"key": KEY, "num_steps": 700, "optimizer": optimizer, "batch_size": 32, "ema": 0.99}
    independent = fit(net, data, **options).ema_field
    paired = fit(net, data, coupling="minibatch_ot", **options).ema_field
    settings = options | {"num_pairs": 3000, "sample_steps": 20}
    straight = reflow(independent, **settings).ema_field
    x0 = noise(jax.random.key(1), np.arange(1000), (2,))
    energies = [sample(each, x0, num_steps=30).energy for each in (independent, paired, straight)]
    total = np.array([each.total for each in energies])
    excess = np.array([each.excess for each in energies]).mean(axis=1)
    # The same noise: differences of means are known far better than the means.
    for less in total[1:]:
        fall = total[0] - less
        assert fall.mean() > 20 * fall.std() / np.sqrt(len(fall))
    assert excess[1] < excess[0] / 10
    assert excess[2] < excess[0] / 30
    bounds = transport_bounds(data, key=KEY, num_assigned=500)
    first, *others = (efficiency(each, bounds) for each in total)
    assert all(other.low > first.high + 0.1 for other in others)
    # W2²/2 is what is left, here that of the best assignment of as many rows as noise.
    assert total[1].mean() == pytest.approx(bounds.assignment, rel=0.1)


def test_straight_pairs_leave_no_excess():
    """x1 = a + s x0 without crossings: a network learns the straight lines alone."""
    x0 = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    data = np.array([2.0, -1.0], np.float32) + 0.5 * x0
    net = network_field("mlp", (2,), key=KEY, width=32, depth=1)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 1000))
    options = {"key": KEY, "num_steps": 1000, "optimizer": optimizer, "batch_size": 64}
    result = fit(net, data, coupling=x0, **options)
    run = sample(result.ema_field, x0[:500], num_steps=30)
    want = np.sum((data[:500] - x0[:500]) ** 2, axis=1) / 2
    assert result.history.loss[-50:].mean() < 1e-3 * want.mean()
    assert np.asarray(run.energy.excess).mean() < 3e-4 * want.mean()
    np.testing.assert_allclose(run.energy.total.mean(), want.mean(), rtol=0.01)
    off = np.linalg.norm(run.x1 - data[:500], axis=1)
    assert off.mean() < 0.02
