"""Links that hold on GitHub and in the site alike, and pictures with alternative texts."""

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from public_names import PACKAGE, described
from sphinx import addnodes
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)

# Files and folders of the repository that the site has as pages, besides those in docs.
PAGES = {
    "README.md": "index",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "docs": "guide",
    "docs/gallery": "gallery/README",
    "notebooks": "notebooks",
    "kinetic_jax": "api/README",
}
LINKS = (addnodes.pending_xref, addnodes.download_reference)
NAME = re.compile(r"(kj\.|kinetic_jax\.)?([A-Za-z_]\w*(?:\.\w+)*)(?:\(.*\))?", re.S)


def leave_the_site(app: Any, document: nodes.document) -> None:
    """Points links to files outside `docs` to their pages, or to GitHub."""
    root, docname = Path(app.srcdir).parent, app.env.docname
    here = Path(app.env.doc2path(docname)).parent
    for node in list(document.findall(lambda node: isinstance(node, LINKS))):
        is_page = node["refdomain"] == "doc"
        if node.get("reftype") != "myst" or (is_page and not Path(node["reftarget"]).is_absolute()):
            continue
        # MyST cuts the endings of pages. The text may be that of a file at the root, included here.
        endings = (".md", ".ipynb") if is_page else ("",)
        paths = [f / (node["reftarget"] + end) for f in (here, root) for end in endings]
        target = next((Path(os.path.normpath(path)) for path in paths if path.exists()), root)
        if target == root or not target.is_relative_to(root):
            continue
        inside = target.relative_to(root).as_posix()
        page = PAGES.get(inside)
        if target.suffix == ".ipynb":
            page = inside.removesuffix(".ipynb")
        if page:
            to = {"refdomain": "doc", "reftarget": page, "reftargetid": None, "reftype": "myst"}
            to |= {"refdoc": docname, "refexplicit": True}
            node.replace_self(addnodes.pending_xref("", *node.children, **to))
        elif isinstance(node, addnodes.pending_xref):
            kind = "tree" if target.is_dir() else "blob"
            url = f"{app.config.repository}/{kind}/main/{inside}"
            node.replace_self(nodes.reference("", "", *node.children, refuri=url))


def arguments_around(node: nodes.Node) -> set[str]:
    """The names of the arguments of what is described around a node."""
    around: set[str] = set()
    while node := node.parent:
        if isinstance(node, addnodes.desc):
            for argument in node[0].findall(addnodes.desc_parameter):
                around.update(name.astext() for name in argument.findall(addnodes.desc_sig_name))
    return around


def link_names(app: Any, document: nodes.document) -> None:
    """Links `code` that is a public name to its description.

    A name that begins with `kj.` must exist: the build fails on a misspelled one. In a description,
    the names of arguments are no links.
    """
    for node in list(document.findall(nodes.literal)):
        match = NAME.fullmatch(node.astext())
        in_link = isinstance(node.parent, nodes.reference | addnodes.pending_xref | nodes.title)
        if in_link or not match or match[2] in arguments_around(node):
            continue
        must_exist = match[1] == "kj."
        target = f"{PACKAGE}.{match[2]}" if match[1] else match[2]
        target = PACKAGE if match[2] in ("kj", PACKAGE) else described().get(match[2], target)
        owner, _, member = match[2].rpartition(".")
        if owner in described():
            target = f"{described()[owner]}.{member}"
        elif not (must_exist or match[2] in described() or target == PACKAGE):
            continue
        options = {"refdomain": "py", "reftype": "obj", "refdoc": app.env.docname}
        options |= {"reftarget": target, "must_exist": must_exist}
        node.replace_self(addnodes.pending_xref("", node.deepcopy(), **options))


def link_to_owner(app: Any, env: Any, node: Any, text: nodes.Node) -> nodes.Node | None:
    """Links an attribute without a description of its own to its class."""
    if "must_exist" not in node:
        return None
    owner, _, member = node["reftarget"].rpartition(".")
    thing = described(objects=True).get(owner)
    exists = hasattr(thing, member) or member in getattr(thing, "__annotations__", ())
    if exists:
        domain = env.get_domain("py")
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", owner, node, text)
    return None if node["must_exist"] else text


def require_alternative_texts(app: Any, document: nodes.document) -> None:
    """Warns of a picture without an alternative text, which fails the build."""
    for image in document.findall(nodes.image):
        if not image.get("alt"):
            LOGGER.warning("a picture has no alternative text: %s", image["uri"], location=image)


def setup(app: Any) -> dict[str, bool]:
    """Connects the steps to the build."""
    app.add_config_value("repository", "", "env")
    for step in (leave_the_site, link_names, require_alternative_texts):
        app.connect("doctree-read", step)
    app.connect("missing-reference", link_to_owner)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
