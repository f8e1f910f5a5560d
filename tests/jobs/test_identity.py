"""A job knows its field by what it computes, however that is written."""

import functools
import hashlib
import inspect
import json
import subprocess
import sys

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax import GaussianField, from_linen, from_nnx, from_reversed_time, noise
from kinetic_jax.fields import Field
from kinetic_jax.jobs import JobSettings, open_job, run_job
from kinetic_jax.networks import network_field
from kinetic_jax.sampling._probes import TIMES, probed, same_within_rounding

pytestmark = pytest.mark.long

SETTINGS = JobSettings(n=6, shard_size=3, num_steps=2)
ANOTHER = "holds a job of another field, or another x0"


def go_on(field, out, *, settings=SETTINGS, **options):
    """Runs a job, or goes on with it, and returns the first line that it says."""
    said = []
    run_job(field, out, settings, say=said.append, **{"event_shape": (2,)} | options)
    return said[0]


class Mine(Field):
    """A field around any function of x."""

    fn: object = eqx.field(static=True)
    event_shape = (2,)

    def __call__(self, t, x, cond=None):
        return self.fn(x)


class Doubled(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


def test_another_call_of_the_same_weights_is_refused(tmp_path):
    net = Doubled()
    weights = net.init(jax.random.key(0), jnp.zeros((1, 2)))
    first = from_linen(net, weights, call=lambda m, v, t, x, c: m.apply(v, x))
    other = from_linen(net, weights, call=lambda m, v, t, x, c: -100 * m.apply(v, x))
    same = from_linen(net, weights, call=lambda module, v, t, x, c: module.apply(v, x))
    go_on(first, tmp_path)
    with pytest.raises(ValueError, match=ANOTHER):
        go_on(other, tmp_path)
    assert go_on(same, tmp_path) == "2 of 2 shards are there already"
    # Without the description the shards themselves say what made them.
    (tmp_path / "job.json").unlink()
    with pytest.raises(ValueError, match=r"shard-00000\.npz belongs to a job with other settings"):
        go_on(other, tmp_path)
    assert go_on(first, tmp_path) == "2 of 2 shards are there already"


def scaled(scale, x):
    return scale * x


def test_an_array_that_a_function_holds_counts(tmp_path):
    fields = [Mine(functools.partial(scaled, jnp.array([s]))) for s in (5.0, 5.0, -5.0)]
    go_on(fields[0], tmp_path)
    (tmp_path / "shard-00001.npz").unlink()
    with pytest.raises(ValueError, match="holds a job"):
        go_on(fields[2], tmp_path)
    assert not (tmp_path / "shard-00001.npz").exists()
    assert go_on(fields[1], tmp_path) == "1 of 2 shards are there already"
    open_job(tmp_path).check()


class Perceptron(eqx.Module):
    """A model with functions (activations) among its leaves."""

    mlp: eqx.nn.MLP

    def __init__(self):
        self.mlp = eqx.nn.MLP(2, 2, 8, 1, key=jax.random.key(0))

    def __call__(self, t, x, cond=None):
        return self.mlp(x)


SCRIPT = f"""
import sys
import equinox as eqx, jax
from kinetic_jax.jobs import JobSettings, run_job

{inspect.getsource(Perceptron)}

run_job(Perceptron(), sys.argv[1], JobSettings(n=6, shard_size=3, num_steps=2), event_shape=(2,))
"""


def test_a_model_of_functions_goes_on_in_another_process(tmp_path):
    """Its text holds memory addresses, which are others in each process."""
    go_on(Perceptron(), tmp_path)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("2 of 2 shards are there already\n")


def test_random_keys_among_the_arrays(tmp_path):
    def build(weights, drawn):
        class Net(nnx.Module):
            def __init__(self):
                self.dense = nnx.Linear(2, 2, rngs=nnx.Rngs(weights))
                self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(dropout=drawn))

            def __call__(self, t, x):
                return self.dropout(self.dense(x))

        return from_nnx(Net())

    go_on(build(0, 1), tmp_path)
    assert go_on(build(0, 1), tmp_path) == "2 of 2 shards are there already"
    with pytest.raises(ValueError, match="holds a job with field = "):
        go_on(build(1, 1), tmp_path)


def test_networks_of_this_package_are_known_as_they_always_were(field, undisturbed, run, tmp_path):
    """The description of such a job, and so what its shards say, is that of older versions."""
    about = json.loads(undisturbed["job.json"])
    assert "probes" not in about
    assert not {"t0", "t1", "rtol", "atol", "max_steps", "cond"} & about.keys()
    for name, content in undisturbed.items():
        (tmp_path / name).write_bytes(content)
    with np.load(tmp_path / "shard-00000.npz") as shard:
        assert str(shard["job"]) == hashlib.sha256(undisturbed["job.json"]).hexdigest()
        assert "probes" not in shard
    # What is no longer such a network is looked at.
    twice = eqx.tree_at(lambda f: f.velocity, field, lambda t, x, c: 2 * field(t, x, c))
    with pytest.raises(ValueError, match="holds a job with field = "):
        run(tmp_path, of=twice)


def test_the_first_description_stays_on_another_machine(tmp_path):
    """There the same field is off by rounding; shards made before and after are of one job."""
    field = GaussianField(jnp.array([1.0, 2.0]), 1.0)
    go_on(field, tmp_path)
    path, sums = tmp_path / "job.json", tmp_path / "job.json.sha256"
    about = json.loads(path.read_text())

    def rewrite(factor):
        probes = about["probes"]
        velocity = [[number * factor for number in row] for row in probes["velocity"]]
        changed = about | {"probes": probes | {"velocity": velocity}}
        text = (json.dumps(changed, indent=2, sort_keys=True) + "\n").encode()
        path.write_bytes(text)
        sums.write_text(f"{hashlib.sha256(text).hexdigest()}  job.json\n")
        return text

    there = rewrite(1 + 1e-5)
    (tmp_path / "shard-00001.npz").unlink()
    assert go_on(field, tmp_path) == "1 of 2 shards are there already"
    assert path.read_bytes() == there
    open_job(tmp_path).check()
    rewrite(1 + 1e-2)
    with pytest.raises(ValueError, match=ANOTHER):
        go_on(field, tmp_path)


def test_probes_allow_for_the_precision_that_a_field_computes_in():
    x0 = jax.random.normal(jax.random.key(0), (4, 3))

    def exact(t, x, c):
        return (1 + t) * x

    weight = jnp.ones((), jnp.bfloat16)

    def half(t, x, c):
        return (((1 + t) * x).astype(weight.dtype) * weight).astype(x.dtype)

    fine, coarse = (probed(field, x0, None, (0.0, 1.0)) for field in (exact, half))
    assert (fine["within"], coarse["within"]) == (1e-3, 3e-2)
    mixed = network_field("mlp", (3,), key=jax.random.key(0), width=8, depth=1, dtype="bfloat16")
    with jax.numpy_dtype_promotion("standard"):
        assert probed(mixed, x0, None, (0.0, 1.0))["within"] == 3e-2  # its weights are in float32
    direction = np.random.default_rng(0).normal(size=3) / np.sqrt(3)
    np.testing.assert_allclose(fine["x0"], np.asarray(x0, np.float64) @ direction, rtol=1e-6)
    for time, velocity in zip(TIMES, fine["velocity"], strict=True):
        want = (1 + time) * np.asarray(fine["x0"])
        np.testing.assert_allclose(velocity, want, rtol=0, atol=1e-5)
    assert same_within_rounding(fine, coarse)
    assert not same_within_rounding(fine, None)
    for other in (lambda t, x, c: 1.01 * (1 + t) * x, lambda t, x, c: (1 + t) * x[::-1]):
        assert not same_within_rounding(fine, probed(other, x0, None, (0.0, 1.0)))
    bad = probed(lambda t, x, c: jnp.log(t - 0.2) * x, x0, None, (0.0, 1.0))
    assert bad["velocity"][0] == [None] * 4  # JSON knows no NaN
    assert same_within_rounding(bad, bad)
    assert not same_within_rounding(fine, bad)


def test_starts_other_than_noise(tmp_path):
    rows = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)

    def still(t, x, cond):
        return 0 * x

    start = {"x0": lambda index: rows[index], "event_shape": None}
    go_on(still, tmp_path, **start)
    shards = list(open_job(tmp_path).check().shards())
    np.testing.assert_array_equal(np.concatenate([shard.x1 for shard in shards]), rows)
    assert go_on(still, tmp_path, **start) == "2 of 2 shards are there already"
    with pytest.raises(ValueError, match=ANOTHER):
        go_on(still, tmp_path, x0=lambda index: -rows[index])
    with pytest.raises(ValueError, match='holds a job with generator = null, got "threefry2x32"'):
        go_on(still, tmp_path)
    for x0, words in (
        (lambda index: rows[:1], r"x0\(index\) must have the shape \(8, 2\), a row per index"),
        (lambda index: rows[index].astype(int), "x0.* must be float32 or float64"),
    ):
        with pytest.raises(ValueError, match=words):
            go_on(still, tmp_path / "new", x0=x0, settings=JobSettings(n=60))
    with pytest.raises(ValueError, match="seed must be left out with x0"):
        go_on(still, tmp_path / "new", settings=JobSettings(n=6, seed=1), **start)
    assert not (tmp_path / "new").exists()


def test_the_shape_of_a_sample_through_wrappers(field, tmp_path):
    class Plain(Field):
        event_shape = (2,)

        def __call__(self, t, x, cond=None):
            return x

    for number, inner in enumerate((field, Plain())):
        job = run_job(from_reversed_time(inner), tmp_path / str(number), SETTINGS, say=None)
        assert job.event_shape == (2,)
    backwards = from_reversed_time(lambda t, x, cond: -x)
    with pytest.raises(ValueError, match=r"field must declare its event_shape, or event_shape"):
        run_job(backwards, tmp_path / "new", SETTINGS)
    with pytest.raises(ValueError, match=r"event_shape must be the field's, \(2,\), got \(3,\)"):
        run_job(field, tmp_path / "new", SETTINGS, event_shape=(3,))
    assert not (tmp_path / "new").exists()
    run_job(backwards, tmp_path / "new", SETTINGS, event_shape=(2,), say=None)
    x0 = noise(jax.random.key(0), jnp.arange(3), (2,))
    first = next(open_job(tmp_path / "new").shards())
    np.testing.assert_allclose(first.x1, 2.25 * x0, rtol=1e-6)  # (1 + 1/2)²


TABLE = np.linspace(0.0, 1.0, 10, dtype=np.float32)


def test_arrays_of_closures_and_every_class_count(tmp_path):
    def field_of(table):
        return lambda t, x, c: table[c] * jnp.ones_like(x)

    settings = JobSettings(n=60, shard_size=30, num_steps=2, labels=list(range(10)))
    go_on(field_of(jnp.asarray(TABLE)), tmp_path, settings=settings)
    again = field_of(jnp.asarray(TABLE))
    assert go_on(again, tmp_path, settings=settings) == "2 of 2 shards are there already"
    with pytest.raises(ValueError, match="field = another one: its arrays differ"):
        go_on(field_of(jnp.asarray(TABLE).at[7].set(7.0)), tmp_path, settings=settings)

    def branching(number):  # which is in no array
        return lambda t, x, c: jnp.where(c == 7, number, 1.0) * jnp.ones_like(x)

    go_on(branching(1.0), tmp_path / "branching", settings=settings)
    with pytest.raises(ValueError, match=ANOTHER):
        go_on(branching(2.0), tmp_path / "branching", settings=settings)


def test_a_change_between_few_times_is_seen(tmp_path):
    def acting(strength):
        def field(t, x, cond):
            return jnp.where((t > 0.2) & (t < 0.45), strength, 1.0) * x

        return field

    go_on(acting(1.0), tmp_path)
    with pytest.raises(ValueError, match=ANOTHER):
        go_on(acting(1.5), tmp_path)


def test_one_coarse_number_allows_for_nothing(tmp_path):
    """A time in half precision, say; arrays in it round all that they meet."""

    def rounded(scale):
        return lambda t, x, c: scale * x + 0 * t.astype(jnp.bfloat16).astype(x.dtype)

    go_on(rounded(1.0), tmp_path)
    with pytest.raises(ValueError, match=ANOTHER):
        go_on(rounded(1.01), tmp_path)


class Dropping(nnx.Module):
    def __init__(self):
        self.dense = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(dropout=1))

    def __call__(self, t, x):
        return self.dropout(self.dense(x))


@pytest.mark.parametrize("wrap", [from_nnx, lambda model: lambda t, x, c: frozen(model)(t, x)])
def test_draws_of_training_do_not_count(wrap, tmp_path):
    model = Dropping()
    go_on(wrap(model), tmp_path)
    model.train()
    model(jnp.zeros(1), jnp.zeros((1, 2)))
    assert go_on(wrap(model), tmp_path) == "2 of 2 shards are there already"


def frozen(model):
    graphdef, state = nnx.split(model)
    view = nnx.merge(graphdef, state)
    view.eval()
    return view


def test_every_start_counts(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)

    def still(t, x, cond):
        return 0 * x

    options = {"settings": JobSettings(n=60, shard_size=30, num_steps=2), "event_shape": None}
    go_on(still, tmp_path, x0=lambda index: rows[index], **options)
    again = rows * np.float32(1 + 1e-6)  # as another machine may have it
    assert go_on(still, tmp_path, x0=lambda index: again[index], **options).startswith("2 of 2")
    other = np.where(np.arange(60)[:, None] == 37, 5, rows).astype(np.float32)
    (tmp_path / "shard-00000.npz").unlink()
    with pytest.raises(ValueError, match=r"another x0: the samples in shard-00001\.npz began"):
        go_on(still, tmp_path, x0=lambda index: other[index], **options)
    assert not (tmp_path / "shard-00000.npz").exists()


def test_samples_without_numbers_are_refused(tmp_path):
    class Empty(Field):
        event_shape = (2, 0)

        def __call__(self, t, x, cond=None):
            return x

    for field, options in (
        (Empty(), {"event_shape": None}),
        (lambda t, x, c: x, {"event_shape": (0,)}),
        (lambda t, x, c: x, {"event_shape": None, "x0": lambda index: np.zeros((len(index), 0))}),
    ):
        with pytest.raises(ValueError, match="event_shape must "):
            go_on(field, tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()
