"""The machine that figures were measured on."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import TypedDict

import jax

PACKAGES = (
    "kinetic_jax",
    "jax",
    "jaxlib",
    "flax",
    "diffrax",
    "numpy",
    "torch",
    "flow_matching",
    "torchcfm",
    "ott-jax",
    "faiss-cpu",
)
# Results may have been written by the suite before.
RESULTS = ":(exclude,top)benchmarks/results"


class Machine(TypedDict):
    """Device, versions and settings that a figure depends on.

    Attributes:
        device: kind of the devices.
        platform: "cpu", "gpu" or "tpu".
        devices: number of devices.
        cpus: number of cores.
        python: version of Python.
        versions: versions of the installed packages among `PACKAGES`.
        matmul_precision: JAX's setting.
        commit: of the repository; None without git.
        changed_since: whether tracked files differ from the commit.
    """

    device: str
    platform: str
    devices: int
    cpus: int | None
    python: str
    versions: dict[str, str]
    matmul_precision: str
    commit: str | None
    changed_since: bool


def machine() -> Machine:
    """The machine of this process."""
    device = jax.devices()[0]
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "matmul_precision": str(precision or "default"),
        "commit": _git("rev-parse", "HEAD"),
        "changed_since": bool(_git("status", "--porcelain", "-uno", "--", "..", RESULTS)),
    }


def device_name(machine: Machine) -> str:
    """The device as a part of a file's name, "cpu-2-cores" or "tpu-v5-lite-x8"."""
    if machine["platform"] == "cpu":
        return f"cpu-{machine['cpus']}-cores"
    name = re.sub(r"[^a-z0-9]+", "-", machine["device"].lower()).strip("-")
    return name if machine["devices"] == 1 else f"{name}-x{machine['devices']}"


def summary(machine: Machine) -> str:
    """The machine in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    commit = (machine["commit"] or "of no commit")[:12]
    changed = " with changes" if machine["changed_since"] else ""
    return (
        f"{machine['device']} ({machine['platform']}, {machine['devices']} device(s)), "
        f"{machine['cpus']} cores, Python {machine['python']}, {versions}, "
        f"matmul precision {machine['matmul_precision']}, commit {commit}{changed}"
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """The output of a git command on the tree of these benchmarks; None without git."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        process = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return process.stdout.strip()
