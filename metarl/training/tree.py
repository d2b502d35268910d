"""Functions on a configuration, which is a small tree of parts; they work with any parts.

Names of options are unique in a tree. A choice among parts is an option too: `rule` has the name of the chosen part,
`inner_step_size` is an option of that part. In JSON a chosen part is an object whose `name` comes first:

    {"seed": 1, "rule": {"name": "sgd", "inner_step_size": 0.1}, ...}
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from metarl.arguments import require
from metarl.parts import HIDDEN, MAY_CHANGE, RECORDED, Option, Registry, check, options
from metarl.training.values import typed_value

NAME = "name"  # key of a chosen part's own name in JSON
Tree = TypeVar("Tree")


class Leaf(NamedTuple):
    """An option in a tree, with its value; the value of a choice is the name of the chosen part."""

    owner: Any  # the part that has the option
    title: str  # the owner in words, such as `outer trpo`; empty for the tree itself
    option: Option
    value: Any


def leaves(part: Any, title: str = "") -> Iterator[Leaf]:
    """All options of a part and of the parts in it, a choice before the options of the chosen part."""
    for option in options(type(part)):
        value = getattr(part, option.name)
        if option.registry is None:
            yield Leaf(part, title, option, value)
        else:
            chosen = option.registry.name_of(value)
            yield Leaf(part, title, option, chosen)
            yield from leaves(value, f"{option.registry.kind} {chosen}")


def flat(part: Any) -> dict[str, Any]:
    """The values of a tree by the names of their options; a choice has the name of the chosen part.

    Raises:
        ValueError: two parts of the tree have an option of the same name.
    """
    values: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for leaf in leaves(part):
        name = leaf.option.name
        owner = leaf.title or type(part).__name__
        if name in owners:
            raise ValueError(f"{owners[name]} and {owner} both have an option {name!r}: rename one")
        owners[name] = owner
        values[name] = leaf.value
    return values


def with_options(part: Tree, values: Mapping[str, Any]) -> Tree:
    """The tree with other values of some options; a choice may be given as a part, or by name for its defaults.

    Raises:
        ValueError: no part of the tree has an option (the message says which part would have it), or a value is out of
            its bounds.
    """
    changed, used = _changed(part, values)
    if foreign := [name for name in values if name not in used]:
        raise ValueError(unknown_option(part, foreign[0]))
    return changed


def _changed(part: Any, values: Mapping[str, Any]) -> tuple[Any, set[str]]:
    """The part with the values of those options that it and its parts have, and the names of these options."""
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
    """The new value of an option. A choice by name keeps the present part if it has this name, else gets a new one."""
    if option.registry is None:
        return typed_value(option.name, option.hint, value)
    if not isinstance(value, str):
        return value
    return own if option.registry.name_of(own) == value else option.registry.find(value)()


def unknown_option(part: Any, name: str) -> str:
    """A message for an option that no part of the tree has: which parts would have it, or a name that is close."""
    flag = f"--{name.replace('_', '-')}"
    choices = [(leaf.option.registry, leaf.value) for leaf in leaves(part) if leaf.option.registry is not None]
    for registry, chosen in choices:
        if owners := _owners(registry, name):
            return f"{flag} is an option of {registry.kind} {_few(owners)}; {registry.kind} is {chosen} here"
    # Parts that could be chosen in this tree come before those of a part that could be.
    for leaf in leaves(part):
        if leaf.option.registry is not None and (words := _owners_below(leaf.option, name)):
            return f"{flag} is an option of {words}; {leaf.option.registry.kind} is {leaf.value} here"
    close = difflib.get_close_matches(name, flat(part), n=1)
    return f"there is no option {flag}" + (f"; did you mean --{close[0].replace('_', '-')}?" if close else "")


def _owners_below(option: Option, name: str) -> str:
    """In words, the parts with an option that may be chosen under the parts of this choice; "" where there are none."""
    registry = option.registry
    assert registry is not None
    holders: dict[Registry[Any], list[str]] = {}  # of a choice among the parts of a registry
    for holder in registry.names:
        for choice in options(registry.find(holder)):
            if choice.registry is not None:
                holders.setdefault(choice.registry, []).append(holder)
    words = []
    for inner, names in holders.items():
        if owners := _owners(inner, name):
            # A choice without a flag is none of the user's.
            condition = "" if is_hidden(option) else f", with {registry.kind} {_few(names)}"
            words.append(f"{inner.kind} {_few(owners)}{condition}")
    return "; ".join(words)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")


def _owners(registry: Registry[Any], name: str) -> list[str]:
    """The names of the parts in a registry that have an option."""
    return [kind for kind in registry.names if any(option.name == name for option in options(registry.find(kind)))]


class Difference(NamedTuple):
    """An option whose value differs between two trees."""

    name: str
    first: Any
    second: Any

    def __str__(self) -> str:
        return f"{self.name} is {self.first} there and {self.second} here"


def differences(first: Any, second: Any) -> list[Difference]:
    """The options that differ and may not change at a resume. Where a choice differs, its options are not listed."""
    ours, theirs = ({leaf.option.name: leaf for leaf in leaves(tree)} for tree in (first, second))
    found = []
    for name in dict.fromkeys([*ours, *theirs]):
        leaf = ours.get(name)
        other = theirs.get(name)
        # An option that one tree lacks belongs to a choice that differs, which is listed itself.
        if leaf is None or other is None:
            continue
        if RECORDED in leaf.option.markers and None in (leaf.value, other.value):
            continue
        if not _same(leaf.value, other.value) and MAY_CHANGE not in leaf.option.markers:
            found.append(Difference(name, leaf.value, other.value))
    return found


def _same(value: Any, other: Any) -> bool:
    """Whether two values of an option are equal, of which nan is equal to nan."""
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_same(value[name], other[name]) for name in value)
    if isinstance(value, float) and isinstance(other, float):
        return value == other or (math.isnan(value) and math.isnan(other))
    return value == other


def to_dict(part: Any) -> dict[str, Any]:
    """The tree as plain values for JSON; tuples become lists."""
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
    """The inverse of `to_dict`; options that are missing get their defaults.

    Raises:
        ValueError: an unknown or missing option, an unknown part, a value of another type or out of its bounds.
    """
    require(isinstance(values, dict), f"the options of {kind.__name__} must be an object; got {values!r}")
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
    # A part from outside need not derive from Part, which checks itself.
    check(part)
    return part


def _read(option: Option, value: Any) -> Any:
    if option.registry is None:
        return typed_value(option.name, option.hint, value)
    named = isinstance(value, dict) and isinstance(value.get(NAME), str)
    require(named, f"configuration field {option.name!r} must be an object with a name; got {value!r}")
    own = {name: item for name, item in value.items() if name != NAME}
    return from_dict(option.registry.find(value[NAME]), own)


def from_flat(kind: type[Tree], values: Mapping[str, Any], surplus: Container[str] = ()) -> Tree:
    """Make a tree of values by the names of options, as presets have them; a choice is given by the name of its part.

    Args:
        kind: the tree's class.
        values: by the names of options.
        surplus: names that are allowed although the tree has no such option.

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
            known = f": {', '.join(option.registry.names)}, or your own as MODULE:NAME" if option.registry else ""
            raise ValueError(f"--{option.name.replace('_', '-')} must be given{known}")
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
    """The choices of a tree: name of the option -> registry of the parts that can be chosen."""
    return {leaf.option.name: leaf.option.registry for leaf in leaves(part) if leaf.option.registry is not None}


def may_change(part: Any) -> set[str]:
    """The names of the options that may change at a resume, because the numbers of training do not depend on them."""
    return {leaf.option.name for leaf in leaves(part) if MAY_CHANGE in leaf.option.markers}


def recorded(part: Any) -> set[str]:
    """The names of the options that were noted where the training began, and not chosen."""
    return {leaf.option.name for leaf in leaves(part) if RECORDED in leaf.option.markers}


def is_hidden(option: Option) -> bool:
    """Whether an option has no flag on the command line."""
    return HIDDEN in option.markers
