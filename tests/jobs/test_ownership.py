"""A job touches only its own files, and checks each against its place."""

import hashlib
import json
import re

import numpy as np
import pytest

from kinetic_jax._arrays import pack
from kinetic_jax.jobs import open_job

NOT_OURS = rb"not of a job"


def theirs(**arrays):
    return pack({"x1": np.zeros(3), "index": np.arange(3), **arrays})


def checksum(name, content):
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()


OTHERS = {
    "a shard": {"shard-00000.npz": theirs()},
    "a shard with its checksum": {
        "shard-00001.npz.sha256": checksum("shard-00001.npz", theirs()),
        "shard-00001.npz": theirs(),
    },
    "a shard of a job of another program": {"shard-00000.npz": theirs(job=np.array("slurm 17"))},
    "something with a digest": {
        "shard-00000.npz": pack({"job": np.array("0" * 64), "data": np.zeros(3)})
    },
    "an unreadable shard": {"shard-00002.npz": NOT_OURS},
    "a checksum": {"shard-00000.npz.sha256": NOT_OURS},
    "a temporary file": {".shard-00000.npz.part": NOT_OURS},
    "a log": {"job.log": NOT_OURS},
    "a description": {"job.json": b'{"name": "a job of another program"}'},
    "a checksum of a description": {"job.json.sha256": NOT_OURS},
}


@pytest.mark.parametrize("files", OTHERS.values(), ids=OTHERS)
def test_files_of_others_are_refused_by_name(files, run, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    last = list(files)[-1]
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / last}")):
        run(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize(
    "content",
    [theirs(), theirs(job=np.array("slurm 17")), NOT_OURS],
    ids=["readable", "of another program", "unreadable"],
)
def test_files_of_others_beside_a_job_stay(content, run, undisturbed, contents, tmp_path):
    for name, ours in undisturbed.items():
        (tmp_path / name).write_bytes(ours)
    (tmp_path / "shard-00001.npz.sha256").unlink()
    (tmp_path / "shard-00001.npz").write_bytes(content)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"that no job wrote .*shard-00001\.npz"):
        run(tmp_path)
    assert contents(tmp_path) == before


def test_names_that_no_run_writes_are_no_matter(run, undisturbed, contents, tmp_path):
    others = dict.fromkeys(
        ("shard-00003.npz", "shard-1.npz", ".mine.part", "job.txt", "shard-00000.npz.bak"), NOT_OURS
    )
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    run(tmp_path)
    assert contents(tmp_path) == undisturbed | others


def test_a_run_killed_before_its_description_goes_on(run, undisturbed, contents, tmp_path):
    """Its log shows that the files are a job's."""
    (tmp_path / "job.log").write_text("2026-01-01T00:00:00+00:00 begun with 0 of 3 shards there\n")
    for name in (".job.json.part", ".shard-00001.npz.part", "job.json.sha256"):
        (tmp_path / name).write_bytes(b"half")
    run(tmp_path)
    assert contents(tmp_path) == undisturbed


def test_swapped_shards_are_found_and_made_again(run, undisturbed, contents, tmp_path):
    for name, content in undisturbed.items():
        (tmp_path / name).write_bytes(content)
    for name, other in (("00000", "00001"), ("00001", "00000")):
        content = undisturbed[f"shard-{other}.npz"]
        (tmp_path / f"shard-{name}.npz").write_bytes(content)
        (tmp_path / f"shard-{name}.npz.sha256").write_bytes(checksum(f"shard-{name}.npz", content))
    words = (
        r"shard-00000\.npz holds other samples than 0 to 9; shard-00001\.npz holds other samples"
    )
    with pytest.raises(ValueError, match=words):
        open_job(tmp_path).check()
    with pytest.raises(ValueError, match=r"shard-00000\.npz holds other samples than 0 to 9"):
        next(open_job(tmp_path).shards())
    run(tmp_path)
    assert contents(tmp_path) == undisturbed


def test_a_kill_while_a_damaged_shard_is_made_again(
    run, undisturbed, contents, tmp_path, monkeypatch
):
    """The damaged one is gone before its checksum, without which it would be nobody's."""
    for name, content in undisturbed.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "shard-00001.npz").write_bytes(b"damaged")

    def killed(path, content):
        assert not (path.exists() and not path.with_name(f"{path.name}.sha256").exists())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kinetic_jax.jobs._shards.write_whole", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    run(tmp_path)
    assert contents(tmp_path) == undisturbed
    assert json.loads((tmp_path / "job.json").read_bytes())["n"] == 25


def rewritten(folder, content):
    """Shard 1 as `content`, with a checksum that fits."""
    (folder / "shard-00001.npz").write_bytes(content)
    (folder / "shard-00001.npz.sha256").write_bytes(checksum("shard-00001.npz", content))


@pytest.mark.parametrize("damage", ["no checksum", "damaged", "none"])
def test_shards_of_another_job_are_no_matter_how_damaged_never_written_over(
    damage, run, undisturbed, contents, tmp_path
):
    for name, content in undisturbed.items():
        if name.startswith("shard") and (damage != "no checksum" or name.endswith(".npz")):
            (tmp_path / name).write_bytes(content)
    if damage == "damaged":
        (tmp_path / "shard-00000.npz.sha256").write_bytes(checksum("shard-00000.npz", b"other"))
    (tmp_path / ".shard-00002.npz.part").write_bytes(b"half")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"shard-00000\.npz belongs to a job with other settings"):
        run(tmp_path, seed=1)
    assert contents(tmp_path) == before
    assert not list(tmp_path.glob("*.log"))


CRAFTED = {
    "no status": (lambda shard: shard.pop("status"), "does not name its job"),
    "no energy": (lambda shard: shard.pop("total"), "holds no total"),
    "no labels": (lambda shard: shard.pop("label"), "holds no label"),
    "more": (lambda shard: shard.update(evil=np.zeros(3)), "holds evil, which no shard of this"),
    "another x1": (
        lambda shard: shard.update(x1=shard["x1"][:, :1]),
        r"holds a x1 of float32 and shape \(10, 1\), not of float32 and shape \(10, 2\)",
    ),
    "strings": (lambda shard: shard.update(x1=shard["x1"].astype(str)), "holds a x1 of <U"),
    "one total": (
        lambda shard: shard.update(total=shard["total"][:1]),
        r"holds a total of .*\(1,\)",
    ),
    "float64": (lambda shard: shard.update(x1=shard["x1"].astype(float)), "holds a x1 of float64"),
    "objects": (lambda shard: shard.update(x1=np.array([None] * 10)), "is unreadable"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_shards_are_refused_before_they_are_read(name, undisturbed, tmp_path):
    """Their checksums fit, and they name the job as their own."""
    for file, content in undisturbed.items():
        (tmp_path / file).write_bytes(content)
    with np.load(tmp_path / "shard-00001.npz") as held:
        shard = dict(held)
    change, message = CRAFTED[name]
    change(shard)
    np.savez(tmp_path / "crafted.npz", **shard)
    rewritten(tmp_path, (tmp_path / "crafted.npz").read_bytes())
    with pytest.raises(ValueError, match=rf"lacks 1 of its 3 shards \(shard-00001\.npz {message}"):
        open_job(tmp_path).check()


def test_a_shard_is_unpacked_no_further_than_its_size(undisturbed, tmp_path):
    """A job compresses nothing: what is compressed would unpack to a thousand times its size."""
    for file, content in undisturbed.items():
        (tmp_path / file).write_bytes(content)
    with np.load(tmp_path / "shard-00001.npz") as held:
        np.savez_compressed(tmp_path / "crafted.npz", **dict(held))
    rewritten(tmp_path, (tmp_path / "crafted.npz").read_bytes())
    message = r"shard-00001\.npz is unreadable \(.* must be stored uncompressed, got compressed"
    with pytest.raises(ValueError, match=message):
        open_job(tmp_path).check()
