"""Measure and shape how flow-matching models move.

Data flows down this list of packages: fields, transforms, energy, sampling, metrics, networks,
data, training, _pretrained, jobs, demo. The public names are those of
`kinetic_jax/_public.py`; the first use of one loads them all, and JAX: until then the command line
answers `--help` and Ctrl-C at once.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from kinetic_jax._public import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        """Loads the public names; private ones are asked for while modules are being imported."""
        if name == "__all__" or not name.startswith("_"):
            _load()
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        _load()
        packages = [name for name, value in globals().items() if isinstance(value, ModuleType)]
        own = [name for name in packages if f"{__name__}.{name}" in sys.modules]
        return sorted([*globals()["__all__"], "__version__", *own])

    def _load() -> None:
        public = vars(importlib.import_module("kinetic_jax._public"))
        names = [name for name in public if not name.startswith("_")]
        globals().update({name: public[name] for name in names}, __all__=names)
