"""Settings beside the gain's: span, grid, tolerances, conditions; what does not fit is refused."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import kts, noise, sample
from kinetic_jax.jobs import JobSettings, diagnose_job, run_job


def pulled(t, x, cond):
    """A field without classes, which is pulled to its condition."""
    return cond["to"] * cond["by"] - x


X0 = noise(jax.random.key(0), jnp.arange(5), (2,))


def samples(job):
    shards = list(job.check().shards())
    names = ("x1", "status", "num_evals")
    return [np.concatenate([getattr(shard, name) for shard in shards]) for name in names]


def test_span_and_grid(run, field, tmp_path):
    times = np.array([0.1, 0.3, 0.35, 0.9])
    options = {"n": 5, "labels": None, "alpha0": 0.0, "beta0": 0.0, "t0": 0.1, "t1": 0.9}
    job = run(tmp_path, **options, grid=times, num_steps=None)
    direct = sample(field, X0, jnp.full(5, 3), grid=times, t0=0.1, t1=0.9)
    x1, _, evals = samples(job)
    np.testing.assert_allclose(x1, direct.x1, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(evals, 3)
    assert (job.about["grid"], job.about["steps"]) == ([0.1, 0.3, 0.35, 0.9], 3)
    assert (job.about["t0"], job.about["t1"]) == (0.1, 0.9)
    run(tmp_path, **options, grid=list(times), num_steps=3)
    with pytest.raises(ValueError, match=r"grid = \[0\.1, 0\.3, 0\.35, 0\.9\], got \[0\.1, 0\.4"):
        run(tmp_path, **options, grid=[0.1, 0.4, 0.5, 0.9], num_steps=None)
    with pytest.raises(ValueError, match=r"t0 = 0\.1, got 0\.0; t1 = 0\.9, got 1\.0"):
        run(tmp_path, **options | {"t0": 0.0, "t1": 1.0}, num_steps=4)


@pytest.mark.long
def test_adaptive_steps(tmp_path):
    def field(t, x, cond):
        return x + jnp.where(cond == 0, 0.0, 300 * jnp.cos(300 * t))

    settings = JobSettings(n=5, rtol=1e-3, atol=1e-3, max_steps=20, labels=[0, 1])
    said = []
    job = run_job(field, tmp_path, settings, event_shape=(2,), say=said.append)
    controller = diffrax.PIDController(rtol=1e-3, atol=1e-3)
    shaped = kts(0.0, 0.0)(field)  # steps end on its tau_split
    direct = sample(shaped, X0, jnp.arange(5) % 2, controller=controller, max_steps=20)
    limited = np.flatnonzero(direct.status == 2)
    np.testing.assert_array_equal(limited, [1, 3])
    x1, status, evals = samples(job)
    np.testing.assert_array_equal(status, direct.status)
    np.testing.assert_array_equal(evals, direct.num_evals)
    np.testing.assert_allclose(x1, direct.x1, rtol=1e-4, atol=1e-5)
    assert said == ["5 samples in 1 shard, 2 at the step limit (samples 1, 3)"]
    assert (job.about["steps"], job.about["solver"], job.about["rtol"]) == (None, "tsit5", 1e-3)
    found = diagnose_job(job, np.zeros((3, 2)))
    assert found.failures == (0, 2, [1, 3])


def test_conditions_of_arrays(tmp_path):
    rows = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    cond = {"to": np.load(tmp_path / "rows.npy", mmap_mode="r"), "by": np.full((1,), 2.0)}
    settings = JobSettings(n=5, shard_size=3, num_steps=4, cond=cond)
    job = run_job(pulled, tmp_path / "job", settings, event_shape=(2,), batch_size=2, say=None)
    both = {"to": jnp.asarray(rows), "by": jnp.full(5, 2.0)}
    direct = sample(pulled, X0, both, num_steps=4)
    np.testing.assert_allclose(samples(job)[0], direct.x1, rtol=1e-5, atol=1e-6)
    assert set(job.about["cond"]) == {"['to']", "['by']"}
    other = JobSettings(n=5, shard_size=3, num_steps=4, cond=cond | {"to": rows + 1})
    with pytest.raises(ValueError, match="holds a job with cond = "):
        run_job(pulled, tmp_path / "job", other, event_shape=(2,), say=None)


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": np.zeros((5, 1), int)}, r"labels must be one axis .*, got int64 of shape \(5"),
        ({"labels": np.zeros(6, int)}, r"labels must be one axis of 1 to n = 5 whole numbers"),
        ({"labels": [0.5]}, "labels must be one axis"),
        ({"labels": [2**31]}, "labels must lie in"),
        ({"labels": ["a"]}, "labels must be an array of numbers"),
        ({"labels": 0, "cond": np.zeros(5)}, "labels must be left out with cond"),
        ({"cond": np.zeros(4)}, r"cond must be arrays of n = 5 rows, or .*, got \[\(4,\)\]"),
        ({"cond": [0.5]}, r"cond must be arrays of n = 5 rows, or .*, got \['float'\]"),
        ({"cond": {}}, "cond must be arrays"),
        ({"cond": np.array(list("abcde"))}, "cond must hold numbers, got dtype <U1"),
        ({"cond": {"a": np.zeros(5, object)}}, "cond must hold numbers, got dtype object"),
        ({"cond": np.zeros(5, "datetime64[s]")}, "cond must hold numbers, got dtype datetime64"),
        ({"cond": jax.random.split(jax.random.key(0), 5)}, "cond must hold numbers, got dtype key"),
        ({"t0": 1.0}, r"t0 must lie in \[0, 1\), got 1"),
        ({"t0": 0.5, "t1": 0.5}, r"t1 must lie in \(t0, 1\], with t0 = 0.5, got 0.5"),
        ({"t1": None}, "t1 must be a finite number"),
        ({"grid": [0.0, 0.5]}, r"grid must span \[t0, t1\] = \[0, 1\]"),
        ({"grid": [0.0, 0.5, 0.5, 1.0]}, "grid must increase"),
        ({"grid": [0.0, 0.5, 1.0], "num_steps": 3}, "num_steps must be left out or agree"),
        ({"grid": "log"}, "grid must be 'uniform', 'cosine', 'shifted:S'"),
        ({"rtol": 1e-3}, r"rtol, atol must be given together, got \(0.001, None\)"),
        ({"rtol": 0, "atol": 0}, "rtol, atol must not both be 0"),
        ({"rtol": -1e-3, "atol": 1e-3}, "rtol must be >= 0"),
        ({"rtol": 1e-3, "atol": 1e-3, "num_steps": 5}, "num_steps must be left out with rtol and"),
        ({"rtol": 1e-3, "atol": 1e-3, "grid": "cosine"}, "grid must be left out with rtol"),
        ({"rtol": 1e-3, "atol": 1e-3, "profile": True}, "profile must be left out with rtol"),
        ({"rtol": 1e-3, "atol": 1e-3, "solver": "euler"}, "solver must estimate its error"),
        ({"max_steps": 5}, "max_steps must be left out without rtol and atol"),
        ({"cfg_interval": None}, r"cfg_interval must be a pair"),
        ({"alpha0": float("nan")}, "alpha0 must be a finite number"),
    ],
)  # fmt: skip
def test_settings_are_refused_when_they_are_made(settings, message):
    with pytest.raises(ValueError, match=message):
        JobSettings(n=5, **settings)
