"""The command line of a tree of parts: every option of the chosen parts is a flag.

`--outer ppo` chooses a part, whose options are flags too. `--help` shows the options of the chosen parts in groups.
"""

import dataclasses
import inspect
import itertools
import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import tyro
from tyro.conf import HelptextFromCommentsOff, OmitArgPrefixes

from metarl.parts import Option, Registry, options
from metarl.training.help_texts import argument, paragraphs, positional, takes
from metarl.training.tree import Leaf, flat, is_hidden, leaves, registries, unknown_option, with_options

FIRST_CHOICES = ("environment",)  # choices that are read before there is a tree: it may not exist without them
# Without this, tyro would look for comments beside the fields in source files, which takes half the time of a parse.
HELP_IS_GIVEN = (HelptextFromCommentsOff,)
FLAG = re.compile(r"--(?:no-)?([A-Za-z][\w-]*)(?:=(.*))?", re.DOTALL)
Tree = TypeVar("Tree")
Script = TypeVar("Script")


class Parsed(NamedTuple):
    """The result of reading a command line."""

    config: Any  # the tree, with the options that were given
    script: Any  # the script's own arguments
    given: set[str]  # names of the tree's options that were given


def parse(
    make: Callable[[dict[str, str]], Tree], script: type[Script], argv: Sequence[str], *, program: str, description: str
) -> Parsed:
    """Read a command line: the tree with the options that it gives, and the script's own arguments.

    Args:
        make: choices by name -> the tree with these choices and defaults for everything else.
        script: a dataclass of arguments that are no part of a configuration, such as the run directory.
        argv: words of the command line.
        program: name of the program, for `--help`.
        description: what the program does, for `--help`.

    Raises:
        ValueError: no chosen part has an option, a part cannot be found, or a value is out of its bounds.
        SystemExit: `--help` was given, or tyro cannot read a value, such as a word for a number.
    """
    config = with_choices(make, argv)
    # Raises for options of one name, about which tyro would say nothing that helps.
    now = flat(config)
    own = {field.name for field in dataclasses.fields(script)}  # pyright: ignore[reportArgumentType]
    flags = {leaf.option.name for leaf in leaves(config) if not is_hidden(leaf.option)}
    given = names_given(argv)
    for name in given:
        if name not in flags | own | {"help"}:
            raise ValueError(unknown_option(config, name))
    require_pairs_once([leaf.option for leaf in leaves(config) if leaf.option.name in given], argv)
    # Only `--help` needs what was not given: tyro reads few flags much faster than all.
    read = flags if {"--help", "-h"} & set(argv) else flags & given
    groups = _groups(config, read)
    fields = [_named_group("script", "run directory", worded(script))]
    fields += [_named_group(group.__name__, title, group) for title, group in groups.items()]
    everything = dataclasses.make_dataclass("Arguments", fields, kw_only=True, eq=False, repr=False)
    shown = OmitArgPrefixes[everything]
    parsed = tyro.cli(shown, prog=program, description=paragraphs(description), args=list(argv), config=HELP_IS_GIVEN)
    values: dict[str, Any] = {}
    for group in groups.values():
        values |= vars(getattr(parsed, group.__name__))
    changed = {name: value for name, value in values.items() if name in given and value != now[name]}
    return Parsed(with_options(config, changed), script(**vars(parsed.script)), given - own)


def worded(kind: type[Any]) -> type[Any]:
    """A dataclass with the fields of a dataclass of arguments, whose help is the strings below them, each a paragraph.

    Left to itself, tyro keeps the line breaks of the source, in the middle of sentences.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = []
    for option in options(kind):
        markers = getattr(hints[option.name], "__metadata__", ())
        metavar = positional(option) if tyro.conf.Positional in markers else None
        if tyro.conf.UseAppendAction in markers:  # one value each time that the flag is given
            metavar = takes(typing.get_args(option.hint)[0])
        hint = Annotated[hints[option.name], argument(option.hint, option.words, option.default, metavar)]
        fields.append((option.name, hint, dataclasses.field(default=option.default)))
    made = dataclasses.make_dataclass(kind.__name__, fields, frozen=True)
    made.__doc__ = kind.__doc__
    return made


def with_choices(make: Callable[[dict[str, str]], Tree], argv: Sequence[str]) -> Tree:
    """The tree with the parts that the command line chooses; its other options are not read.

    Raises:
        ValueError: a part cannot be found.
    """
    chosen = {name: value for name in FIRST_CHOICES if (value := value_of(argv, name)) is not None}
    while True:
        config = make(chosen)
        more = {name: value for name in registries(config) if (value := value_of(argv, name)) is not None}
        if set(more) <= set(chosen):
            return config
        # A chosen part may have choices of its own, which the next round finds.
        chosen |= more


def options_given(kind: type, argv: Sequence[str]) -> dict[str, Any]:
    """The options of a part, and their values, that a command line gives, whatever else it gives.

    Raises:
        SystemExit: tyro cannot read a value.
    """
    own = [option for option in options(kind) if option.registry is None and not is_hidden(option)]
    given = names_given(argv) & {option.name for option in own}
    if not given:
        return {}
    require_pairs_once([option for option in own if option.name in given], argv)
    words: list[str] = []
    reading = False
    for word in argv:
        if match := FLAG.fullmatch(word):
            reading = match[1].replace("-", "_") in given
        if reading:
            words.append(word)
    group = _group(kind.__name__, "", [(option, option.default) for option in own if option.name in given])
    return vars(tyro.cli(group, args=words))


def require_pairs_once(given: Sequence[Option], argv: Sequence[str]) -> None:
    """Raise ValueError where a flag of pairs, or a name in one, is given twice: the last would replace what was before.

    Args:
        given: options that the command line gives.
        argv: words of the command line.
    """
    for option in given:
        if typing.get_origin(option.hint) is not dict:
            continue
        flag = f"--{option.name.replace('_', '-')}"
        if sum(names_given([word]) == {option.name} for word in argv) > 1:
            raise ValueError(f"{flag} must be given once, with all pairs: NAME VALUE NAME VALUE ...")
        names = _words_of(option.name, argv)[::2]
        if twice := [name for i, name in enumerate(names) if name in names[:i]]:
            raise ValueError(f"{flag} must give every name once; it gives {twice[0]} {names.count(twice[0])} times")


def _words_of(name: str, argv: Sequence[str]) -> list[str]:
    """The words that follow a flag, up to the next flag."""
    after = itertools.dropwhile(lambda word: names_given([word]) != {name}, argv)
    return list(itertools.takewhile(lambda word: not FLAG.fullmatch(word), itertools.islice(after, 1, None)))


def value_of(argv: Sequence[str], name: str) -> str | None:
    """The value of a flag where it is given last; None if it is not given."""
    found = None
    for word, following in itertools.zip_longest(argv, argv[1:]):
        match = FLAG.fullmatch(word)
        if match and match[1].replace("-", "_") == name:
            found = match[2] if match[2] is not None else following
    return found


def names_given(argv: Sequence[str]) -> set[str]:
    """The names of all flags of a command line: `--no-compile` and `--compile` are both compile."""
    return {match[1].replace("-", "_") for word in argv if (match := FLAG.fullmatch(word))}


def _named_group(name: str, title: str, group: type) -> tuple[str, Any, Any]:
    """A field for the dataclass of all arguments: a group of flags, shown as `TITLE options`, flags without prefix."""
    # Without `help`, tyro would look for it in the source of the module that makes dataclasses.
    hint = Annotated[OmitArgPrefixes[group], tyro.conf.arg(name=title, help=group.__doc__)]
    return name, hint, dataclasses.field(default_factory=group)


def _groups(config: Any, names: set[str]) -> dict[str, type]:
    """Dataclasses for tyro by title: options of a class of the tree, or of a chosen part, are a group of flags.

    Args:
        config: the tree.
        names: of the options to have.
    """
    groups: dict[tuple[str, type], list[tuple[Option, Any]]] = {}
    for leaf in leaves(config):
        if leaf.option.name in names:
            groups.setdefault(_place(leaf), []).append((leaf.option, leaf.value))
    order = sorted(groups, key=lambda place: vars(place[1]).get("listed_last", False))
    return {title: _group(title, _first_sentence(kind), groups[title, kind]) for title, kind in order}


def _place(leaf: Leaf) -> tuple[str, type]:
    """The title of the group that an option is shown in, and the class that says what the group is.

    A choice stands above the options of the chosen part, if that has any, and else among those of its owner.
    """
    if leaf.option.registry is not None:
        chosen = getattr(leaf.owner, leaf.option.name)
        if not all(map(is_hidden, options(type(chosen)))):
            return f"{leaf.option.registry.kind} {leaf.value}", type(chosen)
    if leaf.title:
        return leaf.title, type(leaf.owner)
    declares = _declaring(type(leaf.owner), leaf.option.name)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", declares.__name__).lower(), declares


def _declaring(kind: type, name: str) -> type:
    """The class, a dataclass or one of its bases, that declares a field."""
    # From Python 3.14 on a class has no dictionary of annotations before it is asked for it.
    return next(base for base in kind.__mro__ if name in inspect.get_annotations(base))


def _group(title: str, words: str, members: list[tuple[Option, Any]]) -> type:
    """A dataclass for tyro of options and their present values; `words` are its description in `--help`."""
    fields = []
    for option, value in members:
        hint = option.hint
        help_text = option.words
        metavar = None
        if option.registry is not None:
            hint = str
            metavar = choices(option.registry)
        if isinstance(value, dict):
            # Of a dictionary with entries tyro makes a flag of each; those that are given replace it whole.
            value = {}
        shown = argument(hint, help_text, value, metavar)
        fields.append(
            (option.name, Annotated[hint, shown], dataclasses.field(default_factory=lambda value=value: value))
        )
    name = re.sub(r"\W+", "_", title)
    # Nobody compares or prints a group: the methods for that would take longer to make than the rest of it.
    return dataclasses.make_dataclass(name, fields, kw_only=True, eq=False, repr=False, namespace={"__doc__": words})


def choices(registry: Registry[Any]) -> str:
    """The names of a registry's parts, as `--help` shows them."""
    return f"{{{','.join(registry.names)},MODULE:NAME}}"


def _first_sentence(kind: type) -> str:
    text = " ".join((kind.__doc__ or kind.__name__).split())
    return re.split(r"(?<=[.:])(?<!et al\.)\s", text)[0].removesuffix(".").removesuffix(":")


def reference(kind: type) -> list[tuple[str, str, str, str]]:
    """The flag, type, default and meaning of each option of a part, for reference pages."""
    rows = []
    for option in options(kind):
        if is_hidden(option):
            continue
        type_words = ", ".join([_type_words(option.hint, option.registry), *(bound.words for bound in option.bounds)])
        default = "required" if option.default is dataclasses.MISSING else _default_words(option)
        rows.append((f"--{option.name.replace('_', '-')}", type_words, default, option.words))
    return rows


def _type_words(hint: Any, registry: Registry[Any] | None) -> str:
    """The type of an option in words for users."""
    if registry is not None:
        return "a part"
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_words(kind, None) for kind in arguments if kind is not type(None))
    if origin is tuple:
        return f"{_type_words(arguments[0], None)} ..."
    return getattr(hint, "__name__", str(hint))


def _default_words(option: Option) -> str:
    """The default of an option as a command line would give it: a part by its name, a list word by word."""
    if option.registry is not None:
        return option.registry.name_of(option.default)
    if isinstance(option.default, tuple):
        return " ".join(map(str, option.default)) or "none"
    return "none" if option.default is None else str(option.default)
