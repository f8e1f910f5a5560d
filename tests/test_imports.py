"""Importing the package costs little more than what it is built on, and nothing before use."""

import inspect
import json
import subprocess
import sys
import typing

import pytest

import kinetic_jax as kj

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


@pytest.mark.long
def test_heavy_packages_are_loaded_when_they_are_used():
    """Orbax, SciPy, Rich's bars, scikit-learn and Matplotlib are for some users."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, loaded, names = json.loads(done.stdout)
    assert not {"jax", "numpy", "flax", "kinetic_jax.sampling"} & set(before)
    ours = sys.stdlib_module_names | {"kinetic_jax"}
    assert [name for name in loaded if name.split(".")[0] not in ours] == []
    assert {"sample", "kts", "jobs", "metrics", "plotting"} <= set(names)


def classes_in(annotation):
    """The classes of this package in an annotation."""
    parts = typing.get_args(annotation)
    if parts:
        origin = typing.get_origin(annotation)
        return set.union(classes_in(origin), *map(classes_in, parts))
    is_ours = inspect.isclass(annotation) and annotation.__module__.startswith("kinetic_jax.")
    return {annotation} if is_ours else set()


@pytest.mark.parametrize("module", [kj.exact, kj.jobs, kj.metrics], ids=lambda m: m.__name__)
def test_the_type_of_each_result_can_be_imported(module):
    """Those of its fields as well, from the module of the function or from their own package."""
    functions = [value for value in vars(module).values() if inspect.isfunction(value)]
    waiting = set.union(*(classes_in(typing.get_type_hints(f)["return"]) for f in functions))
    seen = set()
    while waiting - seen:
        cls = (waiting - seen).pop()
        seen.add(cls)
        if hasattr(cls, "_fields") or hasattr(cls, "__dataclass_fields__"):
            waiting |= set().union(*map(classes_in, typing.get_type_hints(cls).values()))
    assert len(seen) > 3
    for cls in seen:
        package = getattr(kj, cls.__module__.split(".")[1])
        assert cls in (getattr(module, cls.__name__, None), getattr(package, cls.__name__, None))
