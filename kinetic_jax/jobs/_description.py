"""`job.json`, the description of a job: written, checked when it is read, compared."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from kinetic_jax._checks import real_number, require, short, whole_number
from kinetic_jax.jobs._settings import JobSettings
from kinetic_jax.jobs._shards import (
    ENERGIES,
    PROFILE,
    STARTS,
    TIMES,
    Layout,
    Owner,
    checksum_says,
    write_checked,
)
from kinetic_jax.sampling import checked_probes, same_within_rounding

DESCRIPTION = "job.json"
FORMAT = 1
GENERATOR = "threefry2x32"  # draws the same on every machine, in every batch
# Fields beside the settings, and those that not every description has.
_MORE = {"format", "generator", "field", "dtype", "event_shape", "num_classes", "scaling"}
_OPTIONAL = {"t0", "t1", "rtol", "atol", "max_steps", "cond", "probes"}
_DEFAULTS = {
    setting.name: setting.default
    for setting in dataclasses.fields(JobSettings)
    if setting.name in _OPTIONAL
}


def as_text(about: dict[str, Any]) -> bytes:
    """A job's description as it is written down, the same bytes for the same settings."""
    return (json.dumps(about, indent=2, sort_keys=True) + "\n").encode()


def as_owner(about: dict[str, Any]) -> Owner:
    """The job as its shards name it, its digest of all that no rounding changes."""
    exact = {name: value for name, value in about.items() if name != "probes"}
    return Owner(hashlib.sha256(as_text(exact)).hexdigest(), about.get("probes"))


def layout_of(about: dict[str, Any], rows: int) -> Layout:
    """What the arrays of a shard with so many samples are."""
    each, floats, counts = (rows,), ("float32", "float64"), ("int32", "int64")
    layout: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
        "x1": ((rows, *about["event_shape"]), (about["dtype"],)),
        "index": (each, ("uint32",)),
        "status": (each, counts),
        "num_evals": (each, counts),
    }
    layout |= dict.fromkeys(ENERGIES, (each, floats))
    if about["labels"] is not None:
        layout["label"] = (each, ("int32",))
    if about["profile"]:
        steps = about["steps"]
        layout |= dict.fromkeys(PROFILE, ((rows, steps), floats)) | {TIMES: ((steps,), floats)}
    if about["generator"] is None:
        layout[STARTS] = (each, ("float64",))
    return layout


def read_description(folder: Path) -> dict[str, Any]:
    """The description of the job in a folder, each of its fields checked.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file, if it is damaged, and the field, if it makes no sense.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise FileNotFoundError(f"there is no job in {folder}: it has no {DESCRIPTION}")
    try:
        about = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    # A run that was killed between the two files leaves the first without its checksum.
    wrong = checksum_says(path)
    if wrong is not None and "damaged" in wrong:
        raise ValueError(f"{path} {wrong}")
    try:
        _check(about)
    except ValueError as error:
        raise ValueError(f"{path} describes no job: {error}") from error
    return about


def agreed_description(folder: Path, about: dict[str, Any]) -> dict[str, Any] | None:
    """The description in the folder if it is of the job that `about` describes; None without one.

    The one in the folder stays: on another machine the probes of the same field differ by rounding.

    Raises:
        ValueError: naming every setting that differs, with both values.
    """
    try:
        there = read_description(folder)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(
            f"{error}; if it is of a job, remove it and run the same command again: shards of "
            "that job are kept"
        ) from error
    names = sorted({*there, *about} - {"probes"})
    before, now = _DEFAULTS | there, _DEFAULTS | about
    differing = [name for name in names if before.get(name) != now.get(name)]
    if differing:
        values = "; ".join(_difference(n, before.get(n), now.get(n)) for n in differing)
        raise ValueError(
            f"{folder} holds a job with {values}: choose another folder, or the same settings"
        )
    if not same_within_rounding(there.get("probes"), about.get("probes")):
        raise ValueError(
            f"{folder} holds a job of another field, or another x0: its arrays are the same, but "
            "at fixed points it computes something else; choose another folder"
        )
    return there


def _difference(name: str, before: Any, now: Any) -> str:
    if name == "field":  # digests tell a reader nothing
        return "field = another one: its arrays differ, or the settings of its network"
    return f"{name} = {_short(before)}, got {_short(now)}"


def describe(folder: Path, about: dict[str, Any]) -> None:
    """Writes the description of a job into its folder, if it is not there with its checksum."""
    path = folder / DESCRIPTION
    if not path.is_file() or checksum_says(path) is not None:
        write_checked(path, as_text(about))


def _short(value: Any) -> str:
    return short(value, json.dumps)


def _check(about: Any) -> None:
    """Raises a `ValueError` that names the first field that no job has, or no such value of it."""
    require(isinstance(about, dict), "it", type(about).__name__, "hold fields by name")
    require(about.get("format") == FORMAT, "format", _short(about.get("format")), f"be {FORMAT}")
    known = {setting.name for setting in dataclasses.fields(JobSettings)} | _MORE | _OPTIONAL
    for name in sorted(known - _OPTIONAL - about.keys()):
        raise ValueError(f"{name} must be there")
    for name in sorted(about.keys() - known):
        raise ValueError(f"{name} must be left out: no job has it")
    _check_settings({name: value for name, value in about.items() if name not in _MORE})
    _check_hash("field", about["field"])
    for name, values in (("generator", (GENERATOR, None)), ("dtype", ("float32", "float64"))):
        require(about[name] in values, name, _short(about[name]), f"be one of {values}")
    require(
        isinstance(about["event_shape"], list),
        "event_shape",
        _short(about["event_shape"]),
        "be a list",
    )
    for side in about["event_shape"]:
        whole_number("event_shape", side, 1, 2**31)
    if about["num_classes"] is not None:
        whole_number("num_classes", about["num_classes"], 1, 2**31)
    _check_scaling(about["scaling"])
    if "probes" in about:
        checked_probes(about["probes"])


def _check_settings(given: dict[str, Any]) -> None:
    """Checks settings as the arguments of a user are; long lists are known by their digests."""
    given = {name: value for name, value in given.items() if name != "probes"}
    is_list = given["labels"] is None or isinstance(given["labels"], list | dict)
    require(is_list, "labels", _short(given["labels"]), "be a list")
    for name, stand_in in (("labels", 0), ("grid", "uniform")):
        if isinstance(given[name], dict):
            _check_listed(name, given[name])
            given[name] = stand_in
    if "cond" in given:
        require(isinstance(given["cond"], dict), "cond", _short(given["cond"]), "hold digests")
        for path, sha256 in given["cond"].items():
            _check_hash(f"cond{path}", sha256)
        given["cond"] = np.zeros(1)
    JobSettings(**given)


def _check_listed(name: str, value: dict[str, Any]) -> None:
    require(value.keys() == {"number", "sha256"}, name, _short(value), "hold number and sha256")
    whole_number(name, value["number"], 1, 2**32)
    _check_hash(name, value["sha256"])


def _check_hash(name: str, value: Any) -> None:
    is_hash = isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None
    require(is_hash, name, _short(value), "be a sha256 in hexadecimal")


def _check_scaling(value: Any) -> None:
    is_pair = isinstance(value, dict) and value.keys() == {"shift", "scale"}
    require(is_pair, "scaling", _short(value), "hold shift and scale")
    for name, number in value.items():
        real_number(f"scaling.{name}", number)
    require(value["scale"] != 0, "scaling.scale", value["scale"], "not be 0")
