"""Folders of jobs: begun with other settings, damaged, in use, left by a kill."""

import errno
import fcntl
import json
import os
import re

import equinox as eqx
import numpy as np
import pytest

from kinetic_jax import load_field, save_field
from kinetic_jax._files import write_whole
from kinetic_jax.fields import Field
from kinetic_jax.jobs import JobSettings, _shards, open_job, run_job


@pytest.fixture
def folder(tmp_path, undisturbed):
    """A finished job of its own."""
    for name, content in undisturbed.items():
        (tmp_path / name).write_bytes(content)
    begun = "2026-01-01T00:00:00+00:00 begun with 0 of 3 shards there\n"
    (tmp_path / "job.log").write_text(begun)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value", "before", "now"),
    [
        ("n", 26, "25", "26"),
        ("seed", 1, "0", "1"),
        ("shard_size", 5, "10", "5"),
        ("alpha0", 0.2, "0.1", "0.2"),
        ("beta0", 0.02, "0.01", "0.02"),
        ("tau_split", 0.5, "0.6", "0.5"),
        ("launch", "constant", '"linear"', '"constant"'),
        ("landing", "linear", '"exponential"', '"linear"'),
        ("k", 2.0, "3.0", "2.0"),
        ("num_steps", 100, "4", "100"),
        ("grid", "cosine", '"uniform"', '"cosine"'),
        ("solver", "heun", '"euler"', '"heun"'),
        ("labels", 1, "[0, 1, 2]", "[1]"),
        ("labels", None, "[0, 1, 2]", "null"),
        ("cfg", 1.5, "null", "1.5"),
        ("allow_reversal", True, "false", "true"),
        ("profile", True, "false", "true"),
    ],
)
def test_other_settings_are_refused(name, value, before, now, run, folder, undisturbed, contents):
    words = f"{folder} holds a job with {name} = {before}, got {now}: choose"
    with pytest.raises(ValueError, match=re.escape(words)):
        run(folder, **{name: value})
    assert contents(folder) == undisturbed


def test_another_interval_is_refused(run, folder):
    with pytest.raises(
        ValueError, match=r"cfg = null, got 2\.0; cfg_interval = \[0\.0, 1\.0\], got"
    ):
        run(folder, cfg=2.0, cfg_interval=(0.1, 1.0))


def test_every_differing_setting_is_named(run, folder):
    with pytest.raises(ValueError, match=r"seed = 0, got 1; num_steps = 4, got 5: choose"):
        run(folder, seed=1, num_steps=5)


def test_another_field_is_refused(make_field, run, folder):
    with pytest.raises(ValueError, match="field = another one: its arrays differ"):
        run(folder, of=make_field(num_classes=3, seed=2))
    with pytest.raises(ValueError, match=r"field = .*; scaling = "):
        run(folder, of=make_field(num_classes=3, scaling=None))


def test_the_same_weights_from_elsewhere_are_the_same_field(field, run, folder, tmp_path_factory):
    saved = tmp_path_factory.mktemp("saved")
    save_field(saved, field)
    told = []
    run(folder, of=load_field(saved), say=told.append)
    assert told[0] == "3 of 3 shards are there already"


@pytest.mark.usefixtures("own_messages")
def test_settings_are_the_same_however_they_are_written(run, folder):
    run(folder, labels=np.array([0, 1, 2]), tau_split=np.float64(0.6), n=np.int64(25))
    run(folder, alpha0=np.float64(0.1), batch_size=7, cfg_interval=[0, 1])


@pytest.mark.long
def test_many_labels_are_told_by_their_digest(run, tmp_path):
    labels = np.arange(300) % 3
    job = run(tmp_path, n=300, shard_size=300, labels=labels)
    assert job.about["labels"]["number"] == 300
    np.testing.assert_array_equal(next(job.shards()).label, labels)
    with pytest.raises(ValueError, match="labels = "):
        run(tmp_path, n=300, shard_size=300, labels=labels[::-1])


DAMAGES = {
    "flipped": ("is damaged: its checksum differs", lambda p: flip(p)),
    "cut": ("is damaged", lambda p: p.write_bytes(p.read_bytes()[:-100])),
    "empty": ("is damaged", lambda p: p.write_bytes(b"")),
    "deleted": ("is missing", lambda p: p.unlink()),
    "no checksum": ("has no checksum", lambda p: p.with_name(f"{p.name}.sha256").unlink()),
    "other checksum": ("is damaged", lambda p: flip(p.with_name(f"{p.name}.sha256"))),
}


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_a_full_disk_names_the_file_of_a_job(run, folder, undisturbed, contents, monkeypatch):
    (folder / "shard-00001.npz").unlink()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(full))
        with pytest.raises(OSError, match=r"No space left on device: '.*/shard-00001\.npz'"):
            run(folder)
    (folder / "job.log").unlink()
    (folder / "job.log").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*/job\.log'"):
        run(folder)
    (folder / "job.log").unlink()
    run(folder)
    assert contents(folder) == undisturbed


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_shards_are_named_and_made_again(
    damage, number, run, folder, undisturbed, contents
):
    words, do = DAMAGES[damage]
    name = f"shard-0000{number}.npz"
    do(folder / name)
    job = open_job(folder)
    with pytest.raises(ValueError, match=f"lacks 1 of its 3 shards .*{name} {words}"):
        job.check()
    with pytest.raises(ValueError, match=f"{name} {words}"):
        list(job.shards())
    told = []
    run(folder, say=told.append)
    assert told[0] == "2 of 3 shards are there already"
    assert told[1].startswith(f"{name} {words}")
    assert told[1].endswith(": sampled again")
    assert told[1] in (folder / "job.log").read_text()
    assert contents(folder) == undisturbed
    assert open_job(folder).check().n == 25


def test_what_a_kill_leaves_is_cleared(run, folder, undisturbed, contents):
    left = (".shard-00002.npz.part", ".shard-00000.npz.sha256.part", ".job.json.part")
    for name in left:
        (folder / name).write_bytes(b"half")
    (folder / ".mine.part").write_bytes(b"not of a job")
    run(folder)
    assert contents(folder) == undisturbed | {".mine.part": b"not of a job"}


def test_kill_between_the_two_files_of_the_description(run, folder, undisturbed, contents):
    (folder / "job.json.sha256").unlink()
    run(folder)
    assert contents(folder) == undisturbed


def test_a_damaged_description_is_refused_and_can_be_removed(run, folder, undisturbed, contents):
    path = folder / "job.json"
    path.write_text(path.read_text().replace('"steps": 4', '"steps": 5'))
    with pytest.raises(ValueError, match=r"job\.json is damaged.*remove it and run the same"):
        run(folder)
    with pytest.raises(ValueError, match=r"job\.json is damaged"):
        open_job(folder)
    path.write_bytes(b"\0\1")
    with pytest.raises(ValueError, match=r"job\.json is damaged"):
        open_job(folder)
    path.unlink()
    told = []
    run(folder, say=told.append)
    assert told[0] == "3 of 3 shards are there already"
    assert contents(folder) == undisturbed


def test_shards_of_another_job_are_not_written_over(run, folder, undisturbed, contents):
    """Without a description only the shards say what job they belong to."""
    for name in ("job.json", "job.json.sha256"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"shard-00000\.npz belongs to a job with other settings"):
        run(folder, seed=1)
    found = contents(folder)
    assert {name: found[name] for name in found if name.startswith("shard")} == {
        name: undisturbed[name] for name in undisturbed if name.startswith("shard")
    }
    run(folder)  # and the job that they belong to goes on
    assert contents(folder) == undisturbed


class Numbered(Field):
    """A field that is told from another by a number which is no array, and by a static one."""

    scale: float
    power: int = eqx.field(static=True)
    event_shape = (2,)

    def __call__(self, t, x, cond=None):
        return self.scale * x**self.power


def test_fields_are_told_apart_by_their_numbers(run, tmp_path):
    run(tmp_path, of=Numbered(1.0, 1), labels=None)
    run(tmp_path, of=Numbered(1.0, 1), labels=None)
    for other in (Numbered(-5.0, 1), Numbered(1.0, 2)):
        with pytest.raises(ValueError, match="holds a job of another field, or another x0"):
            run(tmp_path, of=other, labels=None)


def test_numbers_are_the_same_however_they_are_written(run, folder):
    run(folder, tau_split=np.float64(0.6))
    signed = run(folder.with_name("zero"), alpha0=0.0)
    run(signed.folder, alpha0=-0.0)


def test_kill_before_a_description_that_is_not_the_first(run, folder, undisturbed, contents):
    """Its old checksum must not call the new description damaged."""
    for path in folder.glob("*.npz*"):
        path.unlink()
    (folder / "job.json").unlink()
    stopped = folder / "job.json.sha256"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_shards, "write_whole", write_description_then_stop)
        with pytest.raises(KeyboardInterrupt):
            run(folder, seed=7)
    assert (folder / "job.json").exists()
    assert not stopped.exists()
    run(folder, seed=7)


def write_description_then_stop(path, content):
    write_whole(path, content)
    raise KeyboardInterrupt


def test_runs_over_several_processes_keep_a_lone_one_out(run, folder):
    with (folder / "job.log").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)  # as each of several does
        with pytest.raises(ValueError, match=r"in use: another run holds the lock on job\.log"):
            run(folder)
        run(folder, part=(1, 2))
    with (folder / "job-1.log").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=r"another run holds the lock on job-1\.log"):
            run(folder, part=(1, 2))


def test_a_second_run_is_kept_out(run, folder, undisturbed, contents):
    with (folder / "job.log").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=r"in use: another run holds the lock on job\.log"):
            run(folder)
    (folder / "shard-00001.npz").unlink()
    run(folder)  # the lock is gone with its holder
    assert contents(folder) == undisturbed


def test_no_clock_times_but_in_the_log(run, folder):
    run(folder)
    assert "done" in (folder / "job.log").read_text()
    assert {p.suffix for p in folder.iterdir()} == {".npz", ".sha256", ".json", ".log"}


def test_open_job_without_a_job(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"no job in {tmp_path}"):
        open_job(tmp_path)
    (tmp_path / "job.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match=r"format must be 1, got 99"):
        open_job(tmp_path)


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n": 0}, "n must be a whole number in"),
        ({"n": 2**32 + 1}, "n must be"),
        ({"seed": -1}, "seed must be"),
        ({"shard_size": 0}, "shard_size must be"),
        ({"num_steps": 0}, "num_steps must be"),
        ({"num_steps": 1.5}, "num_steps must be"),
        ({"solver": "rk"}, "solver must be one of"),
        ({"grid": "log"}, "grid must be"),
        ({"launch": "steep"}, "launch must be one of"),
        ({"launch": abs}, "launch must be one of"),
        ({"tau_split": 1.0}, "tau_split must lie in"),
        ({"beta0": 0.1}, "beta0 must keep the gain above 0"),
        ({"alpha0": "much"}, "alpha0 must be a finite number"),
        ({"labels": "some"}, "labels must be 'all'"),
        ({"labels": [0, 4]}, "labels must lie in"),
        ({"labels": [0.5]}, "labels must be one axis"),
        ({"labels": np.zeros(26, int)}, "labels must be one axis of 1 to n = 25"),
        ({"labels": None, "cfg": 2.0}, "cfg must be left out without labels"),
        ({"cfg_interval": (0.5, 0.6)}, "cfg_interval must be left out without cfg"),
        ({"allow_reversal": 1}, "allow_reversal must be True or False"),
        ({"cfg": 2.0, "cfg_interval": (0.5, 0.1)}, "cfg_interval must have 0 <= low <= high"),
    ],
)
def test_bad_settings_leave_no_folder(settings, words, run, tmp_path):
    with pytest.raises(ValueError, match=words):
        run(tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("own_messages")
def test_bad_arguments(make_field, field, tmp_path):
    settings = JobSettings(n=2, num_steps=2)
    with pytest.raises(ValueError, match="field must declare its event_shape"):
        run_job(lambda t, x, cond: x, tmp_path, settings)
    with pytest.raises(ValueError, match="batch_size must be"):
        run_job(field, tmp_path, settings, batch_size=0)
    with pytest.raises(ValueError, match="part must be"):
        run_job(field, tmp_path, settings, part=(2, 2))
    with pytest.raises(ValueError, match="labels must be left out for a field without classes"):
        run_job(make_field(), tmp_path, JobSettings(n=2, labels="all"))
    for wrong in ({"mesh": "x"}, {"progress": "yes"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            run_job(field, tmp_path / "new", settings, **wrong)
    assert not (tmp_path / "new").exists()
    (tmp_path / "taken").write_text("")
    with pytest.raises(ValueError, match="out must be a folder to write to"):
        run_job(field, tmp_path / "taken", settings)
