"""Plain values, as JSON has them, for the fields of a dataclass: of the right types, or refused."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal


def typed(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with lists made tuples and whole numbers floats, where the fields of `kind` are that.

    Raises:
        ValueError: an unknown or missing field, or a value of another type.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - set(fields)):
        raise ValueError(f"unknown configuration field {unknown[0]!r}")
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if missing := sorted(required - set(values)):
        raise ValueError(f"configuration field {missing[0]!r} is missing")
    return {name: _value(name, hints[name], value) for name, value in values.items()}


def _value(name: str, hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _value(name, arguments[0], value)
    if origin is types.UnionType or origin is typing.Union:  # of one type with None, or of plain types
        fitting = [kind for kind in arguments if _fits(kind, value)]
        return _value(name, fitting[0], value) if fitting else _refuse(name, hint, value)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(name, arguments[0], item) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: _value(name, arguments[1], item) for key, item in value.items()}
    if origin is Literal and value in arguments:
        return value
    if _fits(hint, value):
        return float(value) if hint is float else value
    return _refuse(name, hint, value)


def _fits(kind: Any, value: Any) -> bool:
    if typing.get_origin(kind) is not None:
        return False
    if kind is float:
        return type(value) is float or (type(value) is int and abs(value) < 2**53)
    return type(value) is kind  # True is no number


def _refuse(name: str, hint: Any, value: Any) -> None:
    words = getattr(hint, "__name__", None) if typing.get_origin(hint) is None else str(hint).replace("typing.", "")
    raise ValueError(f"configuration field {name!r} must be {words}; got {value!r}")
