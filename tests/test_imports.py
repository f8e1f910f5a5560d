"""Importing the package costs little more than what it is built on, and nothing before use."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
import kinetic_jax
before = sorted(sys.modules)
import jax, equinox, diffrax, flax.linen, flax.nnx
built_on = set(sys.modules)
from kinetic_jax import *
for name in ("exact", "metrics", "networks", "jobs", "data"):
    assert getattr(kinetic_jax, name) is sys.modules[f"kinetic_jax.{name}"]
print(json.dumps([before, sorted(set(sys.modules) - built_on), dir(kinetic_jax)]))
"""


def test_heavy_packages_are_loaded_when_they_are_used():
    """Orbax, SciPy, Rich's bars, scikit-learn and Matplotlib are for some users."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, loaded, names = json.loads(done.stdout)
    assert not {"jax", "numpy", "flax", "kinetic_jax.sampling"} & set(before)
    ours = sys.stdlib_module_names | {"kinetic_jax"}
    assert [name for name in loaded if name.split(".")[0] not in ours] == []
    assert {"sample", "kts", "jobs", "metrics", "plotting"} <= set(names)
