"""How `--help` says what a flag takes, what it does without being given, and what a script is for."""

import dataclasses
import shutil
import textwrap
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tyro

from metarl.parts import Option

WIDEST = 100  # columns of a paragraph on a wide terminal
NARROWEST = 20  # columns of a paragraph
INDENT = "  "
NAMES = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH"}


def argument(hint: Any, words: str, default: Any, metavar: str | None = None) -> Any:
    """What tyro is to show of a flag: what it takes, its meaning, its default where the meaning does not say it.

    Args:
        hint: the flag's type, without metadata.
        words: the flag's meaning.
        default: the value without the flag; any value where one must be given.
        metavar: what the flag takes, in place of what its type says.
    """
    behavior = (lambda label: f"(default: {label})") if _is_shown(default, words) else ""
    return tyro.conf.arg(help=words, metavar=metavar or takes(hint), help_behavior_hint=behavior)


def _is_shown(default: Any, words: str) -> bool:
    """Whether `--help` shows a default: an empty value never, None only where the words say what None does."""
    if default is None:
        return "None:" in words
    return default is not dataclasses.MISSING and default not in ((), "")


def takes(hint: Any) -> str | None:
    """What a flag of this type takes: INT, `INT ...` of several, {a,b} of choices. None: as tyro says it."""
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if hint in NAMES:
        return NAMES[hint]
    if origin is Literal:
        return f"{{{','.join(map(str, arguments))}}}"
    if origin in (typing.Union, types.UnionType):
        kinds = [kind for kind in arguments if kind is not type(None)]
        # A flag that may be left open takes True or False; one that may not is a pair of flags.
        return "{True,False}" if kinds == [bool] else takes(kinds[0]) if len(kinds) == 1 else None
    if origin is tuple and (inner := takes(arguments[0])) is not None:
        return f"{inner} ..."
    return None


def positional(option: Option) -> str:
    """What stands for an argument without a flag: its name, `[NAME ...]` if there may be several."""
    name = option.name.upper()
    if typing.get_origin(option.hint) is tuple:
        return f"[{name.removesuffix('S')} ...]"
    return name if option.default is dataclasses.MISSING else f"[{name}]"


def paragraphs(text: str) -> str:
    """Text in lines that fit the terminal; tyro would break words at its edge, and joins lines that are not indented.

    Lines that begin with spaces stay as they are: see `listing`.
    """
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        if "\n  " in paragraph:
            lines += paragraph.splitlines()
        else:
            lines += textwrap.wrap(" ".join(paragraph.split()), _width())
    return "\n".join(f"{INDENT}{line}" for line in lines)


def listing(title: str, rows: Mapping[str, str]) -> str:
    """Names and what they are, one below the other under a title, in lines that fit the terminal."""
    column = max(map(len, rows)) + 4
    lines = [
        textwrap.fill(words, _width(), initial_indent=f"  {name}".ljust(column), subsequent_indent=" " * column)
        for name, words in rows.items()
    ]
    return "\n".join([f"{title}:", *lines])


def _width() -> int:
    return max(NARROWEST, min(shutil.get_terminal_size().columns, WIDEST) - len(INDENT))
