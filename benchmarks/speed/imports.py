"""Time that importing the package takes beyond what it is built on, in fresh processes."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.speed._record import Claim, Recorder

ROOT = Path(__file__).parents[2]
BUILT_ON, OURS = "jax, equinox, diffrax and flax", "kinetic_jax, all public names"
PROGRAMS = {
    BUILT_ON: "import jax, equinox, diffrax, flax.linen, flax.nnx",
    OURS: "from kinetic_jax import *",
}


def process(program: str) -> Callable[[], Any]:
    """A call that runs a program in a Python of its own."""
    # Bytecode is kept, as an installation keeps it: the first call alone compiles.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", program]
    return functools.partial(subprocess.run, command, check=True, cwd=ROOT, env=environment)


def run(recorder: Recorder) -> None:
    """Both programs in turn; the start of Python is in both."""
    programs = {name: process(program) for name, program in PROGRAMS.items()}
    recorder.times("importing, in a fresh process", programs, Claim(OURS, 1.15), dtype="no arrays")
