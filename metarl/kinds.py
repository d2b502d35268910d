"""Whether values are of the types that options declare: whole numbers, numbers, truth values, texts, lists of them."""

import os
import types
import typing
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of Python or NumPy; truth values are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {  # plain type -> whether a value is of it; the type in words
    int: (is_whole, "a whole number"),
    float: (lambda value: isinstance(value, Real) and not isinstance(value, bool), "a number"),
    bool: (lambda value: isinstance(value, bool), "True or False"),
    str: (lambda value: isinstance(value, str), "a text"),
    type(None): (lambda value: value is None, "None"),
}


def is_of(hint: Any, value: Any) -> bool:
    """Whether a value is of a plain type, a tuple (or list) of them or one of several; of any other hint it may be."""
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(is_of(kind, value) for kind in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        return isinstance(value, list | tuple) and all(is_of(arguments[0], item) for item in value)
    return hint not in KINDS or KINDS[hint][0](value)


def as_kind(hint: Any, value: Any) -> Any:
    """The value, or its text where it is a path and the hint is a text."""
    if isinstance(value, os.PathLike) and not is_of(hint, value) and is_of(hint, text := os.fspath(value)):
        return text
    return value


def type_in_words(hint: Any) -> str:
    """What values are of a hint."""
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(type_in_words, arguments))
    if origin is tuple:
        return f"a list of values that are each {type_in_words(arguments[0])}"
    return KINDS[hint][1] if hint in KINDS else str(hint)
