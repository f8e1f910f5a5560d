"""`job.json`, the description of a job: writing, validation and comparison."""

import dataclasses
import functools
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kinetic_jax._checks import real_number, require, short, whole_number
from kinetic_jax._digest import digest
from kinetic_jax.fields import VelocityField
from kinetic_jax.jobs._settings import JobSettings
from kinetic_jax.jobs._shards import (
    ENERGIES,
    PROFILE,
    RESIDUAL,
    STARTS,
    TIMES,
    Layout,
    Owner,
    checksum_error,
    checksum_of,
    write_checked,
    x1_names,
)
from kinetic_jax.networks._network_field import own_spec
from kinetic_jax.sampling._probes import checked_probes, held_arrays, same_within_rounding

About = dict[str, Any]  # the contents of `job.json`
DESCRIPTION = "job.json"
FORMAT = 1
GENERATOR = "threefry2x32"  # independent of the machine and of the batches
MAX_LISTED = 100  # longer lists of labels are stored as digests
MAX_TIMES = 1_024  # a grid's times are listed up to here, to be read
_EXTRA = {"format", "generator", "field", "dtype", "event_shape", "num_classes", "scaling"}
_OPTIONAL = {"t0", "t1", "rtol", "atol", "max_steps", "cond", "mass", "frame", "residual", "probes"}
_DEFAULTS = {
    setting.name: setting.default
    for setting in dataclasses.fields(JobSettings)
    if setting.name in _OPTIONAL
}
_as_json = functools.partial(short, write=json.dumps)


def to_bytes(about: About) -> bytes:
    """The contents of `job.json`: the same bytes for the same settings."""
    return (json.dumps(about, indent=2, sort_keys=True) + "\n").encode()


def fingerprint(field: VelocityField) -> str:
    """A digest of a field's arrays and of its network's description, if it has one."""
    spec = own_spec(field)
    description = None if spec is None else spec.to_json()
    text = json.dumps(description, sort_keys=True) + digest(held_arrays(field))
    return hashlib.sha256(text.encode()).hexdigest()


def values_or_digest(values: np.ndarray, most: int = MAX_LISTED) -> list[Any] | dict[str, Any]:
    """The values as a list, or the digest of more than `most` of them."""
    if values.size <= most:
        return values.tolist()
    return {"number": values.size, "sha256": digest([values])}


def _as_before(about: About) -> About:
    """The description as older versions have it, in which a long grid is a digest."""
    times = about.get("grid")
    if not isinstance(times, list):
        return about
    return about | {"grid": values_or_digest(np.asarray(times, np.float64))}


def as_owner(about: About) -> Owner:
    """The job's identity in its shards; the digest omits the probes, which rounding changes."""
    exact = {name: value for name, value in _as_before(about).items() if name != "probes"}
    return Owner(hashlib.sha256(to_bytes(exact)).hexdigest(), about.get("probes"))


def shard_layout(about: About, rows: int) -> Layout:
    """Shapes and dtypes of the arrays of a shard with `rows` samples."""
    per_sample, floats, counts = (rows,), ("float32", "float64"), ("int32", "int64")
    shape = about["event_shape"]
    shapes = jax.tree.leaves(shape, is_leaf=lambda node: isinstance(node, list | tuple))
    sides = [tuple(leaf) for leaf in shapes] if isinstance(shape, dict) else [tuple(shape)]
    layout: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
        name: ((rows, *event), (about["dtype"],))
        for name, event in zip(x1_names(shape), sides, strict=True)
    } | {
        "index": (per_sample, ("uint32",)),
        "status": (per_sample, counts),
        "num_evals": (per_sample, counts),
    }
    layout |= dict.fromkeys(ENERGIES, (per_sample, floats))
    if about["labels"] is not None:
        layout["label"] = (per_sample, ("int32",))
    if about["profile"]:
        steps = about["steps"]
        layout |= dict.fromkeys(PROFILE, ((rows, steps), floats)) | {TIMES: ((steps,), floats)}
    if about.get("residual"):
        layout[RESIDUAL] = (per_sample, floats)
    if about["generator"] is None:
        layout[STARTS] = (per_sample, ("float64",))
    return layout


def read_description(folder: Path) -> About:
    """Reads and validates the description of the job in a folder."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise FileNotFoundError(f"there is no job in {folder}: it has no {DESCRIPTION}")
    try:
        about = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    # A run killed between the two writes leaves no checksum.
    if checksum_of(path).is_file() and (mismatch := checksum_error(path)) is not None:
        raise ValueError(f"{path} {mismatch}")
    try:
        _check(about)
    except ValueError as error:
        raise ValueError(f"{path} describes no job: {error}") from error
    return about


def matching_description(folder: Path, about: About) -> About | None:
    """The stored description, or None; raises if it describes another job than `about`.

    The stored one is kept: probes of the same field on another machine differ by rounding.
    """
    try:
        stored = read_description(folder)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(
            f"{error}; if it is of a job, remove it and run the same command again: shards of "
            "that job are kept"
        ) from error
    names = sorted({*stored, *about} - {"probes"})
    before, now = (_DEFAULTS | _as_before(one) for one in (stored, about))
    differing = [name for name in names if before.get(name) != now.get(name)]
    if differing:
        values = "; ".join(_difference(n, before.get(n), now.get(n)) for n in differing)
        raise ValueError(
            f"{folder} holds a job with {values}: choose another folder, or the same settings"
        )
    if not same_within_rounding(stored.get("probes"), about.get("probes")):
        raise ValueError(
            f"{folder} holds a job of another field, or another x0: its arrays are the same, but "
            "its velocities at fixed points differ; choose another folder"
        )
    return stored


def _difference(name: str, before: object, now: object) -> str:
    if name == "field":  # digests would not help a reader
        return "field = another one: its arrays differ, or the settings of its network"
    setting = "num_steps" if name == "steps" else name
    if isinstance(before, dict) and isinstance(now, dict):  # only what differs
        names = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        before, now = ({key: side.get(key) for key in names} for side in (before, now))
    return f"{setting} = {_as_json(before)}, got {_as_json(now)}"


def write_description(folder: Path, about: About) -> None:
    """Writes `job.json` and its checksum unless both exist and match."""
    path = folder / DESCRIPTION
    if not path.is_file() or checksum_error(path) is not None:
        write_checked(path, to_bytes(about))


def _check(about: object) -> None:
    """Raises `ValueError` naming the first missing, unknown or invalid field."""
    if not isinstance(about, dict):
        raise ValueError(f"it must be a JSON object, got {type(about).__name__}")
    require(about.get("format") == FORMAT, "format", _as_json(about.get("format")), f"be {FORMAT}")
    settings = {setting.name for setting in dataclasses.fields(JobSettings)}
    known = settings - {"num_steps"} | {"steps"} | _EXTRA | _OPTIONAL
    for name in sorted(known - _OPTIONAL - about.keys()):
        raise ValueError(f"{name} must be given")
    for name in sorted(about.keys() - known):
        raise ValueError(f"{name} is not a setting of a job")
    apart = _EXTRA | {"probes"}
    _check_settings({name: value for name, value in about.items() if name not in apart})
    _check_hash("field", about["field"])
    for name, values in (("generator", (GENERATOR, None)), ("dtype", ("float32", "float64"))):
        require(about[name] in values, name, _as_json(about[name]), f"be one of {values}")
    _check_shape(about["event_shape"])
    if about["num_classes"] is not None:
        whole_number("num_classes", about["num_classes"], 1, 2**31)
    _check_scaling(about["scaling"])
    if "probes" in about:
        checked_probes(about["probes"])


def _check_shape(shape: object) -> None:
    if isinstance(shape, dict):
        require(bool(shape), "event_shape", _as_json(shape), "hold shapes")
        for inner in shape.values():
            _check_shape(inner)
        return
    if not isinstance(shape, list):
        raise ValueError(f"event_shape must be a list, got {_as_json(shape)}")
    for side in shape:
        whole_number("event_shape", side, 1, 2**31)


def _check_settings(settings: dict[str, Any]) -> None:
    """Validates settings like user input; digests stand for long lists."""
    is_list = settings["labels"] is None or isinstance(settings["labels"], list | dict)
    require(is_list, "labels", _as_json(settings["labels"]), "be a list")
    for name, stand_in in (("labels", 0), ("grid", "uniform")):
        if isinstance(settings[name], dict):
            _check_digested(name, settings[name])
            settings[name] = stand_in
    if settings["steps"] is not None:
        whole_number("steps", settings["steps"], 1, 2**31 - 1)
    settings["num_steps"] = settings.pop("steps")
    for name in {"cond", "mass", "frame"} & settings.keys():
        digests = settings[name]
        require(isinstance(digests, dict), name, _as_json(digests), "hold digests")
        for path, sha256 in digests.items():
            _check_hash(f"{name}{path}", sha256)
        settings[name] = np.zeros(1)
    JobSettings(**settings)


def _check_digested(name: str, value: dict[str, Any]) -> None:
    require(value.keys() == {"number", "sha256"}, name, _as_json(value), "hold number and sha256")
    whole_number(name, value["number"], 1, 2**32)
    _check_hash(name, value["sha256"])


def _check_hash(name: str, value: object) -> None:
    is_hash = isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None
    require(is_hash, name, _as_json(value), "be a sha256 in hexadecimal")


def _check_scaling(value: object) -> None:
    if not isinstance(value, dict) or value.keys() != {"shift", "scale"}:
        raise ValueError(f"scaling must hold shift and scale, got {_as_json(value)}")
    for name, number in value.items():
        real_number(f"scaling.{name}", number)
    require(value["scale"] != 0, "scaling.scale", value["scale"], "not be 0")
