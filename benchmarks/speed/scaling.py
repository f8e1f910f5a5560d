"""The work of each device of a mesh: its share, and no collectives.

Simulated devices share the cores of one machine, so their times mean nothing. The operations of a
device are read from the compiled program, in a new process for each number of devices.
"""

import json
import subprocess
import sys

from benchmarks.speed._record import Claim, Recorder

DEVICES = 1, 2, 4, 8
# Every device embeds the times, which all samples share.
SHARED = 1.05


def run(recorder: Recorder) -> None:
    """Operations and collectives of one of 1, 2, 4 and 8 devices."""
    batch, size, width, num_steps = recorder.pick((256, 784, 512, 100), (64, 8, 16, 2))
    rows = {
        f"{n} device{'s' if n > 1 else ''}": _compiled(n, batch, size, width, num_steps)
        for n in DEVICES
    }
    title = f"sample(mesh=), residual MLP, width {width}, {size} dimensions, batch {batch}"
    work = {name: values["operations"] for name, values in rows.items()}
    limits = (Claim(f"{n} devices", SHARED / n) for n in DEVICES[1:])
    recorder.figures(f"work of one device in a step, {title}", "operations", work, *limits)
    counts = {name: values["collectives"] for name, values in rows.items()}
    limits = (Claim(name, 0, figure=True) for name in list(counts)[1:])
    recorder.figures(f"collectives, {title}", "collectives", counts, *limits)


def _compiled(devices: int, *sizes: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.speed._scaling", *map(str, (devices, *sizes))]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(process.stdout)
