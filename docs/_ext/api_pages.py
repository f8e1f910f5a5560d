"""Writes a page of the reference for each public module, into the git-ignored `docs/api/*.rst`.

Docstrings are plain text with `code` in single backticks; here they become reStructuredText.
"""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import equinox as eqx
from public_names import PACKAGE, comment_of, described, members_of, modules, names_of, pages


def entry(module: str, name: str, thing: object) -> str:
    """The directive that describes one name."""
    full = f"{module}.{name}"
    if inspect.isclass(thing):
        members = ", ".join(members_of(thing))
        return f".. autoclass:: {full}\n" + (f"   :members: {members}\n" if members else "")
    if inspect.isroutine(thing):
        return f".. autofunction:: {full}\n"
    text = "\n".join(f"   {line}" for line in to_rst(comment_of(modules()[module], name)))
    return f".. py:data:: {name}\n   :module: {module}\n\n{text}\n"


def page(module: str) -> str:
    """The page of one module."""
    own, full = pages()[module], described()
    lines = [module, "=" * len(module), "", f".. automodule:: {module}", ""]
    above = [name for name in names_of(modules()[module]) if name not in own and name in full]
    if above:
        also = ", ".join(f":py:obj:`{name} <{full[name]}>`" for name in above)
        lines += [f"Also here, described with the names at the top: {also}.", ""]
    parts: dict[bool, list[str]] = {False: [], True: []}
    for name, thing in own.items():
        parts[is_record(thing)].append(entry(module, name, thing))
    lines += parts[False]
    if parts[False] and parts[True]:
        lines += ["Results and records", "-" * 19, ""]
    return "\n".join([*lines, *parts[True]])


def is_record(thing: object) -> bool:
    """True for a class of named fields, which functions return or take."""
    if not inspect.isclass(thing) or issubclass(thing, eqx.Module):
        return False
    return issubclass(thing, tuple) or dataclasses.is_dataclass(thing)


def write_pages(app: Any, config: Any) -> None:
    """Writes the pages that changed, so that the next build reads those alone."""
    for module in pages():
        name = module.removeprefix(f"{PACKAGE}.")
        path = Path(app.srcdir, "api", f"{name}.rst")
        text = page(module)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def to_rst(lines: list[str]) -> list[str]:
    """Escapes what reStructuredText would take for markup; doctests stay untouched."""
    blocks = re.split(r"(^[ ]*>>>.*?(?:\n[ ]*\n|\Z))", "\n".join(lines), flags=re.M | re.S)
    for i in range(0, len(blocks), 2):
        parts = re.split(r"`([^`]+)`", blocks[i])
        parts[::2] = [re.sub(r"([*|\\]|_(?!\w))", r"\\\1", text) for text in parts[::2]]
        parts[1::2] = [f"``{code}``" for code in parts[1::2]]
        blocks[i] = re.sub(
            r"^\\\|.*\n\\\|-.*\n(?:\\\|.*\n)*", list_table, "".join(parts), flags=re.M
        )
    return "".join(blocks).split("\n")


def list_table(table: re.Match[str]) -> str:
    """A Markdown table, escaped, as a directive."""
    rows = [row.strip().split(r"\|")[1:-1] for row in table[0].splitlines()]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (rows[0], *rows[2:]):
        lines += [f"   {' ' if i else '*'} - {cell.strip()}" for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def process(app: Any, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    """Converts one docstring, before napoleon reads its sections."""
    lines[:] = to_rst(lines)


def setup(app: Any) -> dict[str, bool]:
    """Connects the steps to the build."""
    app.connect("config-inited", write_pages)
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
