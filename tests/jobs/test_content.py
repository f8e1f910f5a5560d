"""The files of a job hold the results of `sample`, whatever the batch."""

import hashlib
import io
import json

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import cfg, chain, kts, noise, sample
from kinetic_jax._arrays import pack
from kinetic_jax.jobs import JobSettings, open_job, run_job
from kinetic_jax.jobs._plan import job_key
from kinetic_jax.networks import network_field
from kinetic_jax.sampling import complete

ENERGIES = ("total", "launch", "landing", "displacement", "excess", "length")


def everything(folder):
    """All shards of a job, put together."""
    shards = list(open_job(folder).shards())
    found = {
        name: np.concatenate([getattr(shard, name) for shard in shards])
        for name in ("x1", "index", "label", "status", "num_evals")
        if getattr(shards[0], name) is not None
    }
    for name in ENERGIES:
        found[name] = np.concatenate([getattr(shard.energy, name) for shard in shards])
    return found


def assert_close(found, trajectories):
    np.testing.assert_allclose(found["x1"], trajectories.x1, rtol=0, atol=1e-5)
    for name in ENERGIES:
        want = getattr(trajectories.energy, name)
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["status"], trajectories.status)
    np.testing.assert_array_equal(found["num_evals"], trajectories.num_evals)


def test_it_is_what_sample_gives(field, run, tmp_path):
    job = run(tmp_path, profile=True)
    x0 = noise(jax.random.key(0), jnp.arange(25), (2,))
    labels = jnp.arange(25) % 3
    direct = sample(kts(0.1, 0.01)(field), x0, labels, num_steps=4)
    found = everything(tmp_path)
    assert_close(found, direct)
    assert np.abs(found["x1"] - x0).min(axis=1).mean() > 0.05  # the field does move them
    np.testing.assert_array_equal(found["index"], np.arange(25))
    np.testing.assert_array_equal(found["label"], labels)
    shards = list(job.shards())
    assert [len(shard.x1) for shard in shards] == [10, 10, 5]
    np.testing.assert_array_equal(shards[0].profile.ts, direct.profile.ts)
    for name in ("speed2", "bend2"):
        whole = np.concatenate([getattr(shard.profile, name) for shard in shards])
        np.testing.assert_allclose(whole, getattr(direct.profile, name), rtol=1e-4, atol=1e-5)
    assert all(shard.residual is None for shard in shards)
    raw = job.scaling.invert(found["x1"])
    np.testing.assert_allclose(raw, 4 * found["x1"] + 8, rtol=1e-6)


def test_kept_residuals_complete_the_samples(field, run, tmp_path):
    shaped = kts(0.1, 0.05)(field)
    job = run(tmp_path, beta0=0.05, residual=True)
    x0 = noise(jax.random.key(0), jnp.arange(25), (2,))
    labels = jnp.arange(25) % 3
    direct = sample(shaped, x0, labels, num_steps=4)
    shards = list(job.shards())
    residual = np.concatenate([shard.residual for shard in shards])
    np.testing.assert_allclose(residual, direct.residual, rtol=1e-5)
    assert residual.min() > 0.01
    ends = [complete(shaped, shard.x1, shard.label, residual=shard.residual) for shard in shards]
    expected = complete(shaped, direct, labels)
    np.testing.assert_allclose(np.concatenate(ends), expected, atol=1e-5)


def test_guidance_and_other_settings(field, run, tmp_path):
    run(tmp_path, cfg=2.0, cfg_interval=(0.2, 0.9), labels=[2, 0], solver="heun", grid="cosine",
        seed=3, tau_split=0.4, launch="constant", landing="linear", k=2.0)  # fmt: skip
    shaped = chain(
        cfg(2.0, field.null_cond, interval=(0.2, 0.9)),
        kts(0.1, 0.01, 0.4, launch="constant", landing="linear", k=2.0),
    )(field)
    x0 = noise(jax.random.key(3), jnp.arange(25), (2,))
    direct = sample(shaped, x0, jnp.array([2, 0] * 13)[:25], solver=diffrax.Heun(), num_steps=4,
                    grid="cosine")  # fmt: skip
    assert_close(everything(tmp_path), direct)


def test_without_labels_the_null_class(field, run, tmp_path):
    run(tmp_path, labels=None)
    x0 = noise(jax.random.key(0), jnp.arange(25), (2,))
    direct = sample(kts(0.1, 0.01)(field), x0, jnp.full(25, 3), num_steps=4)
    found = everything(tmp_path)
    assert "label" not in found
    assert_close(found, direct)


def test_noise_is_bitwise_that_of_the_index(tmp_path):
    """The field of a fresh network is 0, and its samples are their noise."""
    still = network_field("mlp", (3,), key=jax.random.key(0), width=8, depth=1)
    for batch in (3, 256):
        out = tmp_path / str(batch)
        run_job(still, out, JobSettings(n=9, shard_size=4, num_steps=2, seed=7), batch_size=batch,
                say=None)  # fmt: skip
        x0 = noise(jax.random.key(7), jnp.arange(9), (3,))
        np.testing.assert_array_equal(everything(out)["x1"], x0)


def test_all_bits_of_a_seed_count(run, undisturbed, tmp_path):
    """Seeds below 2³² keep their samples; with more bits the upper half counts as well."""
    with np.load(io.BytesIO(undisturbed["shard-00000.npz"])) as shard:
        small = shard["x1"]
    run(tmp_path / "one", seed=2**32)
    assert np.abs(everything(tmp_path / "one")["x1"][:10] - small).min() > 1e-4
    for seed in (0, 7, 2**32 - 1):
        want = jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))
        np.testing.assert_array_equal(jax.random.key_data(job_key(seed)), want)
    with jax.enable_x64(True):  # where JAX itself sees all bits
        want = jax.random.key_data(jax.random.key(2**63 - 2, impl="threefry2x32"))
    np.testing.assert_array_equal(jax.random.key_data(job_key(2**63 - 2)), want)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 1000])
def test_batch_size_changes_nothing(batch_size, run, undisturbed, contents, tmp_path):
    run(tmp_path, batch_size=batch_size)
    assert contents(tmp_path)["job.json"] == undisturbed["job.json"]
    assert contents(tmp_path).keys() == undisturbed.keys()
    (tmp_path / "other").mkdir()
    for name, content in undisturbed.items():
        (tmp_path / "other" / name).write_bytes(content)
    found, want = everything(tmp_path), everything(tmp_path / "other")
    assert found.keys() == want.keys()
    for name in found:
        if name in ("index", "label", "status", "num_evals"):
            np.testing.assert_array_equal(found[name], want[name])
        np.testing.assert_allclose(found[name], want[name], rtol=1e-5, atol=1e-5)


def test_devices_change_nothing(field, run, tmp_path):
    devices = jax.local_devices()
    assert len(devices) > 1  # else there is nothing to see here
    mesh = jax.make_mesh((len(devices),), ("batch",), devices=devices)
    run(tmp_path / "one", batch_size=10)
    run(tmp_path / "many", batch_size=10, mesh=mesh)
    found, want = everything(tmp_path / "many"), everything(tmp_path / "one")
    for name in found:
        if name in ("index", "label", "status", "num_evals"):
            np.testing.assert_array_equal(found[name], want[name])
        np.testing.assert_allclose(found[name], want[name], rtol=1e-5, atol=1e-5)


def test_processes_share_the_shards(run, undisturbed, contents, tmp_path):
    run(tmp_path, part=(1, 2))
    assert {p.name for p in tmp_path.glob("shard*.npz")} == {"shard-00001.npz"}
    run(tmp_path, part=(0, 2))
    assert contents(tmp_path) == undisturbed
    assert {p.name for p in tmp_path.glob("*.log")} == {"job.log", "job-0.log", "job-1.log"}


def test_files_say_what_they_hold(undisturbed):
    about = json.loads(undisturbed["job.json"])
    assert (about["n"], about["steps"], about["labels"]) == (25, 4, [0, 1, 2])
    assert about["scaling"] == {"shift": 8.0, "scale": 4.0}
    for name, content in undisturbed.items():
        if not name.endswith(".sha256"):  # as `sha256sum -c` reads it
            line = f"{hashlib.sha256(content).hexdigest()}  {name}\n"
            assert undisturbed[f"{name}.sha256"] == line.encode()


def test_packed_arrays_are_what_numpy_reads(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array("text"), "c": np.zeros(0, np.int8)}
    (tmp_path / "packed.npz").write_bytes(pack(arrays))
    with np.load(tmp_path / "packed.npz") as found:
        assert sorted(found.files) == ["a", "b", "c"]
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


def test_bad_samples_are_told_and_kept(make_field, poisoned, tmp_path):
    field = poisoned(make_field(num_classes=2))
    told = []
    run_job(field, tmp_path, JobSettings(n=40, shard_size=16, num_steps=2, labels="all"),
            say=told.append)  # fmt: skip
    assert told == [
        "40 samples in 3 shards, 20 not finite (samples 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, ...)"
    ]
    found = everything(tmp_path)
    np.testing.assert_array_equal(found["status"], np.arange(40) % 2)
    np.testing.assert_array_equal(np.isnan(found["x1"]).any(axis=1), np.arange(40) % 2 == 1)
