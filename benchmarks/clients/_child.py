"""`python -m benchmarks.clients._child PAGE RECORD [PACKAGE...]`: a page in this environment."""

import datetime
import importlib.metadata
import json
import math
import platform
import sys
import time
from pathlib import Path

from benchmarks.clients._page import read_page, run_page
from benchmarks.clients._record import Client

ALWAYS = ("jax", "flax", "numpy")


def run(page: Path, packages: list[str]) -> Client:
    """Runs a page in this process and returns its record."""
    start = time.perf_counter()
    result, output = run_page(read_page(page))
    return {
        "measured": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in [*packages, *ALWAYS]},
        "differences": {name: _known(gap) for name, gap in result.differences.items()},
        "energy": _known(float(f"{result.energies.mean():.6g}")),
        "output": output,
        "seconds": round(time.perf_counter() - start, 1),
        "error": None,
    }


def _known(number: float) -> float | None:
    """None for what is not finite, which JSON has no number for."""
    return number if math.isfinite(number) else None


if __name__ == "__main__":
    page, record, *packages = sys.argv[1:]
    Path(record).write_text(json.dumps(run(Path(page), packages), allow_nan=False))
