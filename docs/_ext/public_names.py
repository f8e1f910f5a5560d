"""The public names of the package, each with the one page that describes it."""

import ast
import importlib
import inspect
import types
from functools import cache

PACKAGE = "kinetic_jax"
TOP = f"{PACKAGE}._public"


def names_of(module: types.ModuleType) -> dict[str, object]:
    """The exports of a module: its names that are neither private nor modules."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }


def modules() -> dict[str, types.ModuleType]:
    """The package and its public submodules, by full name."""
    package = importlib.import_module(PACKAGE)
    listed = {PACKAGE: importlib.import_module(TOP)}
    for name in dir(package):
        value = getattr(package, name)
        if inspect.ismodule(value) and value.__name__ == f"{PACKAGE}.{name}":
            listed[value.__name__] = value
    return listed


@cache
def pages() -> dict[str, dict[str, object]]:
    """By module, the objects that its page describes.

    An object with several names is described at its first one: at the top of the package, if it is
    there. Types of other packages, which are exported for annotations, are not described.
    """
    listed: dict[str, dict[str, object]] = {}
    seen: set[int] = set()
    for module, value in modules().items():
        own = listed.setdefault(module, {})
        for name, thing in names_of(value).items():
            of = getattr(thing, "__module__", PACKAGE)
            foreign = inspect.isclass(thing) and of.partition(".")[0] != PACKAGE
            if id(thing) not in seen and not foreign:
                seen.add(id(thing))
                own[name] = thing
    return listed


@cache
def described(objects: bool = False) -> dict[str, object]:
    """Full names by the names that people write, `sample` or `metrics.spearman`.

    Args:
        objects: the objects by full name instead.
    """
    full = [
        (f"{module}.{name}", name, o) for module, own in pages().items() for name, o in own.items()
    ]
    if objects:
        return {path: thing for path, _, thing in full}
    short = {name: path for path, name, _ in reversed(full)}
    return short | {path.removeprefix(f"{PACKAGE}."): path for path, _, _ in full}


def comment_of(module: types.ModuleType, name: str) -> list[str]:
    """The comment `#:` above a constant, in the file that defines it."""
    source = inspect.getsource(module)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return comment_of(importlib.import_module(node.module or ""), name)
    lines: list[str] = []
    for line in reversed(source.split(f"\n{name}:")[0].split("\n")):
        if not line.startswith("#:"):
            break
        lines.insert(0, line.removeprefix("#:").strip())
    return lines


def members_of(cls: type) -> list[str]:
    """Public methods and properties that a class defines itself."""
    kinds = (property, classmethod, staticmethod)
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds))
    ]
