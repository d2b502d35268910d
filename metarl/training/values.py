"""Plain values, as JSON has them, converted to the types of options, or rejected."""

import contextlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON gives them back. Raises ValueError for what it cannot take."""

    def of_numpy(item: Any) -> Any:
        if isinstance(item, np.generic | np.ndarray):
            return item.tolist()
        raise TypeError(f"got {item!r}")

    try:
        return json.loads(json.dumps(dict(values), default=of_numpy))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"config must be texts, numbers, and lists and dicts of them, by name: {error}") from error


def typed_value(name: str, hint: Any, value: Any) -> Any:
    """Convert a value to the type of its option: lists to tuples, whole numbers to floats.

    Raises:
        ValueError: the value has another type.
    """
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin is Annotated:
        return typed_value(name, arguments[0], value)
    if origin is types.UnionType or origin is typing.Union:
        for kind in arguments:
            with contextlib.suppress(ValueError):
                return typed_value(name, kind, value)
        raise _wrong_type(name, hint, value)
    if hint is Any:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(typed_value(name, arguments[0], item) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: typed_value(name, arguments[1], item) for key, item in value.items()}
    if origin is Literal and any(value == choice and type(value) is type(choice) for choice in arguments):
        return value
    if _fits(hint, value):
        return float(value) if hint is float else value
    raise _wrong_type(name, hint, value)


def _fits(kind: Any, value: Any) -> bool:
    if typing.get_origin(kind) is not None:
        return False
    if kind is float:
        return type(value) is float or (type(value) is int and abs(value) < 2**53)
    # Not isinstance, for which True is a number.
    return type(value) is kind


def _wrong_type(name: str, hint: Any, value: Any) -> ValueError:
    words = getattr(hint, "__name__", None) if typing.get_origin(hint) is None else str(hint).replace("typing.", "")
    if typing.get_origin(hint) is Literal:
        words = f"one of {', '.join(map(str, typing.get_args(hint)))}"
    return ValueError(f"configuration field {name!r} must be {words}; got {value!r}")
