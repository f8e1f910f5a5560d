"""The time of importing the package against its dependencies, in new processes."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.speed._record import Claim, Recorder

ROOT = Path(__file__).parents[2]
BUILT_ON, OURS = "jax, equinox, diffrax and flax", "kinetic_jax, the names at its top"
PROGRAMS = {
    BUILT_ON: "import jax, equinox, diffrax, flax.linen, flax.nnx",
    OURS: "from kinetic_jax import *",
}


def process(program: str) -> Callable[[], object]:
    """A call that runs a program in a new Python process."""
    # Bytecode is kept, as by an installation, so that only the first call compiles it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", program]
    return functools.partial(subprocess.run, command, check=True, cwd=ROOT, env=environment)


def run(recorder: Recorder) -> None:
    """Times both programs, each with the start of Python."""
    programs = {name: process(program) for name, program in PROGRAMS.items()}
    recorder.times("importing, in a fresh process", programs, Claim(OURS, 1.15), dtype="no arrays")
