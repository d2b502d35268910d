"""Write reference pages from the code: a line `<!-- generate WHAT -->` in a page becomes what a function here returns.

`setup` makes this a Sphinx extension; `filled` is the same without Sphinx, for the tests.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import generated_parts
import generated_results
from docutils import nodes
from sphinx.application import Sphinx

MARKER = re.compile(r"^<!-- generate ([\w -]+) -->$", re.MULTILINE)
SIGNATURE = re.compile(r"^(\w+\(.*?\) -> \S+(?: \S+)*?) {2,}(\S.*)$")
GENERATORS: dict[str, Callable[..., str]] = {
    "scripts": generated_parts.scripts,
    "training": generated_parts.training,
    "problems": generated_parts.problems,
    "parts": generated_parts.parts,
    "presets": generated_parts.presets,
    "metrics": generated_parts.metrics,
    "environments": generated_parts.environments,
    "compared": generated_parts.compared,
    "costs": generated_results.costs,
    "errors": generated_results.errors,
    "optimisers": generated_results.optimisers,
    "runs": generated_results.runs,
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Have Sphinx fill every page when it is read, and read the pages that show the code each time."""
    app.connect("source-read", _read)
    app.connect("env-get-outdated", _outdated)
    app.connect("autodoc-process-docstring", _signatures)
    app.connect("doctree-read", _colons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = filled(source[0])


def _outdated(app: Sphinx, *_: object) -> list[str]:
    pages = [page for page in app.env.found_docs if MARKER.search(Path(app.env.doc2path(page)).read_text())]
    return [page for page in pages if page in app.env.all_docs]


def _signatures(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Make a list of lines such as `init(theta) -> state      what it is`, which docstrings align in columns."""
    lines[:] = [SIGNATURE.sub(r"* ``\1``: \2", line) for line in lines]


def _colons(app: Sphinx, document: nodes.document) -> None:
    """Put a colon between an argument and its meaning, where Sphinx leaves two hyphens."""
    for text in list(document.findall(nodes.Text)):
        if text == " -- " and text.parent is not None:
            text.parent.replace(text, nodes.Text(": "))


def filled(page: str) -> str:
    """The page with its markers replaced.

    Raises:
        ValueError: a marker of something that is not generated.
    """
    return MARKER.sub(lambda match: _generated(match[1]), page)


def _generated(what: str) -> str:
    name, *words = what.split()
    if name not in GENERATORS:
        raise ValueError(f"a page asks for {what!r}; generated are {', '.join(GENERATORS)}")
    return GENERATORS[name](*words)
