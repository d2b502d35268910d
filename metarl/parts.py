"""Parts: what a run can choose. A part is a frozen dataclass of options with a method `build` that makes the object.

The command line, its checks, `config.json`, the comparison at a resume and the reference page are all derived from the
fields of the parts, so that an option is written down once: name, type, default, bounds and meaning.

    @RULES.register("sgd")
    @dataclass(frozen=True, kw_only=True)
    class SGD(Rule):
        '''Gradient steps of a fixed size (Finn et al. 2017, equation 1).'''

        inner_step_size: Annotated[float, POSITIVE] = 0.1
        '''Step size alpha of the inner gradient steps.'''

        def build(self, step_sizes: Sequence[float]) -> InnerRule: ...
"""

import ast
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import itertools
import math
import pkgutil
import textwrap
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from metarl.outside import module_named


@dataclass(frozen=True)
class Bound:
    """What the value of an option must be: a condition, and the same in words."""

    admits: Callable[[Any], bool]
    words: str


def at_least(least: float) -> Bound:
    """A finite number not below `least`."""
    return Bound(lambda value: least <= value < math.inf, f"at least {least}")


def below(limit: float, words: str | None = None) -> Bound:
    """A number below `limit`."""
    return Bound(lambda value: value < limit, f"below {words or limit}")


POSITIVE = Bound(lambda value: 0 < value < math.inf, "a positive number")
NOT_NEGATIVE = Bound(lambda value: 0 <= value < math.inf, "a finite number, at least 0")
PROBABILITY = Bound(lambda value: 0 <= value <= 1, "in [0, 1]")
SHARE = Bound(lambda value: 0 < value <= 1, "in (0, 1]")
NOT_EMPTY = Bound(lambda values: len(values) > 0, "a list with at least one value")


class Marker(NamedTuple):
    """Something that holds of an option beside its type and its bounds."""

    name: str


MAY_CHANGE = Marker("may change at a resume")
HIDDEN = Marker("no flag of the command line")
RECORDED = Marker("noted where a training begins, and not chosen; None in runs of earlier versions")


class Option(NamedTuple):
    """One field of a part."""

    name: str
    hint: Any  # its type, without metadata
    default: Any  # dataclasses.MISSING: it must be given
    words: str  # its meaning: the string below the field
    bounds: tuple[Bound, ...]
    markers: tuple[Marker, ...]
    registry: "Registry[Any] | None"  # of the part that it holds; None: a value, or a group of options

    @property
    def is_group(self) -> bool:
        """Whether it holds further options that are no part of their own."""
        return self.registry is None and dataclasses.is_dataclass(self.hint)

    def check(self, value: Any) -> None:
        """Raise ValueError for none of the choices, or where a bound does not admit the value, or one of a list's."""
        if value is None:  # where the type admits it
            return
        if typing.get_origin(self.hint) is Literal and value not in (choices := typing.get_args(self.hint)):
            raise ValueError(f"{self.name} must be {' or '.join(map(repr, choices))}; got {value!r}")
        for bound in self.bounds:
            if isinstance(value, tuple) and bound is not NOT_EMPTY:
                fits, right = all(map(bound.admits, value)), f"a list of values that are each {bound.words}"
            else:
                fits, right = bound.admits(value), bound.words
            if not fits:
                raise ValueError(f"{self.name} must be {right}; got {value}")


class Part:
    """Base of all parts: the bounds of the options are checked when one is made (ValueError)."""

    def __post_init__(self) -> None:
        check(self)


def check(part: Any) -> None:
    """Raise ValueError unless every option of a part is within its bounds."""
    for option in options(type(part)):
        option.check(getattr(part, option.name))


@functools.cache
def options(kind: type) -> tuple[Option, ...]:
    """The options of a kind of part (or of any dataclass), in the order of its fields."""
    hints, words = typing.get_type_hints(kind, include_extras=True), _words(kind)
    found = []
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        hint, metadata = hints[field.name], ()
        if typing.get_origin(hint) is Annotated:
            hint, *metadata = typing.get_args(hint)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found.append(
            Option(
                field.name,
                hint,
                default,
                words.get(field.name, ""),
                tuple(one for one in metadata if isinstance(one, Bound)),
                tuple(one for one in metadata if isinstance(one, Marker)),
                next((one for one in metadata if isinstance(one, Registry)), None),
            )
        )
    return tuple(found)


def _words(kind: type) -> dict[str, str]:
    """The strings below the fields of a dataclass and of its bases; {} where their source is not to be had."""
    words: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):  # built-in, typed into a console, made by make_dataclass
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for statement, following in itertools.pairwise(body):
            if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                words[statement.target.id] = " ".join(str(following.value.value).split())
    return words


P = TypeVar("P")
Kind = TypeVar("Kind", bound=type)  # a part's own class: what decorates it leaves it as it is, for type checkers too


class Registry(Generic[P]):
    """The parts of one kind, by name; every file of `package` is imported when they are first asked for.

    Args:
        kind: the name of the choice on the command line, such as `rule`.
        package: where the project's own parts are, also in packages within it: a new file is found without a change.
        adopt: makes a part of something else that a user names, or returns None; functions become parts by themselves
            (`part_of_function`).
    """

    def __init__(self, kind: str, package: str, adopt: Callable[[Any], type[P] | None] = lambda thing: None) -> None:
        self.kind, self._package, self._adopters = kind, package, [adopt]
        self._parts: dict[str, type[P]] = {}
        self._found: dict[str, type[P]] = {}  # that others wrote, by the names that they were asked for by
        self._finders: list[Callable[[str], type[P] | None]] = []
        self._complete = False

    def register(self, name: str) -> Callable[[Kind], Kind]:
        """Class decorator: offer a part under a name. Raises ValueError if the name is taken by another part."""

        def decorate(part: Kind) -> Kind:
            before = self._parts.get(name, part)
            if (before.__module__, before.__qualname__) != (part.__module__, part.__qualname__):
                raise ValueError(f"{self.kind} {name!r} is {before.__module__}.{before.__qualname__} already")
            self._parts[name] = typing.cast(type[P], part)
            return part

        return decorate

    def finder(self, find: Callable[[str], type[P] | None]) -> Callable[[str], type[P] | None]:
        """Function decorator: ask it for parts by names that none is registered under; it returns None for no part."""
        self._finders.append(find)
        return find

    def adopter(self, adopt: Callable[[Any], type[P] | None]) -> Callable[[Any], type[P] | None]:
        """Function decorator: ask it for a part of something else that a user names; it returns None for no part."""
        self._adopters.append(adopt)
        return adopt

    @property
    def names(self) -> tuple[str, ...]:
        """Of the registered parts, in the order of the alphabet: that of imports depends on who asks."""
        self.load()
        return tuple(sorted(self._parts))

    def find(self, choice: str) -> type[P]:
        """The part of that name, or of MODULE:NAME outside the project; MODULE may be a file, such as mine.py:MyRule.

        What NAME is may also be a function (see `part_of_function`), or a name that the module registers.

        Raises:
            ValueError: no such name, module, or thing in the module, or one that is no part. What goes wrong inside
                the module is the module's own error.
        """
        self.load()
        if choice in self._parts:
            return self._parts[choice]
        if choice not in self._found:
            found = self._from_outside(choice) if ":" in choice else self._by_finders(choice)
            if found is None:
                known = ", ".join(self.names)
                raise ValueError(f"unknown {self.kind} {choice!r}: choose one of {known}, or your own as MODULE:NAME")
            self._found[choice] = found
        return self._found[choice]

    def name_of(self, part: P) -> str:
        """The name that `find` knows a part by. Raises ValueError for one that was never registered or found."""
        self.load()
        # A part that was named MODULE:NAME is found by that alone in another process.
        for name, kind in (*self._found.items(), *self._parts.items()):
            if type(part) is kind:
                return name
        raise ValueError(f"{part!r} is no registered {self.kind}: decorate its class with register, or name it")

    def load(self) -> None:
        """Import every file of the package, so that it registers its parts; once."""
        if not self._complete:
            self._complete = True  # before: the files look up parts of each other
            package = importlib.import_module(self._package)
            for file in pkgutil.walk_packages(package.__path__, f"{self._package}."):
                importlib.import_module(file.name)

    def _by_finders(self, name: str) -> type[P] | None:
        return next((part for find in self._finders if (part := find(name)) is not None), None)

    def _from_outside(self, choice: str) -> type[P]:
        place, _, name = choice.rpartition(":")
        module = module_named(place, f"{self.kind} {choice!r}")
        if name in self._parts:
            return self._parts[name]
        if not hasattr(module, name) and (found := self._by_finders(name)) is not None:
            return found
        thing = named(self.kind, choice)
        if isinstance(thing, type) and dataclasses.is_dataclass(thing) and callable(getattr(thing, "build", None)):
            return typing.cast(type[P], thing)
        for adopt in self._adopters:
            if (adopted := adopt(thing)) is not None:
                return adopted
        if inspect.isfunction(thing):
            return typing.cast(type[P], part_of_function(thing))
        raise ValueError(
            f"{self.kind} {choice!r} must be a dataclass with a method `build`, or a function that does what `build` "
            f"does; {name} is {type(thing).__name__}"
        )


def named(kind: str, choice: str) -> Any:
    """What MODULE:NAME names; MODULE may be a file.

    Args:
        kind: what it is to be, for messages.
        choice: MODULE:NAME.

    Raises:
        ValueError: not of that form, no such module, or nothing of that name in it. What goes wrong inside the module
            is the module's own error.
    """
    place, _, name = choice.rpartition(":")
    if not place or not name:
        raise ValueError(f"{kind} must be MODULE:NAME, such as mine.py:Mine; got {choice!r}")
    module = module_named(place, f"{kind} {choice!r}")
    if not hasattr(module, name):
        public = [one for one in vars(module) if not one.startswith("_")]
        raise ValueError(f"{kind} {choice!r}: {place} has no {name}; it has {', '.join(public) or 'nothing'}")
    return getattr(module, name)


def part_of_function(function: Callable[..., Any]) -> type[Any]:
    """A part whose `build` calls a function, and whose options are the function's keyword-only parameters.

    Raises:
        ValueError: a keyword-only parameter without a type.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    fields = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if name not in hints:
            raise ValueError(f"option {name!r} of {function.__qualname__} needs a type, such as {name}: float = 0.1")
        default = dataclasses.MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        fields.append((name, hints[name], dataclasses.field(default=default)))

    def build(part: Any, *arguments: Any) -> Any:
        return function(*arguments, **{name: getattr(part, name) for name, *_ in fields})

    namespace = {"build": build, "__doc__": function.__doc__, "__module__": function.__module__}
    return dataclasses.make_dataclass(
        function.__name__, fields, bases=(Part,), frozen=True, kw_only=True, namespace=namespace
    )
