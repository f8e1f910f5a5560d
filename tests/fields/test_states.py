"""States that are pytrees give the numbers of the same states as vectors."""

import dataclasses
from collections import OrderedDict

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from kinetic_jax import (
    cfg,
    cfm_loss,
    chain,
    energy_init,
    energy_result,
    energy_state,
    energy_term,
    energy_update,
    fit,
    from_nnx,
    from_reversed_time,
    from_vector_field,
    kts,
    memorization,
    noise,
    sample,
)
from kinetic_jax.fields import from_prediction, from_scaled_time, vp_schedule
from kinetic_jax.jobs import JobSettings, open_job, run_job
from kinetic_jax.sampling import sweep
from kinetic_jax.transforms import cfg_zero_star, clock_matched, guide, smooth, ssc

SHAPE = {"positions": (2, 3), "types": (2,)}
MATRIX = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32) / 3
COND = np.array([1.0, 0.5, 2.0], np.float32)
MASS = np.array([1, 1, 1, 0, 0, 0, 2, 0.5], np.float32)


def flat(state):
    """Positions, then types, as `ravel_pytree` has them."""
    rows = [np.reshape(state[name], (-1, np.prod(SHAPE[name]))) for name in sorted(SHAPE)]
    return np.concatenate(rows, axis=1)


def tree(rows):
    rows = jnp.asarray(rows)
    return {"positions": rows[..., :6].reshape(*rows.shape[:-1], 2, 3), "types": rows[..., 6:]}


def vector_field(t, x, cond=None):
    return jnp.tanh(jnp.asarray(MATRIX) @ x + t) * (1 if cond is None else cond)


def tree_field(t, x, cond=None):
    vector = jnp.concatenate([x["positions"].reshape(-1), x["types"]])
    return tree(vector_field(t, vector, cond))


X0 = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
SOLVES = {
    "Heun, at some times": {"solver": diffrax.Heun(), "num_steps": 10, "save_at": np.array([0.25])},
    "adaptive": {"controller": diffrax.PIDController(rtol=1e-3, atol=1e-3)},
}


@pytest.mark.long
@pytest.mark.parametrize("solve", SOLVES)
def test_samples_and_energies(solve):
    shaping = chain(cfg(1.5, 0.0), kts(0.1, 0.02))
    ours, theirs = (
        sample(shaping(field), x0, COND, mass=mass, **SOLVES[solve])
        for field, x0, mass in (
            (tree_field, tree(X0), tree(MASS)),
            (vector_field, X0, MASS),
        )
    )
    assert {name: leaf.shape for name, leaf in ours.x1.items()} == {
        name: (3, *shape) for name, shape in SHAPE.items()
    }
    # Adaptive steps are chosen from rounded errors, which the two programs round apart.
    close = 5e-6 if solve == "adaptive" else 1e-6
    np.testing.assert_allclose(flat(ours.x1), theirs.x1, rtol=close, atol=close)
    for name, energy in vars(theirs.energy).items():
        np.testing.assert_allclose(getattr(ours.energy, name), energy, rtol=3e-6, atol=1e-5)
    if theirs.path is not None:
        np.testing.assert_allclose(flat(ours.path), theirs.path[:, 0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(ours.profile.bend2, theirs.profile.bend2, rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_sweeps_and_what_is_kept_of_them():
    settings = {"beta0": [0.0, 0.02], "num_steps": 4}
    ours = sweep(tree_field, tree(X0), COND, **settings)
    theirs = sweep(vector_field, X0, COND, **settings)
    np.testing.assert_allclose(ours.x1["types"], theirs.x1[..., 6:], rtol=1e-6, atol=1e-6)
    kept = sweep(tree_field, tree(X0), COND, reduce=lambda run: run.x1["types"].sum(), **settings)
    np.testing.assert_allclose(kept, theirs.x1[..., 6:].sum((3, 4)), rtol=1e-5)


TRANSFORMS = {
    "kts": kts(0.1, 0.02),
    "ssc": ssc(0.3, 2.0),
    "cfg": cfg(2.0, 0.1, interval=(0.1, 0.9)),
    "cfg_zero_star": cfg_zero_star(2.0, 0.1),
    "guide": lambda field: guide(from_reversed_time(field), 2.0)(field),
    "smooth": smooth(0.3, 4, jax.random.key(0)),
    "clock_matched": clock_matched(kts(0.1, 0.02)),
    "from_reversed_time": from_reversed_time,
    "from_scaled_time": lambda field: from_scaled_time(field, time_scale=3.0),
    "from_prediction": lambda field: from_prediction(field, predicts="v", schedule=vp_schedule()),
    "from_vector_field": lambda field: from_vector_field(lambda t, y, args: field(t, y, 1.0)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_transform(name):
    t, cond = jnp.float32(0.4), jnp.float32(0.7)
    ours = TRANSFORMS[name](tree_field)(t, tree(X0[0]), cond)
    theirs = TRANSFORMS[name](vector_field)(t, jnp.asarray(X0[0]), cond)
    np.testing.assert_allclose(flat(ours)[0], theirs, rtol=2e-6, atol=1e-6)


@pytest.mark.long
def test_in_a_solve_and_in_a_loop_of_ones_own():
    term, start = energy_term(tree_field, mass=tree(MASS)), energy_state(tree(X0[0]))
    solved = diffrax.diffeqsolve(term, diffrax.Euler(), 0.0, 1.0, 0.125, start).ys
    run = sample(tree_field, tree(X0), num_steps=8, mass=tree(MASS))
    np.testing.assert_allclose(solved.x["types"][0], run.x1["types"][0], rtol=1e-6)
    np.testing.assert_allclose(solved.energy[0], run.energy.total[0], rtol=1e-6)

    x, state = tree(X0), energy_init(tree(X0), mass=tree(MASS))
    for i in range(8):
        u = jax.vmap(lambda x, t=i / 8: tree_field(t, x))(x)
        state = energy_update(state, u, i / 8, 1 / 8)
        x = jax.tree.map(lambda a, b: a + b / 8, x, u)
    ours = energy_result(state, x)
    for name, energy in vars(run.energy).items():
        np.testing.assert_allclose(getattr(ours, name), energy, rtol=1e-5, err_msg=name)


class Network(nnx.Module):
    """A linear layer over all numbers of a state."""

    def __init__(self, rngs):
        self.layer = nnx.Linear(9, 8, rngs=rngs)

    def __call__(self, t, x):
        leaves, structure = jax.tree.flatten(x)
        rows = [leaf.reshape(leaf.shape[0], -1) for leaf in leaves]
        out = self.layer(jnp.concatenate([*rows, t[:, None]], axis=1))
        parts = jnp.split(out, [rows[0].shape[1]], axis=1)
        shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(structure, shaped)


class FlatNetwork(Network):
    def __call__(self, t, x):
        return self.layer(jnp.concatenate([x, t[:, None]], axis=1))


@pytest.mark.long
def test_training(tmp_path):
    """The same draws as for vectors, the same losses, and a field of the caller's kind."""
    field, key = from_nnx(Network(nnx.Rngs(0)), event_shape=SHAPE), jax.random.key(0)
    vectors = from_nnx(FlatNetwork(nnx.Rngs(0)))
    loss, expected = cfm_loss(field, key, tree(X0)), cfm_loss(vectors, key, X0)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    settings = {"key": key, "num_steps": 6, "optimizer": optax.sgd(1e-2), "batch_size": 4}
    ours = fit(field, tree(X0), checkpoint_dir=tmp_path / "ours", **settings)
    theirs = fit(vectors, X0, checkpoint_dir=tmp_path / "theirs", **settings)
    np.testing.assert_allclose(ours.history.loss, theirs.history.loss, rtol=1e-5)
    assert type(ours.field) is type(field)
    assert ours.field.event_shape == SHAPE
    again = fit(field, tree(X0), checkpoint_dir=tmp_path / "ours", **settings)
    assert again.resumed_at == 6
    other = from_nnx(Network(nnx.Rngs(0)))  # which declares no shape
    renamed = {"a": np.asarray(X0)[:, :6].reshape(3, 2, 3), "b": np.asarray(X0)[:, 6:]}
    with pytest.raises(ValueError, match="data must be what the checkpoints"):
        fit(other, renamed, checkpoint_dir=tmp_path / "ours", **settings)


def test_no_samples():
    run = sample(tree_field, tree(X0[:0]), num_steps=2)
    assert run.x1["positions"].shape == (0, 2, 3)


@pytest.mark.long
def test_jobs(tmp_path):
    field, settings = kts(0.1)(tree_field), JobSettings(n=5, shard_size=3, num_steps=4, seed=3)
    for _ in range(2):  # the second finds all of it
        job = run_job(field, tmp_path, settings, event_shape=SHAPE, say=None)
    assert open_job(tmp_path).event_shape == SHAPE == job.event_shape
    x1 = np.concatenate([flat(shard.x1) for shard in job.check().shards()])
    with np.load(tmp_path / "shard-00000.npz") as arrays:
        assert arrays["x1.positions"].shape == (3, 2, 3)
    key = jax.random.wrap_key_data(np.array([0, 3], np.uint32), impl="threefry2x32")
    x0 = noise(key, np.arange(5), SHAPE)
    np.testing.assert_array_equal(flat(x0), noise(key, np.arange(5), (8,)))
    expected = sample(field, x0, num_steps=4).x1
    np.testing.assert_allclose(x1, flat(expected), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="holds a job with field = another"):
        run_job(kts(0.2)(tree_field), tmp_path, settings, event_shape=SHAPE, say=None)
    given = tmp_path / "given"
    weights = tree(np.random.default_rng(4).uniform(size=(5, 8)))
    settings = JobSettings(n=5, shard_size=3, num_steps=4, mass=weights)
    job = run_job(field, given, settings, x0=lambda index: tree(X0[index % 3]), say=None)
    first, second = job.check().shards()
    run = sample(field, tree(X0), num_steps=4, mass=jax.tree.map(lambda rows: rows[:3], weights))
    np.testing.assert_allclose(flat(first.x1), flat(run.x1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(first.energy.total, run.energy.total, rtol=1e-6)
    np.testing.assert_raises(  # rows of its own for the fourth sample, which begins as the first
        AssertionError, np.testing.assert_allclose, second.energy.total[0], run.energy.total[0]
    )
    run_job(field, given, settings, x0=lambda index: tree(X0[index % 3]), say=None)
    settings = dataclasses.replace(settings, mass=None)
    with pytest.raises(ValueError, match="holds a job with mass ="):
        run_job(field, given, settings, x0=lambda index: tree(X0[index % 3]), say=None)


def test_memorisation_in_an_embedding():
    rows = np.random.default_rng(2).normal(size=(20, 8)).astype(np.float32)
    near = rows[:4] + np.float32(0.01)
    ours = memorization(tree(near), tree(rows), embed=flat, held_out=tree(X0), chunk_size=7)
    theirs = memorization(near, rows, held_out=X0, chunk_size=7)
    np.testing.assert_allclose(ours.distances, theirs.distances, rtol=1e-6)
    assert ours.fraction == theirs.fraction == 1.0
    assert ours.held_out.fraction == theirs.held_out.fraction


def test_what_does_not_fit(own_messages):
    x0 = tree(X0)
    field = from_nnx(Network(nnx.Rngs(0)), event_shape=SHAPE)
    cut = x0 | {"types": x0["types"][:, :1]}
    for call, message in (
        (lambda: sample(field, cut), r"x0 must have the field's event shape, \{.*got rows of"),
        (lambda: sample(field, X0), r"x0 must have the field's event shape, \{.*got rows of"),
        (lambda: sample(tree_field, x0 | {"types": X0[:2, 6:]}), "x0 must share one leading batch"),
        (
            lambda: sample(tree_field, x0 | {"types": x0["types"].astype(jnp.bfloat16)}),
            "x0 must have leaves of one dtype, got leaves of bfloat16, float32",
        ),
        (lambda: sample(lambda t, x, c: x["types"], x0), "the field's output must have the struc"),
        (
            lambda: energy_update(energy_init(x0), OrderedDict(reversed(x0.items())), 0.0, 1.0),
            "u must have the structure",
        ),
        (
            lambda: run_job(tree_field, "/nonexistent", JobSettings(n=1), x0=lambda i: (X0, X0)),
            "x0.index. must be an array or a dict of arrays, got tuple",
        ),
        (
            lambda: run_job(
                tree_field,
                "/nonexistent",
                JobSettings(n=9, mass=tree(MASS[None].repeat(3, 0))),
                event_shape=SHAPE,
                batch_size=3,
            ),
            "mass must broadcast to the shape of x",
        ),
        (lambda: sample(tree_field, x0, mass=MASS), "mass must be one number, or have the struct"),
        (lambda: from_nnx(Network(nnx.Rngs(0)), event_shape={"types": 2}), "event_shape must be"),
        (lambda: memorization(x0, x0), "embed must be given for rows that are pytrees"),
        (
            lambda: memorization(x0, {"types": X0}, embed=flat),
            "samples must have the structure of train",
        ),
        (
            lambda: run_job(
                tree_field, "/nonexistent", JobSettings(n=1), event_shape={"a b": (2,)}
            ),
            "event_shape must be a dict with identifiers as names",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
