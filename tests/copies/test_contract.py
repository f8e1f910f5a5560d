"""The contract of every statistic of copies; a new one enters by its line in STATISTICS."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import EmpiricalField, GaussianField, noise, sample
from kinetic_jax.copies import STATISTICS

BATCH, SHAPE, STEPS = 5, (3, 3), 10
RNG = np.random.default_rng(0)
TRAIN = RNG.normal(size=(6, *SHAPE)).astype(np.float32)
X1 = RNG.normal(size=(BATCH, *SHAPE)).astype(np.float32)
COND = np.array([0, 1, 1, 0, 1], np.int32)
ON_HOST = {"train_distance"}


def field(t, x, cond=None):
    """No derivative of it is diagonal, which Hutchinson's estimate would be exact for."""
    strength = 1.0 if cond is None else 1.0 + 0.5 * cond.astype(x.dtype)
    return jnp.sin(3 * x[::-1] + x) * (1 + t) * strength


@functools.cache
def given(name):
    """The arguments, as `Statistic.__call__` takes them."""
    x0 = noise(jax.random.key(3), jnp.arange(BATCH), SHAPE)
    cond = COND if "cond" in STATISTICS[name].needs else None
    run = sample(EmpiricalField(TRAIN), x0, num_steps=STEPS)
    arguments = {
        "field": field,
        "earlier": GaussianField(np.zeros(SHAPE, np.float32), 1.2),
        "x1": jnp.asarray(X1),
        "x0": x0,
        "key": jax.random.key(1),
        "profile": run.profile,
        "usual": jnp.asarray(run.profile.speed2),
        "train": TRAIN,
    }
    if cond is not None:
        arguments |= {"cond": jnp.asarray(cond), "null_cond": np.int32(0)}
    if name == "contraction":
        arguments["num_steps"] = STEPS
    return arguments


def scores(name, **changed):
    return STATISTICS[name](**given(name) | changed)


def rows(arguments, chosen):
    """The arguments of some of the samples."""
    picked = dict(arguments)
    for name in ("x1", "x0", "cond"):
        if picked.get(name) is not None:
            picked[name] = picked[name][chosen]
    profile = picked["profile"]
    picked["profile"] = type(profile)(profile.ts, profile.speed2[chosen], profile.bend2[chosen])
    return picked


@functools.cache
def default_scores(name):
    return scores(name)


@pytest.fixture(params=list(STATISTICS))
def name(request):
    return request.param


def test_a_score_for_each_sample(name):
    score = default_scores(name)
    assert score.shape == (BATCH,)
    assert np.isfinite(score).all()
    assert np.unique(np.asarray(score)).size > 1


def test_a_score_does_not_depend_on_the_batch(name):
    chosen = np.array([3, 1])
    some = scores(name, **rows(given(name), chosen))
    np.testing.assert_allclose(some, np.asarray(default_scores(name))[chosen], rtol=2e-5, atol=2e-5)


def test_its_noise_is_not_that_of_samples():
    """One key for samples and statistics is one that users take."""
    key, seen = jax.random.key(1), []

    def model(t, x, cond=None):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), x)
        return jnp.zeros_like(x)

    STATISTICS["spread"](field=model, x1=jnp.zeros((1, *SHAPE)), key=key, t=0.5)
    jax.effects_barrier()
    x0 = np.asarray(noise(key, jnp.arange(8), SHAPE))
    for point in seen:
        assert np.abs(2 * point - x0).max(axis=(1, 2)).min() > 0.1


def test_under_jit_and_vmap(name):
    if name in ON_HOST:
        with pytest.raises(ValueError, match="inside jit, grad, vmap or shard_map"):
            jax.jit(lambda x1: scores(name, x1=x1))(X1)
        return
    arguments = given(name)
    parts = [rows(arguments, np.array(part)) for part in ([0, 1], [2, 3])]
    batched = {
        n: jax.tree.map(lambda *leaves: jnp.stack(leaves), *(part[n] for part in parts))
        for n in ("x1", "x0", "cond", "profile")
        if n in arguments
    }
    mapped = jax.jit(jax.vmap(lambda changed: scores(name, **changed)))(batched)
    expected = np.asarray(default_scores(name))[[[0, 1], [2, 3]]]
    np.testing.assert_allclose(mapped, expected, rtol=2e-5, atol=2e-5)


def test_by_the_key_alone(name):
    if "key" not in STATISTICS[name].needs:
        assert "key" not in STATISTICS[name].function.__annotations__
        return
    np.testing.assert_array_equal(scores(name), default_scores(name))
    assert np.any(
        np.asarray(default_scores(name)) != np.asarray(scores(name, key=jax.random.key(2)))
    )


def test_a_sample_that_is_not_finite_is_unknown(name):
    arguments = given(name)
    changed = {n: arguments[n].at[2].set(jnp.nan) for n in ("x1", "x0")}
    profile = arguments["profile"]
    bad = profile.speed2.at[2].set(jnp.nan), profile.bend2.at[2].set(jnp.nan)
    changed["profile"] = type(profile)(profile.ts, *bad)
    score = np.asarray(scores(name, **changed))
    assert np.isnan(score[2])
    others = np.arange(BATCH) != 2
    np.testing.assert_allclose(
        score[others], np.asarray(default_scores(name))[others], rtol=2e-5, atol=2e-5
    )


@pytest.mark.parametrize("name", [n for n, s in STATISTICS.items() if "field" in s.needs])
def test_a_velocity_that_overflows_is_unknown(name):
    """A score of −∞ would rank as the safest of all."""

    def spoiled(t, x, cond=None):
        is_marked = jnp.abs(x[0, 0]) > 20
        return jnp.where(is_marked, jnp.inf, 1.0) * field(t, x, cond)

    arguments = given(name)
    changed = {n: arguments[n].at[2, 0, 0].set(100.0) for n in ("x1", "x0")}
    score = np.asarray(scores(name, field=spoiled, **changed))
    assert np.isnan(score[2])
    assert np.isfinite(np.delete(score, 2)).all()


@pytest.mark.parametrize("name", list(STATISTICS))
def test_a_misspelt_setting_is_refused(name):
    with pytest.raises((ValueError, TypeError), match="drwas"):
        scores(name, drwas=1)


def test_what_it_needs_is_named_when_it_is_missing(name):
    for needed in STATISTICS[name].needs:
        with pytest.raises(ValueError, match=f"{needed} must be given for {name}, got None"):
            STATISTICS[name](**given(name) | {needed: None})


@pytest.mark.parametrize("name", [n for n, s in STATISTICS.items() if "field" in s.needs])
def test_the_cost_is_that_of_the_default_settings(name):
    """Velocities, counted as they are computed; a derivative along a direction costs 1.5 more."""
    computed = []

    def counted(t, x, cond=None):
        jax.debug.callback(lambda: computed.append(None))
        return field(t, x, cond)

    arguments = rows(given(name), slice(0, 1)) | {"field": counted, "earlier": counted}
    arguments.pop("num_steps", None)
    STATISTICS[name](**arguments).block_until_ready()
    jax.effects_barrier()
    directions = {"flipd": 8, "p_laplace": 8, "curvature": 4, "curvature_difference": 8}
    directions["guided_sharpness"] = 2
    cost = len(computed) + 1.5 * directions.get(name, 0)
    assert STATISTICS[name].evaluations == cost
