"""Measure and shape how flow-matching models move.

The most used names are here (`kinetic_jax/_public.py`); everything else public is in the
submodules `comparison`, `copies`, `data`, `energy`, `exact`, `fields`, `jobs`, `manifolds`,
`metrics`, `networks`, `plotting`, `sampling`, `training`, `transforms` and `tuning`. Both are
loaded, and JAX with them, when one is first used: until then the command line answers `--help` and
Ctrl-C at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from kinetic_jax import comparison as comparison
    from kinetic_jax import copies as copies
    from kinetic_jax import data as data
    from kinetic_jax import energy as energy
    from kinetic_jax import exact as exact
    from kinetic_jax import fields as fields
    from kinetic_jax import jobs as jobs
    from kinetic_jax import manifolds as manifolds
    from kinetic_jax import metrics as metrics
    from kinetic_jax import networks as networks
    from kinetic_jax import plotting as plotting
    from kinetic_jax import sampling as sampling
    from kinetic_jax import training as training
    from kinetic_jax import transforms as transforms
    from kinetic_jax import tuning as tuning
    from kinetic_jax._public import *  # noqa: F403
else:
    _SUBMODULES = {
        *(
            "comparison",
            "copies",
            "data",
            "energy",
            "exact",
            "fields",
            "jobs",
            "manifolds",
            "metrics",
            "networks",
        ),
        *("plotting", "sampling", "training", "transforms", "tuning"),
    }

    def __getattr__(name: str) -> Any:
        if name in _SUBMODULES:
            return importlib.import_module(f"{__name__}.{name}")
        # Private names are asked for while modules are being imported.
        if name == "__all__" or not name.startswith("_"):
            _load()
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        _load()
        return sorted({*globals()["__all__"], "__version__", *_SUBMODULES})

    def _load() -> None:
        public = vars(importlib.import_module("kinetic_jax._public"))
        names = [name for name in public if not name.startswith("_")]
        globals().update({name: public[name] for name in names}, __all__=names)
