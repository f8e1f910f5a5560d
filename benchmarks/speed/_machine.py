"""The machine that figures were measured on."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

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
# Not the files of results themselves, which a suite before may just have written.
RESULTS = ":(exclude,top)benchmarks/results"


def machine() -> dict[str, Any]:
    """Device, versions and settings that a figure depends on."""
    device = jax.devices()[0]
    config: Any = jax.config
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "matmul_precision": str(config.jax_default_matmul_precision or "default"),
        "commit": _git("rev-parse", "HEAD"),
        "changed_since": bool(_git("status", "--porcelain", "-uno", "--", "..", RESULTS)),
    }


def device_name(machine: dict[str, Any]) -> str:
    """The device as a part of a file's name, "cpu-2-cores" or "tpu-v5-lite-x8"."""
    if machine["platform"] == "cpu":
        return f"cpu-{machine['cpus']}-cores"
    name = re.sub(r"[^a-z0-9]+", "-", machine["device"].lower()).strip("-")
    return name if machine["devices"] == 1 else f"{name}-x{machine['devices']}"


def in_words(machine: dict[str, Any]) -> str:
    """One line of it."""
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
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
    """The answer of git for the tree of these benchmarks; None where there is no git."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
