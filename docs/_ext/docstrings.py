"""Fails the build on a public name whose docstring is incomplete.

Everything public has one line. Besides, by kind:

- a function, and a class with a constructor of its own: `Args` with every argument (a class may
  have them under `Attributes`), `Raises` if its own code raises or calls a helper that checks, an
  example (`>>>`); a function that returns something: `Returns`;
- any other class, such as a result, which users only receive: `Attributes` with every field;
- a method or a property of a class that is public: nothing besides its line;
- a constant: a comment `#:` above it.
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any

from public_names import PACKAGE, comment_of, members_of, modules, pages

CONSTRUCTORS = ("__post_init__", "__check_init__", "__init__")
HELPER = re.compile(r"_?(check|require|refuse)")
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Example|References):$", re.M)


def sections(thing: object) -> dict[str, str]:
    """The docstring by section; the first, "", is what comes before them."""
    parts = SECTION.split(inspect.cleandoc(getattr(thing, "__doc__", None) or ""))
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def described_in(text: str) -> set[str]:
    """The names that a section `Args` or `Attributes` describes, `a, b: text` among them."""
    groups = re.findall(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)*):", text, re.M)
    return {name.strip("* ") for group in groups for name in group.split(",")}


def constructor(cls: type) -> Any:
    """The constructor that users call; None if the fields are merely stored."""
    for name in CONSTRUCTORS:
        function = inspect.unwrap(vars(cls)[name]) if name in vars(cls) else None
        is_own = inspect.isfunction(function) and function.__module__ == cls.__module__
        if is_own and not function.__code__.co_filename.startswith("<"):  # made by `dataclass`
            return function
    return None


@cache
def raises(function: Any) -> bool:
    """True if a function's own code raises or calls a helper that checks."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {call.id for call in calls if isinstance(call, ast.Name)}
    helpers = vars(importlib.import_module(f"{PACKAGE}._checks"))
    return (
        any(isinstance(node, ast.Raise) for node in ast.walk(tree))
        or any(HELPER.match(name) for name in names)
        or any(inspect.isfunction(f := helpers.get(n)) and raises(f) for n in names)
    )


def missing(thing: Any) -> Iterator[str]:
    """The parts that the docstring of a function or class lacks."""
    doc = sections(thing)
    if not doc[""]:
        yield "a docstring"
    function = thing
    if inspect.isclass(thing):
        for name in members_of(thing):
            if not inspect.getdoc(getattr(thing, name)):
                yield f"a docstring of its member {name}"
        function = constructor(thing)
        if function is None:
            fields = {f for f in vars(thing).get("__annotations__", ()) if not f.startswith("_")}
            for name in sorted(fields - described_in(doc.get("Attributes", ""))):
                yield f"the attribute {name}"
            return
    arguments = set(inspect.signature(function).parameters) - {"self"}
    if function.__name__ == "__post_init__":
        arguments = set(inspect.signature(thing).parameters)
    text = doc.get("Args", "") + doc.get("Attributes", "")
    for name in sorted(arguments - described_in(text)):
        yield f"the argument {name}"
    if function is thing and function.__annotations__.get("return") and "Returns" not in doc:
        yield "Returns"
    if raises(function) and "Raises" not in doc:
        yield "Raises"
    if ">>>" not in doc.get("Example", ""):
        yield "an example"


def incomplete() -> dict[str, list[str]]:
    """The missing parts, by the full name of each public object."""
    lacking = {}
    for module, own in pages().items():
        for name, thing in own.items():
            if inspect.isclass(thing) or inspect.isfunction(thing):
                parts = list(missing(thing))
            else:
                parts = [] if comment_of(modules()[module], name) else ["a comment #:"]
            if parts:
                lacking[f"{module}.{name}"] = parts
    return lacking


def check(app: Any) -> None:
    """Ends the build if anything is missing."""
    from sphinx.errors import SphinxError

    lacking = [f"{name}: {', '.join(parts)}" for name, parts in incomplete().items()]
    if lacking:
        raise SphinxError("incomplete docstrings:\n" + "\n".join(lacking))


def setup(app: Any) -> dict[str, bool]:
    """Checks before anything is read."""
    app.connect("builder-inited", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
