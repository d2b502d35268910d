"""Checks of what calls of the library are given: built things, whole numbers, paths."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metarl.kinds import is_whole
from metarl.parts import Part


def require(condition: bool, words: str) -> None:
    """Raise ValueError with these words unless a condition holds."""
    if not condition:
        raise ValueError(words)


def require_built(**things: tuple[Any, Any]) -> None:
    """Raise ValueError unless things are of the classes that are asked for, with advice where one is a part.

    Args:
        things: by name; each with the class that it must be of, or `Callable` where it must be a function.
    """
    for name, (thing, kind) in things.items():
        is_right = isinstance(thing, kind)
        if not is_right:
            right = "a function" if kind is Callable else f"of the class {kind.__name__}"
            advice = ": hand over what its build() makes" if isinstance(thing, Part) else ""
            raise ValueError(f"{name} must be {right}; got {_short(thing)}{advice}")


def require_integers(least: int, **values: Any) -> None:
    """Raise ValueError unless values are whole numbers that are not below `least`."""
    for name, value in values.items():
        if not is_whole(value):
            raise ValueError(f"{name} must be a whole number; got {value!r}")
        if value < least:
            raise ValueError(f"{name} must be at least {least}; got {value}")


def require_truths(**values: Any) -> None:
    """Raise ValueError unless values are True or False: Python takes the text "no" for true."""
    for name, value in values.items():
        # NumPy's have these names, too.
        if type(value).__name__ not in ("bool", "bool_"):
            raise ValueError(f"{name} must be True or False; got {value!r}")


def path_of(name: str, value: Any) -> Path:
    """The path that a text or a path stands for, `~` being the home. Raises ValueError for anything else, and ""."""
    is_path = isinstance(value, str | os.PathLike) and str(value) != "" and "\0" not in str(value)
    if not is_path:
        raise ValueError(f"{name} must be a path; got {value!r}")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # of a user that there is not
        raise ValueError(f"{name} must be a path; there is no home for {value}") from error


def _short(thing: Any) -> str:
    words = repr(thing)
    return words if len(words) <= 80 else type(thing).__name__
