"""The work of each device of a mesh: its share, and no collective.

Simulated devices share the cores of one machine, so that their times would say nothing; what each
of them is given to do is read off the compiled program, in a process of its own for each number.
"""

import json
import subprocess
import sys

from benchmarks.speed._record import Claim, Recorder

DEVICES = 1, 2, 4, 8
# Beside its samples a device embeds the times, which all samples share.
SHARED = 1.05


def run(recorder: Recorder) -> None:
    """Operations and collectives of one device, of 1, 2, 4 and 8."""
    batch, size, width, num_steps = recorder.pick((256, 784, 512, 100), (64, 8, 16, 2))
    found = {n: _compiled(n, batch, size, width, num_steps) for n in DEVICES}
    rows = {f"{n} device{'s' if n > 1 else ''}": values for n, values in found.items()}
    title = f"sample(mesh=), residual MLP, width {width}, {size} dimensions, batch {batch}"
    work = {name: values["operations"] for name, values in rows.items()}
    limits = (Claim(f"{n} devices", SHARED / n) for n in DEVICES[1:])
    recorder.figures(f"work of one device in a step, {title}", "operations", work, *limits)
    counts = {name: values["collectives"] for name, values in rows.items()}
    limits = (Claim(name, 0, figure=True) for name in list(counts)[1:])
    recorder.figures(f"collectives, {title}", "collectives", counts, *limits)


def _compiled(devices: int, *sizes: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.speed._scaling", *map(str, (devices, *sizes))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)
