"""Markdown for the reference pages: tables, and the docstrings and options of classes."""

import inspect
import textwrap
from collections.abc import Iterable
from typing import Any

from metarl.training.flags import reference


def flag_rows(kind: type) -> list[list[str]]:
    """The rows of a table of options: the flag, type, default and meaning of each option of a part."""
    return [[f"`{flag}`", *others] for flag, *others in reference(kind)]


def options_table(rows: list[list[str]]) -> str:
    """A table of options, or the words that there are none."""
    if not rows:
        return "It has no options.\n"
    return table(["option", "type", "default", "meaning"], rows)


def table(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(words: str) -> str:
    """Words that stay as they are in a cell: no column, and no emphasis unless they are code."""
    words = " ".join(words.split()).replace("|", r"\|")
    return words if words.startswith("`") else words.replace("*", r"\*")


def docstring(kind: type) -> str:
    """The docstring of a class, as it stands in its own source."""
    return textwrap.dedent(inspect.cleandoc(kind.__doc__ or ""))


def sentence(kind: type) -> str:
    """The first line of a class's docstring, without its full stop."""
    return docstring(kind).splitlines()[0].removesuffix(".")


def value_words(value: Any) -> str:
    """An option's value as a command line would give it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
