"""Puts `site_pages` of `conf.py` into the pages as a hidden table of contents.

The pages themselves stay plain Markdown, which GitHub shows as well. Notebooks are copied below
`docs` for the build, and `llms.txt` lists all pages for machines.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes

NOTEBOOKS = "notebooks"


def copy_notebooks(app: Any, config: Any) -> None:
    """Copies the notebooks into the git-ignored `docs/notebooks`, where Sphinx can see them."""
    there = Path(app.srcdir) / NOTEBOOKS
    there.mkdir(exist_ok=True)
    for notebook in (Path(app.srcdir).parent / NOTEBOOKS).glob("*.ipynb"):
        shutil.copy2(notebook, there)


def add_contents(app: Any, docname: str, source: list[str]) -> None:
    """Appends the table of contents of a page to its source."""
    pages = app.config.site_pages.get(docname)
    if pages:
        entries = "\n".join(str(Path("/") / page) for page in pages)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:glob:\n\n{entries}\n```\n"


def write_llms(app: Any, error: Exception | None) -> None:
    """Writes `llms.txt`: title and first sentence of every page, in the navigation's order."""
    if error is not None or app.builder.name != "html":
        return
    pages, root = app.env.toctree_includes, app.config.root_doc

    def link(docname: str) -> str:
        paragraphs = app.env.get_doctree(docname).findall(nodes.paragraph)
        texts = [" ".join(p.astext().split()) for p in paragraphs if p.parent.tagname == "section"]
        sentence = re.split(r"(?<=[.?])\s", next(filter(None, texts), ""))[0]
        return f"- [{app.env.titles[docname].astext()}]({docname}.html): {sentence}"

    lines = [f"# {app.config.project}", "", f"> {app.config.llms_summary}", ""]
    lines += [link(page) for page in (root, *pages[root])]
    for section in pages[root]:
        below = [link(page) for page in pages.get(section, ())]
        lines += ["", f"## {app.env.titles[section].astext()}", "", *below] if below else []
    Path(app.outdir, "llms.txt").write_text("\n".join(lines) + "\n")


def setup(app: Any) -> dict[str, bool]:
    """Connects the steps to the build."""
    app.add_config_value("site_pages", {}, "env")
    app.add_config_value("llms_summary", "", "html")
    app.connect("config-inited", copy_notebooks)
    app.connect("source-read", add_contents)
    app.connect("build-finished", write_llms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
