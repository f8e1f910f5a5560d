"""The contents of the wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel's files and their packed sizes."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as packed:
        return file.stat().st_size, {one.filename for one in packed.infolist()}


def test_it_is_small(wheel):
    assert wheel[0] <= 15e6


def test_it_holds_the_package_and_nothing_else(wheel):
    names = {name for name in wheel[1] if ".dist-info/" not in name}
    listed = subprocess.run(
        ["git", "ls-files", "kinetic_jax"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert names == set(listed.stdout.split())
    weights = {Path(name).name for name in names if name.endswith(".npz") and "weights" in name}
    assert weights == {
        "classifier.npz",
        "general.npz",
        "memorizing.npz",
        "memorizing-step-1000.npz",
    }
