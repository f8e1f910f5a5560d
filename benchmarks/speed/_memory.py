"""Peaks of anonymous memory of calls on a memmap: `python -m benchmarks.speed._memory ROWS`."""

import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from kinetic_jax import EmpiricalField, nearest_neighbors

SIZE, BATCH, WRITTEN_AT_ONCE = 256, 256, 50_000


def anonymous() -> float:
    """Megabytes of anonymous memory of this process, without mapped pages of files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1e3
    raise OSError("/proc/self/status must contain RssAnon")


def rise(call: Callable[[], object]) -> float:
    """The maximal increase of anonymous memory during `call`, in megabytes."""
    before, highest, done = anonymous(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        call()
    finally:
        done.set()
        watcher.join()
    return highest - before


def calls_on(x: np.ndarray) -> dict[str, Callable[[np.ndarray], object]]:
    """The measured calls, as functions of the rows."""
    return {
        "nearest_neighbors": lambda rows: jax.block_until_ready(nearest_neighbors(x, rows, 2)),
        "EmpiricalField.on_batch": lambda rows: jax.block_until_ready(
            EmpiricalField(rows).on_batch(0.5, x)
        ),
    }


def main(rows: int) -> None:
    """Writes rows to a temporary file and prints the increase of each call."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        data = np.memmap(Path(folder) / "rows", np.float32, "w+", shape=(rows, SIZE))
        for start in range(0, rows, WRITTEN_AT_ONCE):
            part = data[start : start + WRITTEN_AT_ONCE]
            part[:] = rng.standard_normal(part.shape, np.float32)
        x = rng.standard_normal((BATCH, SIZE), np.float32)
        for name, call in calls_on(x).items():
            call(data[:WRITTEN_AT_ONCE])  # compiles
            print(f"{name} of a memmap\t{rise(lambda: call(data)):.0f}")  # noqa: B023


if __name__ == "__main__":
    main(int(sys.argv[1]))
