"""Formulas as MathML, which browsers show by themselves: no script, no network."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def mathml(node: nodes.math | nodes.math_block, display: str) -> str:
    """The formula of a node; one that cannot be converted is a warning."""
    try:
        return convert(node.astext(), display=display)
    except Exception as error:  # its errors have no common class
        LOGGER.warning("no MathML for %r: %r", node.astext(), error, location=node)
        return ""


def inline(writer: Any, node: nodes.math) -> None:
    """Writes a formula within a line."""
    writer.body.append(mathml(node, "inline"))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    """Writes a displayed formula."""
    writer.body.append(f'<div class="formula" tabindex="0">{mathml(node, "block")}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Registers the writer of formulas."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
