"""Results as files: one for each device and day, by suite."""

import datetime
import json
from pathlib import Path
from typing import NotRequired, TypedDict

from benchmarks.speed._machine import Machine, device_name
from kinetic_jax._files import write_whole

RESULTS = Path(__file__).parents[1] / "results"


class Ratio(TypedDict, total=False):
    """A ratio of two rows; for times the median over the rounds, with its quartiles."""

    ratio: float
    ratio_quartiles: list[float]


class Row(Ratio, total=False):
    """A figure in the record's unit; times in seconds, with every round and the first call."""

    figure: float
    first_call: float
    compiling: float
    rounds: list[float]


class Judged(TypedDict):
    """A claim with its figure and ratio, and whether the limit holds."""

    of: str
    against: str | None
    figure: float
    ratio: NotRequired[float]
    ratio_quartiles: NotRequired[list[float]]
    at_most: float | None
    holds: bool | None


class Record(TypedDict):
    """A comparison: rows by name, of which `baseline` is the first, and the claims about them."""

    title: str
    unit: str
    dtype: str
    baseline: str
    rows: dict[str, Row]
    claims: list[Judged]


class Suite(TypedDict):
    """The records of a suite, with what may differ from suite to suite in one file.

    `left_out` is why records are missing.
    """

    measured: str
    rounds: int
    machine: Machine
    records: list[Record]
    left_out: NotRequired[str]


class Results(TypedDict):
    """The content of a file of results: suites by name."""

    suites: dict[str, Suite]


def results_file(
    folder: Path, machine: Machine, day: datetime.date, *, quick: bool = False
) -> Path:
    """The file for the results of a device and day; quick runs have their own."""
    return folder / f"{device_name(machine)}-{day.isoformat()}{'-quick' if quick else ''}.json"


def write_suite(
    path: Path,
    suite: str,
    records: list[Record],
    *,
    machine: Machine,
    rounds: int,
    at: datetime.datetime,
    left_out: str | None = None,
) -> None:
    """Writes a suite's records into a file of results, in place of earlier ones of that suite.

    The machine is kept with each suite, because a file may hold suites of several commits.
    """
    results: Results = read_results(path) if path.exists() else {"suites": {}}
    results["suites"][suite] = {
        "measured": at.isoformat(timespec="seconds"),
        "rounds": rounds,
        "machine": machine,
        "records": records,
    }
    if left_out is not None:
        results["suites"][suite]["left_out"] = left_out
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    write_whole(path, f"{text}\n".encode())


def read_results(path: Path) -> Results:
    """Reads a file of results."""
    return json.loads(path.read_text())
