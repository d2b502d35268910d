"""Formulas as MathML, which browsers draw by themselves: pages with formulas need neither a script nor the internet.

Sphinx's own renderers load MathJax from a server, or need a TeX installation.
"""

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def written(node: nodes.Element, *, block: bool) -> str:
    """A formula as MathML. Warns, with the formula's place, and returns its TeX where docutils cannot translate it."""
    try:
        return tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        LOGGER.warning("formula %r: %s", node.astext(), error, location=node)
        return node.astext()


def inline(writer: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    writer.body += [writer.starttag(node, "span", "", CLASS="math"), written(node, block=False), "</span>"]
    raise nodes.SkipNode


def display(writer: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own."""
    writer.body += [writer.starttag(node, "div", "", CLASS="math"), written(node, block=True), "</div>\n"]
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Offer the renderer, which `html_math_renderer` of conf.py chooses."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
