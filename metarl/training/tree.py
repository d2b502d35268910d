"""A configuration is a small tree of parts: what can be asked of such a tree, whatever parts it has.

An option is known by its name alone, which is unique in a tree, and so is a choice: `rule` names the part that was
chosen, `inner_step_size` an option of that part. In JSON a chosen part is an object with its own name first:

    {"seed": 1, "rule": {"name": "sgd", "inner_step_size": 0.1}, ...}
"""

import dataclasses
import difflib
import json
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from metarl.parts import HIDDEN, MAY_CHANGE, RECORDED, Option, Registry, check, options
from metarl.training.values import typed_value

NAME = "name"  # key of a chosen part's own name in JSON
Tree = TypeVar("Tree")


class Leaf(NamedTuple):
    """An option in a tree, with its value: for a choice the name of the chosen part."""

    owner: Any  # the part that has the option
    title: str  # of the owner, in words: `outer trpo`; empty for the tree itself
    option: Option
    value: Any


def leaves(part: Any, title: str = "") -> Iterator[Leaf]:
    """All options of a part and of the parts in it, a choice before the options of what is chosen."""
    for option in options(type(part)):
        value = getattr(part, option.name)
        if option.registry is None:
            yield Leaf(part, title, option, value)
        else:
            chosen = option.registry.name_of(value)
            yield Leaf(part, title, option, chosen)
            yield from leaves(value, f"{option.registry.kind} {chosen}")


def flat(part: Any) -> dict[str, Any]:
    """Values by the names of their options; of choices the names of the chosen parts.

    Raises:
        ValueError: two parts of the tree have an option of the same name.
    """
    values: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for leaf in leaves(part):
        name, owner = leaf.option.name, leaf.title or type(part).__name__
        if name in owners:
            raise ValueError(f"{owners[name]} and {owner} both have an option {name!r}: rename one")
        owners[name] = owner
        values[name] = leaf.value
    return values


def with_options(part: Tree, values: Mapping[str, Any]) -> Tree:
    """The tree with other values of some options; a choice may be given as a part, or by name with its defaults.

    Raises:
        ValueError: an option that no part of the tree has (the message says which part would have it), or a value out
            of its bounds.
    """
    changed, used = _changed(part, values)
    if foreign := [name for name in values if name not in used]:
        raise ValueError(unknown_option(part, foreign[0]))
    return changed


def _changed(part: Any, values: Mapping[str, Any]) -> tuple[Any, set[str]]:
    changes: dict[str, Any] = {}
    used: set[str] = set()
    for option in options(type(part)):
        own = getattr(part, option.name)
        if option.name in values:
            used.add(option.name)
            changes[option.name] = own = _chosen(option, own, values[option.name])
        if option.registry is not None:
            changes[option.name], below = _changed(own, values)
            used |= below
    return (dataclasses.replace(part, **changes) if changes else part), used


def _chosen(option: Option, own: Any, value: Any) -> Any:
    """The value of an option; of a choice by name the part: as it is if it is the same, else with its defaults."""
    if option.registry is None:
        return typed_value(option.name, option.hint, value)
    if not isinstance(value, str):
        return value
    return own if option.registry.name_of(own) == value else option.registry.find(value)()


def unknown_option(part: Any, name: str) -> str:
    """What is wrong with an option that no part of the tree has: whose it would be, or which it may be."""
    flag = f"--{name.replace('_', '-')}"
    for leaf in leaves(part):
        if leaf.option.registry is None:
            continue
        for other in leaf.option.registry.names:
            if name in {option.name for option in options(leaf.option.registry.find(other))}:
                kind = leaf.option.registry.kind
                return f"{flag} is an option of {kind} {other}; {kind} is {leaf.value} here"
    close = difflib.get_close_matches(name, flat(part), n=1)
    return f"there is no option {flag}" + (f"; did you mean --{close[0].replace('_', '-')}?" if close else "")


class Difference(NamedTuple):
    """An option that two trees have otherwise; one of them may lack it (None)."""

    name: str
    first: Any
    second: Any

    def __str__(self) -> str:
        return f"{self.name} is {self.first} there and {self.second} here"


def differences(first: Any, second: Any) -> list[Difference]:
    """Options that differ, but for those that may change at a resume. Of a choice that differs, the choice alone."""
    ours, theirs = ({leaf.option.name: leaf for leaf in leaves(tree)} for tree in (first, second))
    found = []
    for name in dict.fromkeys([*ours, *theirs]):
        leaf, other = ours.get(name), theirs.get(name)
        if leaf is None or other is None:
            continue  # its choice differs, which is found by itself
        if RECORDED in leaf.option.markers and None in (leaf.value, other.value):
            continue
        if leaf.value != other.value and MAY_CHANGE not in leaf.option.markers:
            found.append(Difference(name, leaf.value, other.value))
    return found


def to_dict(part: Any) -> dict[str, Any]:
    """Plain values, as JSON keeps them: tuples become lists."""
    return json.loads(json.dumps(_plain(part)))


def _plain(part: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option in options(type(part)):
        value = getattr(part, option.name)
        if option.registry is not None:
            value = {NAME: option.registry.name_of(value), **_plain(value)}
        values[option.name] = value
    return values


def from_dict(kind: type[Tree], values: Any) -> Tree:
    """The inverse of `to_dict`; options that are not there have their defaults.

    Raises:
        ValueError: an unknown or missing option, an unknown part, a value of another type or out of its bounds.
    """
    _require(isinstance(values, dict), f"the options of {kind.__name__} must be an object; got {values!r}")
    known = {option.name: option for option in options(kind)}
    if unknown := sorted(map(str, set(values) - set(known))):
        raise ValueError(f"unknown configuration field {unknown[0]!r} of {kind.__name__}")
    arguments: dict[str, Any] = {}
    for name, option in known.items():
        if name in values:
            arguments[name] = _read(option, values[name])
        elif option.default is dataclasses.MISSING:
            raise ValueError(f"configuration field {name!r} of {kind.__name__} is missing")
    part = kind(**arguments)
    check(part)  # of a part that does not derive from Part, too
    return part


def _read(option: Option, value: Any) -> Any:
    if option.registry is None:
        return typed_value(option.name, option.hint, value)
    named = isinstance(value, dict) and isinstance(value.get(NAME), str)
    _require(named, f"configuration field {option.name!r} must be an object with a name; got {value!r}")
    own = {name: one for name, one in value.items() if name != NAME}
    return from_dict(option.registry.find(value[NAME]), own)


def _require(condition: bool, words: str) -> None:
    if not condition:
        raise ValueError(words)


def from_flat(kind: type[Tree], values: Mapping[str, Any], surplus: Container[str] = ()) -> Tree:
    """A tree from values by the names of its options, a choice by the name of the part: how presets are written.

    Args:
        kind: the tree's class.
        values: by the names of options.
        surplus: names that may be there without an option of the tree.

    Raises:
        ValueError: an option that no chosen part has, a missing one, an unknown part, a value of another type or out
            of its bounds.
    """
    part, used = _assembled(kind, values)
    if foreign := [name for name in values if name not in used and name not in surplus]:
        raise ValueError(unknown_option(part, foreign[0]))
    return part


def _assembled(kind: type[Any], values: Mapping[str, Any]) -> tuple[Any, set[str]]:
    arguments: dict[str, Any] = {}
    used: set[str] = set()
    for option in options(kind):
        if option.name in values:
            used.add(option.name)
        elif option.default is dataclasses.MISSING:
            raise ValueError(f"--{option.name.replace('_', '-')} must be given for {kind.__name__}")
        value = values.get(option.name, option.default)
        if option.registry is None:
            arguments[option.name] = typed_value(option.name, option.hint, value) if option.name in values else value
            continue
        if isinstance(value, str):
            arguments[option.name], below = _assembled(option.registry.find(value), values)
        else:  # the default, a part
            arguments[option.name], below = _changed(value, values)
        used |= below
    return kind(**arguments), used


def registries(part: Any) -> dict[str, Registry[Any]]:
    """The choices of a tree: name of the option -> what can be chosen."""
    return {leaf.option.name: leaf.option.registry for leaf in leaves(part) if leaf.option.registry is not None}


def may_change(part: Any) -> set[str]:
    """The names of the options that may change at a resume: no part of the training's numbers."""
    return {leaf.option.name for leaf in leaves(part) if MAY_CHANGE in leaf.option.markers}


def recorded(part: Any) -> set[str]:
    """The names of the options that were noted where the training began, and not chosen."""
    return {leaf.option.name for leaf in leaves(part) if RECORDED in leaf.option.markers}


def is_hidden(option: Option) -> bool:
    """Whether an option has no flag."""
    return HIDDEN in option.markers
