import gc
import os
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import pytest

# Half of the suite's time is spent in XLA's compiler, for programs that run once on a few numbers.
# XLA_FLAGS="" compiles them as users do, as the gate does on the newest JAX.
FLAGS = ["--xla_backend_optimization_level=0"]
if jax.__version_info__[:2] == (0, 10):  # later ones do not know the flag
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))

# Strict from the first import on: an implicit promotion or rank broadcast is a defect here.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# For meshes; whatever names no device runs on the first.
jax.config.update("jax_num_cpu_devices", 8)

# The first example of a test compiles, however long that takes on a busy machine.
hypothesis.settings.register_profile("kinetic_jax", deadline=None)
hypothesis.settings.load_profile("kinetic_jax")


DOCS = Path(__file__).parents[1] / "docs"

# Programs that made the files beside them by packages that the tests do without.
collect_ignore_glob = ["*/make.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Pages of the documentation are in the second lane, unless they are asked for by name."""
    for item in items:
        if item.path.is_relative_to(DOCS):
            item.add_marker("long")


@pytest.fixture
def x64():
    """Runs a test in double precision; everything else runs in single, as users do."""
    with jax.enable_x64(True):
        yield


_COMPILED = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: _COMPILED.append(name) if "backend_compile" in name else None
)


@pytest.fixture
def compilations():
    """How many programs were compiled up to now."""
    return lambda: len(_COMPILED)


MAPS = Path("/proc/self/maps")
MANY_MAPS = 30_000


@pytest.fixture(autouse=True, scope="module")
def bounded_memory_maps():
    """Drops compiled programs before they map too much memory; until then modules share them.

    A process has 65,530 maps; LLVM's next one ends in a segmentation fault.
    """
    yield
    if not MAPS.exists() or len(MAPS.read_bytes().splitlines()) > MANY_MAPS:
        jax.clear_caches()
    # Programs live on: without this the garbage collector walks over all of them again and again.
    gc.collect()
    gc.freeze()


@pytest.fixture
def own_messages():
    """Without runtime type checks, which would speak before the library's own messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
