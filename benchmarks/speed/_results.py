"""Results as files: one for each device and day, by suite."""

import datetime
import json
from pathlib import Path
from typing import Any

from benchmarks.speed._machine import device_name
from kinetic_jax._files import write_whole

RESULTS = Path(__file__).parents[1] / "results"


def results_file(
    folder: Path, machine: dict[str, Any], day: datetime.date, *, quick: bool = False
) -> Path:
    """Where the results of a device and day are kept; those of a quick run apart."""
    return folder / f"{device_name(machine)}-{day.isoformat()}{'-quick' if quick else ''}.json"


def write_suite(
    path: Path,
    suite: str,
    records: list[dict[str, Any]],
    *,
    machine: dict[str, Any],
    rounds: int,
    at: datetime.datetime,
) -> None:
    """Puts a suite's records into a file of results, in place of earlier ones of that suite.

    The file is there after each suite, whole, whatever becomes of the next one. What differs from
    run to run is kept with each suite: a file may hold suites measured on two commits.
    """
    held = read_results(path) if path.exists() else {"suites": {}}
    held["suites"][suite] = {
        "measured": at.isoformat(timespec="seconds"),
        "rounds": rounds,
        "machine": machine,
        "records": records,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(held, indent=1, ensure_ascii=False)
    write_whole(path, f"{text}\n".encode())


def read_results(path: Path) -> dict[str, Any]:
    """A file of results."""
    return json.loads(path.read_text())
