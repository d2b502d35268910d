"""Checks of what calls of the library are given: built things, whole numbers, paths."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metarl.kinds import is_of, is_whole
from metarl.operating_system import memory
from metarl.parts import Bound, Part
from metarl.starting_folder import from_start

SECONDS = Bound(lambda value: 0 <= value <= 10**6, "a number of seconds, a million at most")  # timers take no more


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
            raise ValueError(f"{name} must be {right}; got {_short(thing)}{_advice(thing, kind)}")


def _advice(thing: Any, kind: Any) -> str:
    if isinstance(thing, Part):
        return ": hand over what its build() makes"
    is_unmade = isinstance(thing, type) and isinstance(kind, type) and issubclass(thing, kind)
    return f": make one, {thing.__name__}()" if is_unmade else ""


def require_parts(**things: Any) -> None:
    """Raise ValueError unless things are parts, of metarl or of the user's own: objects with a method `build`."""
    for name, thing in things.items():
        is_part = callable(getattr(thing, "build", None)) and not isinstance(thing, type)
        if not is_part:
            advice = f": make one, {thing.__name__}()" if hasattr(thing, "build") else ""
            raise ValueError(f"{name} must be a part, which has a method build; got {_short(thing)}{advice}")


def require_integers(least: int, **values: Any) -> None:
    """Raise ValueError unless values are whole numbers that are not below `least`."""
    for name, value in values.items():
        if not is_whole(value):
            raise ValueError(f"{name} must be a whole number; got {value!r}")
        if value < least:
            raise ValueError(f"{name} must be at least {least}; got {value}")


def require_seconds(**values: Any) -> None:
    """Raise ValueError unless values are numbers of seconds for which something can wait."""
    for name, value in values.items():
        if not is_of(float, value):
            raise ValueError(f"{name} must be a number of seconds; got {value!r}")
        SECONDS.require(name, value)


def require_at_most(most: int, **values: int) -> None:
    """Raise ValueError for whole numbers above `most`."""
    for name, value in values.items():
        require(value <= most, f"{name} must be at most {most:,}; got {value}")


def require_room(needed: int, what: str) -> None:
    """Raise ValueError where something needs more bytes than there is memory.

    Otherwise the system would end this process, or others, without a word.

    Args:
        needed: the least number of bytes.
        what: what needs them, with its number: the beginning of the message.
    """
    room = memory()
    if room is not None and needed > room:
        raise ValueError(f"{what} need {_gigabytes(needed)} of memory at least; there are {_gigabytes(room)}")


def _gigabytes(count: int) -> str:
    """A number of bytes in words."""
    size = count / 2**30
    return f"{size:,.0f} GiB" if size >= 100 else f"{size:.3g} GiB"


def require_truths(**values: Any) -> None:
    """Raise ValueError unless values are True or False: Python takes the text "no" for true."""
    for name, value in values.items():
        # NumPy's have these names, too.
        if type(value).__name__ not in ("bool", "bool_"):
            raise ValueError(f"{name} must be True or False; got {value!r}")


def path_of(name: str, value: Any) -> Path:
    """The path that a text or a path stands for, `~` being the home; within a command, from where that was started.

    Raises:
        ValueError: it is anything else, or empty.
    """
    is_path = isinstance(value, str | os.PathLike) and str(value) != "" and "\0" not in str(value)
    if not is_path:
        raise ValueError(f"{name} must be a path; got {value!r}")
    try:
        return from_start(Path(value).expanduser())
    except RuntimeError as error:  # of a user that there is not
        raise ValueError(f"{name} must be a path; there is no home for {value}") from error


def _short(thing: Any) -> str:
    words = repr(thing)
    return words if len(words) <= 80 else type(thing).__name__
