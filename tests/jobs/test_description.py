"""`job.json` as others may have written it: refused by file and field, whatever it holds."""

import hashlib
import json
import re

import pytest

from kinetic_jax.jobs import open_job

pytestmark = pytest.mark.usefixtures("own_messages")
NESTED = "@nested"  # stands for lists within lists
CRAFTED = {
    "n": [None, 0, -1, 1.5, True, "25", 10**400, NESTED],
    "seed": [None, -1, 2**63, float("nan")],
    "shard_size": [0, None, [1]],
    "steps": [0, "many", 2**31],
    "max_steps": [0, None],
    "alpha0": [None, "x", float("inf"), {}],
    "tau_split": [[0.6]],
    "rtol": [1e-3],  # without atol
    "t1": [0.0, 2.0, None],
    "launch": ["steep", None, ["linear"]],
    "solver": ["rk", ["euler"], {}],
    "grid": ["log", "shifted:0", [0.0, 0.2, 0.5, 0.7, 2.0], None, {"number": 3}],
    "labels": ["all", [[0]], [0.5], {"number": -1, "sha256": "0" * 64}, {"evil": 1}],
    "cond": [[1.0], {"": "x"}],
    "cfg_interval": [None, [0.0], [0.0, None], ["a", "b"]],
    "profile": [1, None],
    "event_shape": [[-2], [0], [2, 0], None, 2, ["a"], [2.5], {"a": 1}],
    "num_classes": [-1, 0, "x", [3]],
    "scaling": [None, {"shift": 0.0}, {"shift": 0.0, "scale": 0}, {"shift": "x", "scale": 1}],
    "field": [None, "x", 3],
    "dtype": ["int8", None, ["float32"]],
    "generator": ["rbg", [None]],
    "probes": [None, [], {"x0": [], "velocity": [], "within": 0.5}, {
        "x0": [10**400], "velocity": [[], [], []], "within": 1e-3}],
    "format": [None, 99, [1]],
    "evil": [1],
}  # fmt: skip


def write(folder, text):
    """A description with a checksum that fits."""
    content = text.replace(f'"{NESTED}"', 100_000 * "[" + 100_000 * "]").encode()
    (folder / "job.json").write_bytes(content)
    (folder / "job.json.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  job.json\n")


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_field_is_named(name, undisturbed, run, tmp_path):
    about = json.loads(undisturbed["job.json"])
    for value in CRAFTED[name]:
        write(tmp_path, json.dumps(about | {name: value}))
        why = "is damaged" if value == NESTED else rf"describes no job: {name}\b"
        begin = rf"^{re.escape(str(tmp_path))}/job\.json {why}"
        with pytest.raises(ValueError, match=begin):
            open_job(tmp_path)
    with pytest.raises(ValueError, match=rf"{begin}.*; if it is of a job, remove it"):
        run(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"job.json", "job.json.sha256"}


@pytest.mark.parametrize("text", ["null", "[]", "3", "{}", '{"format": 1}', f'"{NESTED}"', "{"])
def test_what_is_no_description(text, tmp_path):
    write(tmp_path, text)
    with pytest.raises(ValueError, match=r"job\.json (describes no job|is damaged): "):
        open_job(tmp_path)


def test_each_field_must_be_there(undisturbed, tmp_path):
    about = json.loads(undisturbed["job.json"])
    for name in about:
        write(tmp_path, json.dumps({n: value for n, value in about.items() if n != name}))
        with pytest.raises(ValueError, match=rf"job\.json describes no job: {name} must be"):
            open_job(tmp_path)


def test_a_promise_of_many_shards_does_not_hang(undisturbed, tmp_path):
    about = json.loads(undisturbed["job.json"])
    write(tmp_path, json.dumps(about | {"n": 2**32, "shard_size": 1}))
    with pytest.raises(ValueError, match=r"lacks 4,294,967,296 of its 4,294,967,296 shards \(shard-"
                                         r"00000\.npz is missing; .*; \.\.\.\)"):  # fmt: skip
        open_job(tmp_path).check()
